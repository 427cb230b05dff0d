"""What the Host counts: every request once, under a name that somebody declares."""

from __future__ import annotations

from typing import Any

import pytest

from bkg_workbench.errors import CapabilityNotFound, PluginFailure
from bkg_workbench.host.meter import UNKNOWN, Histogram
from bkg_workbench.sdk import Context, Plugin
from bkg_workbench.testing import MemoryHost
from tests.helpers import eventually


def counting() -> Plugin:
    plugin = Plugin("demo")

    @plugin.capability("demo.work")
    async def work(payload: Any, context: Context) -> Any:
        if payload.get("fail"):
            raise ValueError("as asked")
        return {}

    return plugin


def test_a_histogram_counts_up_to_and_with_its_bounds():
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert histogram.shown() == {"bounds": [0.1, 1.0], "counts": [2, 1, 1], "sum": 7.65}


def test_each_request_is_counted_once_by_capability_plugin_and_outcome():
    with MemoryHost(counting()) as bench:
        for _ in range(3):
            bench.call("demo.work", {})
        with pytest.raises(PluginFailure):
            bench.call("demo.work", {"fail": True})
        for n in range(5):
            with pytest.raises(CapabilityNotFound):
                bench.call(f"made.up{n}", {})
        found = bench.metrics()
        counts = {
            (r["capability"], r["plugin"], r["outcome"]): r["count"] for r in found["requests"]
        }
        assert counts["demo.work", "demo", "ok"] == 3
        assert counts["demo.work", "demo", "plugin_failure"] == 1
        assert counts[UNKNOWN, "", "capability_not_found"] == 5
        durations = {d["capability"]: d for d in found["durations"]}
        assert sum(durations["demo.work"]["counts"]) == 4
        assert not [name for name in durations if name.startswith("made.")]


def test_plugins_log_lines_and_the_loops_lag_are_there():
    with MemoryHost(counting()) as bench:
        eventually(lambda: sum(bench.metrics()["lag"]["counts"]) > 0)
        found = bench.metrics()
        (demo,) = found["plugins"]
        assert (demo["name"], demo["state"], demo["inFlight"], demo["waiting"]) == (
            "demo", "running", 0, 0,
        )  # fmt: skip
        assert demo["logsReceived"] >= demo["logsDropped"] == 0
        assert found["lag"]["latest"] >= 0
        assert found["process"]["memBytes"] > 0
