"""What the pages of `benchmarks/ui.py` show: each scene in this workbench's way and the naive one.

Runs in a page's kernel. `stage` shows a button and waits; SIGUSR1 builds the scene below it, and
SIGUSR2 plays it for its seconds. Each step's end is written beside the notebook, for the one that
measures.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets

PLUGINS = 20
ROWS = 100
POINTS = 600
LINES = 4

Play = Callable[[float], None]


def stage(scene: str, way: str, seconds: float, folder: str) -> ipywidgets.VBox:
    """The scene's place on the page, empty as yet."""
    box = ipywidgets.VBox([ipywidgets.Button(description="ready")])
    build, play = threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: build.set())
    signal.signal(signal.SIGUSR2, lambda *_: play.set())
    said = Path(folder) / f"{scene}-{way}"

    def act() -> None:
        build.wait()
        widget, run = SCENES[scene, way]()
        box.children = (*box.children, widget)
        said.with_suffix(".built").touch()
        play.wait()
        run(seconds)
        said.with_suffix(".played").touch()

    threading.Thread(target=act, daemon=True).start()
    said.with_suffix(".pid").write_text(str(os.getpid()))
    return box


def ticks(seconds: float, each: float) -> Iterator[int]:
    """Numbers, one every `each` seconds, for `seconds`."""
    begun = time.monotonic()
    for n in range(round(seconds / each)):
        time.sleep(max(0.0, begun + n * each - time.monotonic()))
        yield n


# --- inventory ----------------------------------------------------------------------------------


def names() -> list[str]:
    return [f"plugin-{n:02}" for n in range(PLUGINS)]


def inventory() -> tuple[Any, Play]:
    """The inventory, over a bench whose plug-ins beat and are measured."""
    from bkg_workbench.testing.scripted import ScriptedBench
    from bkg_workbench.widgets.board import Board
    from bkg_workbench.widgets.inventory import Inventory

    bench = ScriptedBench(now_ms=time.time_ns() // 1_000_000)
    for name in names():
        bench.define(name, capabilities=[f"{name}.run"])
        bench.run(name, f"{name}.run")
    board = Board(bench)
    board.lay(Inventory())

    def run(seconds: float) -> None:
        for n in ticks(seconds, 0.5):
            bench.now_ms = time.time_ns() // 1_000_000
            for k, name in enumerate(names()):
                bench.beat(name, seconds_ago=0.0)
                bench.sample(name, 10 + (n * 7 + k) % 50, (80 + (n + k) % 40) << 20)

    return board, run


def inventory_naively() -> tuple[Any, Play]:
    """A grid of labels and buttons, each figure a widget."""
    rows = {name: [ipywidgets.HTML() for _ in range(5)] for name in names()}
    cells: list[Any] = []
    for name, labels in rows.items():
        buttons = [ipywidgets.Button(description=verb) for verb in ("Start", "Stop", "Restart")]
        cells += [ipywidgets.HTML(f"<b>{name}</b>"), *labels, *buttons]
    grid = ipywidgets.GridBox(
        cells, layout=ipywidgets.Layout(grid_template_columns="repeat(9, auto)")
    )
    begun = time.time()

    def show(n: int) -> None:
        for k, labels in enumerate(rows.values()):
            age = time.time() - begun
            texts = (
                '<span style="color: green">running</span>',
                f"{age:.0f} s",
                f"{10 + (n * 7 + k) % 50} %",
                f"{80 + (n + k) % 40} MB",
                f"beat {0.1 * (k % 5):.1f} s ago, no. {n}",
            )
            for label, text in zip(labels, texts, strict=True):
                label.value = text

    show(0)
    return grid, lambda seconds: [show(n) for n in ticks(seconds, 0.5)] and None


# --- log ----------------------------------------------------------------------------------------


def line(n: int) -> str:
    return f"request {n:07} to the plug-in was answered in 12 ms by the second worker, all is well"


def log(rate: int) -> Callable[[], tuple[Any, Play]]:
    """The log view, fed in batches as the Host sends them."""

    def make() -> tuple[Any, Play]:
        from bkg_workbench.testing.scripted import ScriptedBench
        from bkg_workbench.widgets.logs import LogTail
        from bkg_workbench.widgets.pulse import Pulse

        bench = ScriptedBench()
        tail = LogTail(bench)
        pulse = Pulse(lambda: pulse.mark() if tail.step() else None)
        tail.wake = pulse.mark
        pulse.start()

        def run(seconds: float) -> None:
            seq, each = 0, rate // 10
            for _ in ticks(seconds, 0.1):
                at = time.time_ns() // 1_000_000
                fields = {"plugin": "goose", "source": "stdout", "level": "info", "at": at}
                records = [
                    {"seq": seq + n, "message": line(n), **fields} for n in range(1, each + 1)
                ]
                ends = {"from": seq + 1, "to": seq + each, "total": seq + each, "dropped": 0}
                bench.send("logs.goose", {"plugin": "goose", **ends, "records": records})
                seq += each

        return tail, run

    return make


def log_naively(rate: int) -> Callable[[], tuple[Any, Play]]:
    """An Output, to which each batch of lines is appended."""

    def make() -> tuple[Any, Play]:
        output = ipywidgets.Output(layout=ipywidgets.Layout(height="360px", overflow="auto"))

        def run(seconds: float) -> None:
            each = rate // 10
            for k in ticks(seconds, 0.1):
                output.append_stdout("".join(f"{line(k * each + n)}\n" for n in range(each)))

        return output, run

    return make


# --- form ---------------------------------------------------------------------------------------


def rows() -> list[dict[str, Any]]:
    kinds = ("GET", "POST", "PUT")
    return [
        {"name": f"task {n}", "weight": n, "share": n / 7, "on": n % 2 == 0, "kind": kinds[n % 3]}
        for n in range(ROWS)
    ]


def form() -> tuple[Any, Play]:
    """A form of 100 rows with 5 fields each."""
    from bkg_workbench.protocol.forms import Form
    from bkg_workbench.widgets.forms import FormWidget

    row = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "weight": {"type": "integer", "minimum": 0},
            "share": {"type": "number"},
            "on": {"type": "boolean"},
            "kind": {"enum": ["GET", "POST", "PUT"]},
        },
    }
    schema = {"type": "object", "properties": {"tasks": {"type": "array", "items": row}}}
    return FormWidget(Form(schema, {"tasks": rows()})), lambda seconds: None


def form_naively() -> tuple[Any, Play]:
    """The same of ipywidgets, one for each field."""
    made = [
        ipywidgets.HBox(
            [
                ipywidgets.Text(value=row["name"]),
                ipywidgets.IntText(value=row["weight"]),
                ipywidgets.FloatText(value=row["share"]),
                ipywidgets.Checkbox(value=row["on"]),
                ipywidgets.Dropdown(options=["GET", "POST", "PUT"], value=row["kind"]),
            ]
        )
        for row in rows()
    ]
    return ipywidgets.VBox(made), lambda seconds: None


# --- chart --------------------------------------------------------------------------------------


def height(k: int, n: int) -> float:
    return 50 + 40 * math.sin(n / 30 + k) + (n * 7919 + k * 104729) % 100 / 20


def chart() -> tuple[Any, Play]:
    """A live chart: 4 lines of 600 points, two new points of each a second."""
    from bkg_workbench.widgets.charts import LiveChart, Plot, Series

    keys = [f"line {k}" for k in range(LINES)]
    plot = Plot("Response time", "ms")
    made = LiveChart({key: Series(key) for key in keys}, {"main": plot}, window_ms=POINTS * 500)
    now = time.time_ns() // 1_000_000

    def points(n: int, many: int = 1) -> dict[str, list[tuple[float, float | None]]]:
        return {
            key: [(now + (i - POINTS) * 500, height(k, i)) for i in range(n, n + many)]
            for k, key in enumerate(keys)
        }

    made.extend(points(0, POINTS))

    def run(seconds: float) -> None:
        for n in ticks(seconds, 0.5):
            made.extend(points(POINTS + n))

    return made, run


def chart_naively() -> tuple[Any, Play]:
    """A FigureWidget whose traces are given their 600 points anew."""
    from plotly import graph_objects

    figure = graph_objects.FigureWidget([graph_objects.Scatter() for _ in range(LINES)])

    def show(n: int) -> None:
        with figure.batch_update():
            for k, trace in enumerate(figure.data):
                trace.x = [i * 0.5 for i in range(n, n + POINTS)]
                trace.y = [height(k, i) for i in range(n, n + POINTS)]

    show(0)
    return figure, lambda seconds: [show(n) for n in ticks(seconds, 0.5)] and None


SCENES: dict[tuple[str, str], Callable[[], tuple[Any, Play]]] = {
    ("inventory", "ours"): inventory,
    ("inventory", "naive"): inventory_naively,
    ("log-1000", "ours"): log(1_000),
    ("log-1000", "naive"): log_naively(1_000),
    ("log-10000", "ours"): log(10_000),
    ("log-10000", "naive"): log_naively(10_000),
    ("form", "ours"): form,
    ("form", "naive"): form_naively,
    ("chart", "ours"): chart,
    ("chart", "naive"): chart_naively,
}


def shown(way: str) -> Any:
    """The inventory at once, for the time until the first button."""
    return SCENES["inventory", way]()[0]
