"""The owner goes while others are attached: they hear of it, and exactly one takes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from bkg_workbench import Workbench, workbench
from tests.helpers import eventually
from tests.plugins import write_plugin
from tests.takeover import OWNER, hear, race, script, tell

pytestmark = pytest.mark.timeout(120)


@pytest.mark.row("K10")
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_of_two_that_want_to_take_over_exactly_one_does(workspace: Path, how: str) -> None:
    assert race(workspace, rounds=2, how=how) <= 20


@pytest.mark.row("K10")
@pytest.mark.slow
@pytest.mark.parametrize("host", ["here", "process"])
def test_whoever_comes_while_the_owner_closes_waits_and_becomes_the_next(
    workspace: Path, host: str
) -> None:
    # The owner holds its lock for as long as its plug-in ignores TERM.
    nasty = "#!/bin/bash\ntrap '' TERM\n\"$BKG_PYTHON\" plugin.py\nsleep 1000\n"
    write_plugin(workspace, start=nasty)
    with script(OWNER, workspace) as owner:
        assert hear(owner) == "up"
        tell(owner, "close")
        eventually(lambda: not (workspace / ".bkg" / "host.json").exists())
        assert owner.poll() is None
        bench: Workbench = workbench(workspace, host=host)  # type: ignore[arg-type]
        assert bench.info()["pid"] != owner.pid
        if host == "process":
            bench.stop_host()
        bench.close()
        owner.wait(20)
