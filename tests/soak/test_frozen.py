"""Processes that stand still, and a kernel that computes: nobody is blamed for another's pause."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bkg_workbench import Host, Workbench, attach
from tests.e2e.kernels import UP, kernel
from tests.helpers import eventually, is_alive, processes_of
from tests.plugins import write_plugin
from tests.reliability import Record
from tests.soak.budget import Budget
from tests.takeover import OWNER, hear, script, tell

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

AFTER_SECONDS = 30.0
"""As long as it takes to be lost, and more than to be degraded."""


def chapters(bench: Workbench, after: int = 0) -> list[str]:
    """What the demo plug-in has gone through."""
    return [f"{e['state']}: {e['why']}" for e in bench.events("demo", limit=1000)][after:]


@pytest.mark.row("S24")
def test_a_frozen_plugin_is_seen_and_replaced(workspace: Path, record: Record) -> None:
    write_plugin(workspace)
    with Host(workspace) as host:
        pid = host.start("demo").pid
        assert pid is not None
        begun = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: host.plugin("demo").state == "degraded", timeout=60)
        record.figure("degraded after", time.monotonic() - begun, "s")
        eventually(lambda: host.plugin("demo").generation == 2, timeout=120)
        record.figure("replaced after", time.monotonic() - begun, "s")
        eventually(lambda: host.plugin("demo").state == "running", timeout=60)
        assert not is_alive(pid)
        host.call("demo.greet", {"name": "Ada"})


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def is_as_before(bench: Workbench, known: int) -> None:
    """Watch the demo plug-in for a while: it is neither lost nor replaced."""
    end = time.monotonic() + AFTER_SECONDS
    while time.monotonic() < end:
        plugin = bench.plugin("demo")
        assert plugin.generation == 1, chapters(bench)
        time.sleep(0.5)
    assert bench.plugin("demo").state == "running", chapters(bench)
    assert not [c for c in chapters(bench, known) if "lost:" in c or "beat" in c]
    assert bench.call("demo.greet", {"name": "Ada"}) == {"text": "Hello Ada"}


@pytest.mark.row("S26", "K12")
def test_a_frozen_host_and_a_machine_that_slept_blame_no_plugin(
    tmp_path: Path, workspace: Path, budget: Budget, record: Record
) -> None:
    other = tmp_path / "other"
    (other / "plugins").mkdir(parents=True)
    (other / "plugins" / "plugins.json").write_text("[]\n")
    seconds = budget.seconds(60, least=20)
    with ExitStack() as stack:
        owners = []
        for place in (workspace, other):
            write_plugin(place)
            owners.append(stack.enter_context(script(OWNER, place)))
        assert [hear(owner) for owner in owners] == ["up", "up"]
        # In one only the Host stands still, in the other all that there is.
        frozen = [owners[0].pid, *{owners[1].pid, *processes_of(other)}]
        benches = [stack.enter_context(attach(place)) for place in (workspace, other)]
        known = [len(chapters(bench)) for bench in benches]
        for bench in benches:
            bench.close()
        with stopped(frozen):
            time.sleep(seconds)
        benches = [stack.enter_context(attach(place)) for place in (workspace, other)]
        for bench, before in zip(benches, known, strict=True):
            is_as_before(bench, before)
        record.figure("stood still", seconds, "s")
        for owner in owners:
            tell(owner, "close")
            owner.wait(30)
    eventually(lambda: not processes_of(tmp_path), timeout=10)


@pytest.mark.row("S27")
def test_a_cell_that_holds_the_lock_blames_no_plugin(
    workspace: Path, budget: Budget, record: Record
) -> None:
    seconds = budget.seconds(30, least=25)
    write_plugin(workspace)
    with kernel(workspace, dict(os.environ)) as owner:
        assert "up" in owner.run(UP)
        owner.run("host.call('demo.greet', {'name': 'Ada'}); known = len(host.events('demo'))")
        # `sum` over a `range` runs no bytecode, so no other thread has its turn meanwhile.
        took = owner.run(
            "import time\nbegun = time.monotonic(); sum(range(10**7))\n"
            "each = (time.monotonic() - begun) / 10**7\n"
            f"begun = time.monotonic(); sum(range(int({seconds} / each)))\n"
            "print(time.monotonic() - begun)",
            timeout=10 * seconds,
        )
        record.figure("held for", float(took), "s")
        with attach(workspace) as bench:
            is_as_before(bench, known=int(owner.run("print(known)")))
        owner.run("host.close()")
