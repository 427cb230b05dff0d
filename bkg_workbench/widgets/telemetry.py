"""A plug-in's telemetry over time: CPU, memory, and whatever further numbers it sends.

Owns which samples become which lines, and the range that is shown. Drawing is `charts`', samples
are the board's; older ones come from `bench.telemetry`, on another thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bkg_workbench.widgets import tables
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.charts import LiveChart, Plot, Point, Series, broken, is_number, thinned
from bkg_workbench.widgets.live import Data, script, style
from bkg_workbench.widgets.panel import Moment

RANGES: dict[str, int | None] = {
    "5 min": 300_000,
    "1 h": 3_600_000,
    "24 h": 86_400_000,
    "all": None,
}
"""What may be shown, in milliseconds up to now."""
FIRST = "5 min"
POINTS = 3_000
"""Points of a line from the past; more would not be seen."""
GAP_MS = 90_000
"""Samples further apart than this are not joined: the plug-in was down."""
MOST = 100_000
"""Samples that are asked for; the Host gives the newest."""
MEBIBYTE = 2**20
NOT_NUMBERS = frozenset({"seq", "at", "plugin"})

_BASE = {"cpu": Series("CPU", plot="cpu", fill=True), "mem_bytes": Series("memory", plot="mem")}
_PLOTS = {
    "cpu": Plot("CPU", unit="% of one core", least=5.0),
    "mem": Plot("Memory", unit="MiB", least=16.0),
}


def lines(samples: Iterable[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """The samples' numbers by name, oldest first; memory in MiB."""
    found: dict[str, list[Point]] = {}
    for sample in samples:
        at = sample.get("at")
        if not is_number(at):
            continue
        for name, value in sample.items():
            if name not in NOT_NUMBERS and is_number(value):
                scaled = value / MEBIBYTE if name == "mem_bytes" else value
                found.setdefault(name, []).append((float(at or 0), scaled))
    return found


def title(name: str) -> str:
    """A number's name as a heading: `models_loaded` and `modelsLoaded` read "Models loaded"."""
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in name).replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]


class TelemetryChart(LiveChart):
    """The telemetry of `plugin`, live, over a range that the page chooses."""

    _esm = script("chart.js", "telemetry.js")
    _css = style("chart.css")

    def __init__(self, plugin: str, **traits: Any) -> None:
        self.plugin = plugin
        self._range = FIRST
        self._loaded: str | None = None
        self._loading = False
        self._last = 0.0
        self._now_ms = 0
        super().__init__(
            _BASE,
            _PLOTS,
            height=170,
            window_ms=RANGES[FIRST],
            empty="No telemetry yet. A running plug-in sends a sample every few seconds.",
            **traits,
        )

    def frame(self) -> Data:
        """As `LiveChart.frame`, with the ranges to choose from."""
        return {
            **super().frame(),
            "ranges": list(RANGES),
            "range": self._range,
            "loading": self._loading,
        }

    def step(self, moment: Moment) -> None:
        """Draw the samples that came since; ask for the past where it is not there yet."""
        self._now_ms = moment.now_ms
        if self._loaded != self._range and not self._loading and not moment.stale:
            self._loading = True
            chosen = self._range
            self.work(lambda bench: self._load(bench, chosen), f"Telemetry of {self.plugin}")
        with self._lines:
            new = [s for s in moment.samples.get(self.plugin, ()) if s.get("at", 0) > self._last]
            if new and self._loaded is not None:
                self._add(lines(new))

    def on_intent(self, intent: Data) -> None:
        """As `LiveChart.on_intent`; `range {range}` chooses how far back; `export`."""
        if intent["verb"] == "range" and intent.get("range") in RANGES:
            with self._lines:
                self._range = intent["range"]
                self.look(window=RANGES[self._range])
            if self.board is not None:
                self.board.mark()
        elif self.board is not None and tables.wanted(intent, "telemetry"):
            bench = self.board.bench
            tables.export(self, intent, lambda: self.samples(bench), kind="telemetry")
        else:
            super().on_intent(intent)

    def samples(self, bench: Bench) -> list[dict[str, Any]]:
        """The samples of the range that is shown, as the Host has them. May block."""
        span = RANGES[self._range]
        since = {} if span is None else {"since": self._now_ms - span}
        return list(bench.telemetry(self.plugin, limit=MOST, **since))

    def _load(self, bench: Bench, chosen: str) -> None:
        try:
            past = lines(self.samples(bench))
        finally:
            with self._lines:
                self._loading = False
                self._loaded = chosen  # also where it failed: the next choice tries again
        with self._lines:
            self._know(past)
            self.replace({name: broken(thinned(p, POINTS), GAP_MS) for name, p in past.items()})
            since = self._now_ms - (RANGES[chosen] or self._now_ms)
            self._last = max((p[-1][0] for p in past.values()), default=float(since))
            self._draw()

    def _add(self, new: dict[str, list[Point]]) -> None:
        self._know(new)
        for name, points in new.items():
            before = self._points[name][0]
            if before and points[0][0] - before[-1] > GAP_MS:
                points.insert(0, (before[-1] + 1, None))
            self._last = max(self._last, points[-1][0])
        self.extend(new)

    def _know(self, found: Mapping[str, Any]) -> None:
        """Have a plot of its own for each further number."""
        more = sorted(name for name in found if name not in self._series)
        if more:
            series = {**self._series, **{n: Series(title(n), plot=n) for n in more}}
            layout = {**self._layout, **{n: Plot(title(n), size="small") for n in more}}
            self.arrange(series, layout)
