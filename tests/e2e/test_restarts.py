"""A restart loses no request and executes none twice, while the load goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bkg_workbench import Host, attach
from tests.load import restarts_under_load, write_counter
from tests.reliability import Record

pytestmark = pytest.mark.timeout(120)


@pytest.mark.row("P1")
@pytest.mark.parametrize("over", ["direct", "websocket"])
async def test_three_restarts_under_load_lose_nothing(
    workspace: Path, over: str, record: Record
) -> None:
    executed = write_counter(workspace)
    with Host(workspace) as host:
        host.start("counter")
        bench = host if over == "direct" else attach(workspace)
        load = await restarts_under_load(bench, restarts=3, per_second=200)
        if bench is not host:
            bench.close()
        assert host.plugin("counter").generation == 4
    assert load.failures == []
    assert (load.lost, load.twice(executed), load.never(executed)) == (0, 0, 0)
    record.figure("requests lost", load.lost)
    record.figure("requests answered twice", load.twice(executed))
