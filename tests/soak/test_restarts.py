"""Restarts without end under a steady load, and starts and stops without end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from bkg_workbench import Host, attach
from tests.helpers import eventually, processes_of
from tests.load import restarts_under_load, write_counter
from tests.plugins import write_plugin
from tests.reliability import Record
from tests.soak.budget import Budget

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.mark.row("P1")
async def test_fifty_restarts_under_load_lose_nothing(
    workspace: Path, budget: Budget, record: Record
) -> None:
    executed = write_counter(workspace)
    restarts = budget.times(50)
    with Host(workspace) as host:
        host.start("counter")
        with attach(workspace) as bench:
            load = await restarts_under_load(bench, restarts, per_second=200)
        assert host.plugin("counter").generation == restarts + 1
    record.figure("restarts under load", restarts)
    record.figure("requests/s through restarts", load.per_second)
    record.figure("requests lost", load.lost)
    record.figure("requests answered twice", load.twice(executed))
    record.figure("asked again because busy", load.busy)
    record.figure("slowest answer", load.slowest, "s")
    assert load.failures == []
    assert (load.lost, load.twice(executed), load.never(executed)) == (0, 0, 0)


@pytest.mark.row("S22", "S23")
def test_a_hundred_starts_and_stops_leave_no_zombie_and_no_descriptor(
    workspace: Path, budget: Budget, record: Record
) -> None:
    write_plugin(workspace)
    cycles = budget.times(100)
    with Host(workspace) as host:
        host.start("demo")
        host.stop("demo")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(cycles):
            host.start("demo")
            host.stop("demo")
        more = abs(len(os.listdir("/proc/self/fd")) - before)
        me = psutil.Process()
        zombies = [c.pid for c in me.children(recursive=True) if c.status() == "zombie"]
        record.figure("starts and stops", cycles)
        record.figure("zombies", len(zombies))
        record.figure("descriptors more or less", more)
        assert zombies == []
        assert more <= 2


@pytest.mark.row("S11")
def test_a_stop_at_fifty_moments_of_the_start_wins(
    workspace: Path, budget: Budget, record: Record
) -> None:
    write_plugin(workspace)
    moments = budget.times(50)
    with Host(workspace) as host:
        for number in range(moments):
            host.start("demo", wait=False)
            time.sleep(0.5 * number / moments)  # the moment itself is what is tried
            host.stop("demo")
            assert host.plugin("demo").state == "stopped"
            assert host.plugin("demo").wanted == "down"
        eventually(lambda: not processes_of(workspace))
        assert host.plugin("demo").state == "stopped"
    record.figure("moments", moments)
