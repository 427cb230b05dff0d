"""What the Host counts of its own work: requests, their durations, the lag of its event loop.

Owns the counters behind `host.metrics`. They begin at 0 with the Host and only grow. Does not own
any format: the gateway writes them for Prometheus, panels draw them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from bkg_workbench.bus.calls import Finished
from bkg_workbench.bus.clock import Clock

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

DURATION_BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds; upper bounds of the histogram of requests."""
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Seconds; upper bounds of the histogram of the loop's lag."""
LAG_SECONDS = 0.1
"""How often the loop's lag is measured."""
UNKNOWN = "unknown"
"""Stands for every capability that nobody declares: a caller must not make series at will."""


@dataclass
class Histogram:
    """Observations in seconds: how many lie at or below each bound, and beyond the last."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def shown(self) -> dict[str, Any]:
        """{bounds, counts, sum}; `counts` has one more entry than `bounds` and does not add up."""
        return {"bounds": list(self.bounds), "counts": list(self.counts), "sum": self.sum}


class Meter:
    """Counts for one Host. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._durations: dict[str, Histogram] = {}
        self._lag = Histogram(LAG_BOUNDS)
        self._latest_lag = 0.0

    def finished(self, record: Finished) -> None:
        """A request has its answer."""
        known = self._is_known(record.capability)
        capability = record.capability if known else UNKNOWN
        self._outcomes[capability, record.plugin or "", record.outcome] += 1
        if capability not in self._durations:
            self._durations[capability] = Histogram(DURATION_BOUNDS)
        self._durations[capability].observe(record.duration_ms / 1000)

    def _is_known(self, capability: str) -> bool:
        router = self._engine.router
        return (
            capability in self._durations
            or capability in router.local
            or any(capability in entry.declared for entry in router.entries.values())
        )

    async def watch_lag(self) -> None:
        """Measure how late the loop comes back from a sleep, for as long as it runs."""
        while True:
            begun = self._clock.monotonic()
            await self._clock.sleep(LAG_SECONDS)
            self._latest_lag = max(0.0, self._clock.monotonic() - begun - LAG_SECONDS)
            self._lag.observe(self._latest_lag)

    def figures(self) -> dict[str, Any]:
        """All counters and gauges, as `host.metrics` gives them; times in seconds."""
        engine = self._engine
        entries = engine.router.entries
        process = psutil.Process()
        return {
            "requests": [
                {"capability": capability, "plugin": plugin, "outcome": outcome, "count": count}
                for (capability, plugin, outcome), count in sorted(self._outcomes.items())
            ],
            "durations": [
                {"capability": name, **found.shown()}
                for name, found in sorted(self._durations.items())
            ],
            "plugins": [
                {
                    "name": name,
                    "state": plugin.state,
                    "wanted": plugin.wanted,
                    "restarts": plugin.restarts,
                    "waiting": entries[name].waiting if name in entries else 0,
                    "inFlight": _in_flight(entries.get(name)),
                    "logsReceived": engine.logs.counters(name).received,
                    "logsDropped": engine.logs.counters(name).dropped,
                }
                for name, plugin in engine.state.plugins.items()
            ],
            "lag": {**self._lag.shown(), "latest": self._latest_lag},
            "clients": len(engine.hub.clients),
            "uptimeSeconds": (self._clock.now_ms() - engine.state.started_at) / 1000,
            "process": {
                "cpuSeconds": sum(process.cpu_times()[:2]),
                "memBytes": process.memory_info().rss,
            },
        }


def _in_flight(entry: Any) -> int:
    if entry is None or entry.connection is None:
        return 0
    return len(entry.connection.session.asked)
