"""Charts that grow: numbers over time, drawn by plotly.js, of which only new points travel.

Owns what a chart consists of (`Plot`, `Series`), the points that it keeps, and how they reach the
page: everything once for each view that says hello, then what is new, as binary numbers. plotly's
own FigureWidget sends whole arrays each time, and a library of 5 MB for each figure; here the page
loads that library once, from its own server or from the kernel. Knows no plug-in.

    chart = LiveChart(
        series={"rps": Series("requests", plot="rate"), "failed": Series("failures", plot="rate")},
        layout={"rate": Plot("Requests per second", unit="/s")},
    )
    chart.extend({"rps": [(at_ms, 41.5)], "failed": [(at_ms, 0)]})
"""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from bkg_workbench.widgets.live import Data, plain, script, style
from bkg_workbench.widgets.panel import Panel

KEPT = 20_000
"""Points of a series that a chart keeps; the oldest go first."""
SPARE = 1_000
"""Points above `KEPT` that are let stand, so that not every new point moves all others."""
LIBRARY = "bkg-plotly"
"""The kind of the message that carries plotly.js to a page whose server does not have it."""

Point = tuple[float, float | None]
"""x and y; a y of None breaks the line."""
Points = Iterable[Point]


@dataclass(frozen=True)
class Plot:
    """One system of axes. `unit` stands behind its title and in the hover text.

    `size`: large ones share the width, small ones stand four in a row. `x`: time (milliseconds
    since 1970) or plain numbers. `least` is the smallest upper end of the y axis, so that idle
    noise is no mountain range.
    """

    title: str
    unit: str = ""
    size: Literal["large", "small"] = "large"
    x: Literal["time", "number"] = "time"
    least: float | None = None


@dataclass(frozen=True)
class Series:
    """One line, on the plot that `plot` names. `fill` shades what is below it."""

    name: str
    plot: str = "main"
    fill: bool = False
    dash: bool = False
    kind: Literal["line", "bar"] = "line"


class LiveChart(Panel):
    """Lines that grow. Methods may be called from any thread; what is wrong in a point is left out.

    Parameters: `series` and `layout` name lines and plots, in the order of drawing; `height` of a
    large plot in pixels; `window_ms`: how much of a time axis is in view (None: everything);
    `empty`: the sentence where there are no points; `kept`: points of a series that are kept.
    """

    _esm = script("chart.js", "chart_panel.js")
    _css = style("chart.css")

    def __init__(
        self,
        series: Mapping[str, Series],
        layout: Mapping[str, Plot],
        *,
        height: int = 200,
        window_ms: int | None = None,
        empty: str = "No figures yet.",
        kept: int = KEPT,
        **traits: Any,
    ) -> None:
        self._lines = threading.RLock()
        self._series: dict[str, Series] = {}
        self._layout: dict[str, Plot] = {}
        self._points: dict[str, tuple[array[float], array[float]]] = {}
        self._count = 0
        self._kept = kept
        self._look = {"height": height, "window": window_ms, "empty": empty}
        super().__init__(**traits)
        self.arrange(series, layout)

    # --- what the owner does -------------------------------------------------------------------

    def arrange(self, series: Mapping[str, Series], layout: Mapping[str, Plot]) -> None:
        """Have these lines and plots from now on; the points of lines that stay are kept."""
        for name, line in series.items():
            if line.plot not in layout:
                raise ValueError(
                    f"the series {name} wants the plot {line.plot}, which is not there"
                )
        with self._lines:
            self._series, self._layout = dict(series), dict(layout)
            empty: tuple[array[float], array[float]]
            for name in series:
                empty = (array("d"), array("d"))
                self._points.setdefault(name, empty)
            for name in [n for n in self._points if n not in series]:
                del self._points[name]
            self._draw()

    def look(self, **fields: Any) -> None:
        """Change how it looks: `height`, `window` (ms or None), `empty`."""
        with self._lines:
            self._look.update(fields)
            self._draw()

    def extend(self, points: Mapping[str, Points]) -> int:
        """Add (x, y) points to series, oldest first; how many were added. Only they travel.

        Points of a series that is not there, or that are no finite numbers, are left out.
        """
        with self._lines:
            added = {name: _columns(new) for name, new in points.items() if name in self._series}
            added = {name: columns for name, columns in added.items() if len(columns[0])}
            if not added:
                return 0
            for name, (xs, ys) in added.items():
                kept = self._points[name]
                kept[0].extend(xs)
                kept[1].extend(ys)
                if len(kept[0]) > self._kept + SPARE:
                    del kept[0][: -self._kept], kept[1][: -self._kept]
            self._count += 1
            self._transfer("extend", added)
            return sum(len(xs) for xs, _ in added.values())

    def replace(self, points: Mapping[str, Points]) -> None:
        """Have these points in place of all that were there."""
        with self._lines:
            for name in self._series:
                self._points[name] = _columns(points.get(name, ()))
            self._count += 1
            self._transfer("points", self._points)

    def points(self, name: str) -> list[Point]:
        """The points of a series that are kept. Raises `KeyError`."""
        with self._lines:
            pairs = zip(*self._points[name], strict=True)
            return [(x, None if math.isnan(y) else y) for x, y in pairs]

    # --- to and from the page ------------------------------------------------------------------

    def frame(self) -> Data:
        """What the page is told beside the points: plots, series, height, window."""
        return {
            "plots": {name: plain(plot) for name, plot in self._layout.items()},
            "order": list(self._layout),
            "series": {name: plain(series) for name, series in self._series.items()},
            "lines": list(self._series),
            **{key: value for key, value in self._look.items() if value is not None},
        }

    def _draw(self) -> None:
        self.show(self.frame())

    def step(self, moment: Any) -> None:
        """A chart has no state of the workspace to show; its owner extends it."""

    def on_intent(self, intent: Data) -> None:
        """`hello {token}`: a view wants all points; `library`: it wants plotly.js."""
        if intent["verb"] == "hello":
            with self._lines:
                self._transfer("points", self._points, token=intent.get("token"))
        elif intent["verb"] == "library":
            self.post({"kind": LIBRARY}, [library()])

    def _transfer(
        self, kind: str, points: Mapping[str, tuple[array[float], array[float]]], **more: Any
    ) -> None:
        names = list(points)
        counts = [len(points[name][0]) for name in names]
        content = {"kind": kind, "n": self._count, "names": names, "counts": counts, **more}
        self.post(
            content, [b"".join(column.tobytes() for name in names for column in points[name])]
        )


def library() -> bytes:
    """plotly.js as the package plotly carries it, about 5 MB."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about `most` of `points`: of each stretch its lowest and its highest.

    A line through them looks as one through all of them.
    """
    if len(points) <= most or most < 4:
        return list(points)
    stretch = math.ceil(len(points) / (most // 2))
    kept: list[Point] = []
    for begin in range(0, len(points), stretch):
        part = range(begin, min(begin + stretch, len(points)))
        ends = {
            min(part, key=lambda n: _height(points[n])),
            max(part, key=lambda n: _height(points[n])),
        }
        kept += [points[n] for n in sorted(ends)]
    return kept


def broken(points: Sequence[Point], gap: float) -> list[Point]:
    """`points` with a break of the line wherever two are more than `gap` apart on the x axis."""
    whole: list[Point] = []
    for point in points:
        if whole and point[0] - whole[-1][0] > gap:
            whole.append((whole[-1][0] + 1, None))
        whole.append(point)
    return whole


def _height(point: Point) -> float:
    return -math.inf if point[1] is None else point[1]


def _columns(points: Points) -> tuple[array[float], array[float]]:
    xs, ys = array("d"), array("d")
    for x, y in points:
        if is_number(x) and (y is None or is_number(y)):
            xs.append(x)
            ys.append(math.nan if y is None else y)
    return xs, ys


def is_number(value: Any) -> bool:
    """Whether `value` can be drawn: a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
