"""Those that others call start first and stop last."""

from __future__ import annotations

import pytest

from bkg_workbench.protocol.definition import Definition
from bkg_workbench.supervisor.order import start_order, stop_waves

APIKEYS = Definition(name="apikeys", capabilities=["auth.login"])
LLM = Definition(name="llm", capabilities=["llm.chat", "llm.embed"], calls=["auth.*"])
BRAIN = Definition(name="brain", capabilities=["brainml.query"], calls=["llm.embed"])
REPO = Definition(name="repo", capabilities=["repo.search"])


@pytest.mark.row("S32")
def test_callers_stop_before_those_that_they_call_and_apikeys_last():
    waves = stop_waves([APIKEYS, LLM, BRAIN, REPO])
    assert waves == [["brain", "repo"], ["llm"], ["apikeys"]]
    assert start_order([BRAIN, LLM, APIKEYS, REPO]) == ["apikeys", "llm", "brain", "repo"]


def test_plugins_without_ties_stop_together_and_start_as_given():
    plain = [Definition(name=name) for name in ("one", "two", "three")]
    assert stop_waves(plain) == [["one", "two", "three"]]
    assert start_order(plain) == ["one", "two", "three"]
    assert stop_waves([]) == []
    assert stop_waves([APIKEYS]) == [["apikeys"]]


@pytest.mark.row("S32")
def test_plugins_that_call_each_other_stop_together():
    left = Definition(name="left", capabilities=["left.do"], calls=["right.do"])
    right = Definition(name="right", capabilities=["right.do"], calls=["left.do"])
    both = Definition(name="both", calls=["left.do"])
    assert stop_waves([left, right, both]) == [["both"], ["left", "right"]]
    assert stop_waves([Definition(name="own", capabilities=["own.do"], calls=["*"])]) == [["own"]]
