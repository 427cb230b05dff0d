"""Errors are data with a sentence: whatever is missing, they can be told, sent and read again."""

from __future__ import annotations

import http
import importlib
import pkgutil
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bkg_workbench
from bkg_workbench import errors
from bkg_workbench.errors import (
    ConfigInvalid,
    InvalidParams,
    PluginFailure,
    ProtocolError,
    RequestTimeout,
    WorkbenchError,
    WorkspaceOwned,
    by_code,
    from_wire,
)

CLASSES = sorted(by_code().values(), key=lambda kind: kind.__name__)
FACTS = {
    "plugin": "demo",
    "capability": "a.b",
    "path": "/w",
    "reason": "no disk",
    "pid": 7,
    "url": "ws://127.0.0.1:1",
    "known": ["a", "b"],
    "errors": {"/x": "too big", "": "no object"},
    "seconds": 2.5,
    "limit": 256,
    "who": "demo",
    "scope": "a.b",
    "what": "the bus",
    "version": 1,
    "current": 2,
    "state": "running",
    "event": "Start",
    "plugins": ["a"],
}


def fields(kind: type[WorkbenchError]) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.template) if name}


def test_every_class_of_the_module_is_found_by_its_code() -> None:
    defined = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, WorkbenchError)
    }
    assert set(CLASSES) == defined
    assert len({kind.code for kind in defined}) == len(defined)


def test_classes_elsewhere_take_no_code_of_this_module_but_their_parents() -> None:
    for layer in ("protocol", "bus", "client", "sdk", "supervisor", "store", "host"):
        folder = Path(bkg_workbench.__path__[0], layer)
        for module in pkgutil.iter_modules([str(folder)], f"bkg_workbench.{layer}."):
            importlib.import_module(module.name)

    def below(kind: type[WorkbenchError]) -> set[type[WorkbenchError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    for kind in below(WorkbenchError) - set(CLASSES):
        if kind.__module__.startswith("bkg_workbench."):
            present = by_code().get(kind.code)
            assert present is None or issubclass(kind, present), kind


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_has_a_code_a_status_and_a_sentence(kind: type[WorkbenchError]) -> None:
    assert kind.code.replace("_", "").isalpha()
    assert kind.code == kind.code.lower()
    # 499: the client has gone (nginx); http.HTTPStatus does not know it.
    assert kind.status == 499 or http.HTTPStatus(kind.status) >= 400
    assert kind.template.endswith(".")
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_a_sentence_with_all_its_facts_holds_them(kind: type[WorkbenchError]) -> None:
    facts = {name: FACTS[name] for name in fields(kind) - {"problems"}}
    if "problems" in fields(kind):
        facts["errors"] = FACTS["errors"]
    text = str(kind(**facts))
    assert "{" not in text
    assert "–" not in text
    for name in fields(kind) - {"errors", "problems"}:
        value = facts[name]
        assert ", ".join(value) in text if isinstance(value, list) else f"{value}" in text


@pytest.mark.parametrize("kind", CLASSES)
def test_a_missing_fact_reads_as_a_dash_and_hides_no_error(kind: type[WorkbenchError]) -> None:
    error = kind()
    assert "{" not in str(error)
    assert error.facts == {}
    assert ("–" in str(error)) == bool(fields(kind))


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(CLASSES),
    st.dictionaries(
        st.sampled_from(sorted({*FACTS, "message", "self", "cls"})),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(), st.integers(), max_size=2),
    ),
)
def test_no_fact_of_whatever_type_raises(kind: type[WorkbenchError], facts: dict[str, Any]) -> None:
    error = kind(**facts)
    assert str(error) == error.message == error.args[0]
    assert error.facts == facts


@pytest.mark.parametrize("kind", CLASSES)
def test_class_code_sentence_and_facts_survive_the_wire(kind: type[WorkbenchError]) -> None:
    error = kind(**FACTS)
    wire = msgspec.json.decode(msgspec.json.encode(error.to_wire()))
    again = from_wire(wire["error"], wire["code"], wire["detail"])
    assert type(again) is kind
    assert (again.code, again.status) == (error.code, error.status)
    assert str(again) == str(error)
    assert again.facts == error.facts
    assert again.to_wire() == error.to_wire()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_message_replaces_the_template_and_needs_no_facts(kind: type[WorkbenchError]) -> None:
    error = kind("It is {so} {0}.")
    assert str(error) == "It is {so} {0}."
    assert error.to_wire() == {"error": "It is {so} {0}.", "code": kind.code}
    again = from_wire(**error.to_wire())
    assert (type(again), str(again), again.facts) == (kind, str(error), {})


@pytest.mark.parametrize("code", ["nope", "", None, "port_taken", "__init__", "InvalidParams"])
def test_a_code_that_is_not_known_is_a_plugins_failure_with_its_sentence(code: str | None) -> None:
    error = from_wire("The disk is full.", code, {"free": 0})
    assert type(error) is PluginFailure
    assert str(error) == "The disk is full."
    assert error.facts == {"free": 0} | ({"code": code} if code else {})


@pytest.mark.parametrize("detail", [None, 5, "text", [1], {"a-b": 1, "": 2, "class": 3}])
def test_a_detail_of_any_form_is_bearable(detail: Any) -> None:
    error = from_wire(None, "invalid_params", detail)
    assert type(error) is InvalidParams
    assert str(error) == "The request failed without a reason."
    assert error.facts == ({"class": 3} if isinstance(detail, dict) else {})


@pytest.mark.parametrize("hostile", ["message", "self", "args", "facts", "template", "code"])
def test_a_detail_that_names_a_part_of_the_error_is_a_fact_and_no_more(hostile: str) -> None:
    error = from_wire("It broke.", "overloaded", {hostile: "x"})
    assert str(error) == "It broke."
    assert error.code == "overloaded"
    assert error.facts == {hostile: "x"}


@pytest.mark.parametrize("kind", [InvalidParams, ConfigInvalid])
def test_each_pointer_and_its_problem_stand_in_the_sentence(kind: type[WorkbenchError]) -> None:
    error = kind(capability="a.b", plugin="demo", errors={"/x/0": "too big", "": "no object"})
    assert "/x/0: too big; /: no object" in str(error)
    assert "problems" not in error.facts


def test_texts_are_for_people() -> None:
    assert "within 2.5 s" in str(RequestTimeout(capability="a.b", seconds=2.5))
    assert "within 30 s" in str(RequestTimeout(capability="a.b", seconds=30.0))


@pytest.mark.parametrize(
    ("remaining", "told"),
    [
        (0.299, "0.3"),
        (29.998, "30"),
        (0.0123, "0.012"),
        (9.996, "10"),
        (0.25, "0.25"),
        (700, "700"),
    ],
)
def test_a_remaining_time_is_told_as_a_round_one(remaining: float, told: str) -> None:
    error = RequestTimeout(capability="a.b", seconds=remaining)
    assert f"within {told} s" in str(error)
    assert error.facts["seconds"] == float(told)
    owned = str(WorkspaceOwned(path="/w", pid=7, url="ws://127.0.0.1:1"))
    assert (
        owned == "Process 7 is the Host of /w already (ws://127.0.0.1:1); use attach() to join it."
    )
    assert "there are: none." in str(errors.PluginNotFound(plugin="x", known=[]))
    # Braces in a fact are text, not another template.
    assert "{pid}" in str(ProtocolError(reason="{pid} {0}"))
