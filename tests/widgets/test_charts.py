"""Charts that grow: which points are kept, what travels to the page, and telemetry as lines."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.errors import StoreError
from bkg_workbench.protocol.state import WorkbenchState
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.charts import (
    SPARE,
    LiveChart,
    Plot,
    Series,
    broken,
    is_number,
    library,
    thinned,
)
from bkg_workbench.widgets.live import script
from bkg_workbench.widgets.telemetry import MOST, TelemetryChart, lines, title
from tests.helpers import eventually

Sent = list[tuple[dict[str, Any], list[bytes]]]


def listen(chart: LiveChart) -> Sent:
    """What the chart sends from now on."""
    sent: Sent = []
    chart.post = lambda content, buffers=None: sent.append((content, buffers or []))  # type: ignore[method-assign]
    return sent


def read(content: dict[str, Any], buffers: list[bytes]) -> dict[str, list[tuple[float, float]]]:
    """The points of a message, as the page reads them."""
    numbers = array("d")
    numbers.frombytes(buffers[0])
    found, at = {}, 0
    for name, count in zip(content["names"], content["counts"], strict=True):
        xs, ys = numbers[at : at + count], numbers[at + count : at + 2 * count]
        found[name] = list(zip(xs, ys, strict=True))
        at += 2 * count
    assert at == len(numbers)
    return found


@pytest.fixture
def chart() -> Iterator[LiveChart]:
    made = LiveChart(
        series={"ok": Series("answers", plot="rate"), "bad": Series("failures", plot="rate")},
        layout={"rate": Plot("Rate", unit="/s")},
        kept=100,
    )
    yield made
    made.close()


def test_only_new_points_travel(chart: LiveChart) -> None:
    sent = listen(chart)
    assert chart.extend({"ok": [(1, 10.0), (2, 11.0)], "bad": [(1, 0)]}) == 3
    assert chart.extend({"ok": [(3, 12.0)]}) == 1
    assert [content["kind"] for content, _ in sent] == ["extend", "extend"]
    assert read(*sent[0]) == {"ok": [(1, 10), (2, 11)], "bad": [(1, 0)]}
    assert read(*sent[1]) == {"ok": [(3, 12)]}
    assert [content["n"] for content, _ in sent] == [1, 2]
    assert chart.points("ok") == [(1, 10), (2, 11), (3, 12)]


def test_a_view_that_says_hello_gets_all_points_under_its_token(chart: LiveChart) -> None:
    chart.extend({"ok": [(1, 10.0)]})
    sent = listen(chart)
    chart.on_intent({"verb": "hello", "token": "a1"})
    (content, buffers) = sent[0]
    assert (content["kind"], content["token"], content["n"]) == ("points", "a1", 1)
    assert read(content, buffers) == {"ok": [(1, 10)], "bad": []}


@pytest.mark.parametrize(
    "value",
    ["7", True, math.nan, math.inf, 10**400, [1], {}],
    ids=["text", "truth", "nan", "infinity", "huge", "list", "object"],
)
def test_what_is_no_finite_number_is_left_out(chart: LiveChart, value: Any) -> None:
    sent = listen(chart)
    assert chart.extend({"ok": [(1, value)], "nobody": [(1, 1)]}) == 0
    assert sent == []
    assert not is_number(value)


def test_none_breaks_the_line(chart: LiveChart) -> None:
    sent = listen(chart)
    chart.extend({"ok": [(1, 2.0), (2, None)]})
    assert math.isnan(read(*sent[0])["ok"][1][1])
    assert chart.points("ok") == [(1, 2), (2, None)]


def test_the_oldest_points_go_first(chart: LiveChart) -> None:
    for x in range(100 + SPARE + 1):
        chart.extend({"ok": [(x, x)]})
    points = chart.points("ok")
    assert len(points) <= 100 + SPARE
    assert points[-1] == (100 + SPARE, 100 + SPARE)


def test_replacing_sends_everything_to_all_views(chart: LiveChart) -> None:
    chart.extend({"ok": [(1, 1)], "bad": [(1, 1)]})
    sent = listen(chart)
    chart.replace({"ok": [(5, 5)]})
    assert "token" not in sent[0][0]
    assert read(*sent[0]) == {"ok": [(5, 5)], "bad": []}


def test_lines_can_be_added_and_keep_their_points(chart: LiveChart) -> None:
    chart.extend({"ok": [(1, 1)]})
    chart.arrange(
        {"ok": Series("answers", plot="rate"), "users": Series("users", plot="users")},
        {"rate": Plot("Rate"), "users": Plot("Users", size="small")},
    )
    assert chart.points("ok") == [(1, 1)]
    assert chart.shown["order"] == ["rate", "users"]
    with pytest.raises(KeyError):
        chart.points("bad")
    with pytest.raises(ValueError, match="wants the plot nowhere"):
        chart.arrange({"x": Series("x", plot="nowhere")}, {})


def test_the_library_comes_from_the_kernel_where_the_page_has_none(chart: LiveChart) -> None:
    sent = listen(chart)
    chart.on_intent({"verb": "library"})
    assert sent[0][1][0] == library()
    assert b"plotly" in library()[:200]


POINTS = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6)), unique_by=lambda p: p[0]
).map(sorted)


@given(POINTS, st.integers(4, 50))
def test_thinning_keeps_order_lowest_and_highest(
    points: list[tuple[float, float]], most: int
) -> None:
    kept = thinned(points, most)
    assert len(kept) <= max(most, 4)
    assert kept == [p for p in points if p in kept]
    if points:
        assert min(p[1] for p in kept) == min(p[1] for p in points)  # type: ignore[type-var]
        assert max(p[1] for p in kept) == max(p[1] for p in points)  # type: ignore[type-var]


def test_far_points_are_not_joined() -> None:
    assert broken([(0, 1), (5, 2), (100, 3)], 50) == [(0, 1), (5, 2), (6, None), (100, 3)]


def test_samples_become_lines() -> None:
    samples = [
        {"seq": 1, "at": 5, "plugin": "x", "cpu": 1.5, "mem_bytes": 2**20, "entries": 3},
        {"seq": 2, "at": 6, "plugin": "x", "cpu": None, "mem_bytes": 2**21, "note": "text"},
    ]
    assert lines(samples) == {"cpu": [(5, 1.5)], "mem_bytes": [(5, 1), (6, 2)], "entries": [(5, 3)]}
    assert title("models_loaded") == "Models loaded"
    assert title("queueDepth") == "Queue depth"


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("candle")
    bench.run("candle")
    return bench


@pytest.fixture
def board(bench: ScriptedBench) -> Iterator[Board]:
    board = Board(bench, now_ms=lambda: bench.now_ms, autostart=False)
    board.lay(TelemetryChart("candle"))
    yield board
    board.close()


def telemetry(board: Board) -> TelemetryChart:
    (panel,) = board.panels
    assert isinstance(panel, TelemetryChart)
    return panel


def look(board: Board) -> TelemetryChart:
    """Redraw, and again when the past has come."""
    board.step()
    board.settle()
    board.step()
    return telemetry(board)


def test_the_past_comes_first_and_then_each_new_sample_once(
    bench: ScriptedBench, board: Board
) -> None:
    for age in (400_000, 60_000, 55_000):
        bench.now_ms = NOW - age
        bench.sample("candle", 1.0, 2**20)
    bench.now_ms = NOW
    chart = look(board)
    assert [x - NOW for x, _ in chart.points("cpu")] == [-60_000, -55_000]
    sent = listen(chart)
    bench.sample("candle", 3.0, 2**20, models_loaded=2)
    bench.sample("other", 9.0, 2**20)
    board.step()
    board.step()
    extended = [read(*s) for s in sent if s[0]["kind"] == "extend"]
    assert extended == [{"cpu": [(NOW, 3)], "mem_bytes": [(NOW, 1)], "models_loaded": [(NOW, 2)]}]
    assert chart.shown["plots"]["models_loaded"]["title"] == "Models loaded"


def test_a_longer_range_asks_the_host_again(bench: ScriptedBench, board: Board) -> None:
    bench.now_ms = NOW - 3_000_000
    bench.sample("candle", 1.0, 2**20)
    bench.now_ms = NOW
    chart = look(board)
    assert chart.points("cpu") == []
    chart.on_intent({"verb": "range", "range": "1 h"})
    look(board)
    assert [x - NOW for x, _ in chart.points("cpu")] == [-3_000_000]
    assert (chart.shown["range"], chart.shown["window"]) == ("1 h", 3_600_000)
    chart.on_intent({"verb": "range", "range": "all"})
    look(board)
    assert "window" not in chart.shown
    chart.on_intent({"verb": "range", "range": "for ever"})
    assert chart.shown["range"] == "all"


def test_a_history_that_cannot_be_had_is_said_and_the_live_samples_go_on(
    bench: ScriptedBench, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(plugin: str | None = None, **how: Any) -> Any:
        asked.append(how["limit"])
        raise StoreError("The disk is full.")

    monkeypatch.setattr(bench, "telemetry", refuse)
    chart = telemetry(board)
    sent = listen(chart)
    look(board)
    eventually(lambda: [c for c, _ in sent if c["kind"] == "toast"])
    assert asked.count(MOST) == 1  # and it is not asked over and over
    bench.sample("candle", 3.0, 2**20)
    board.step()
    assert chart.points("cpu") == [(NOW, 3)]


def test_a_gap_between_live_samples_is_shown_as_one(bench: ScriptedBench, board: Board) -> None:
    chart = look(board)
    bench.sample("candle", 1.0, 2**20)
    board.step()
    bench.now_ms = NOW + 200_000
    bench.sample("candle", 2.0, 2**20)
    board.step()
    assert chart.points("cpu") == [(NOW, 1), (NOW + 1, None), (NOW + 200_000, 2)]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which .ci/run installs")
@pytest.mark.parametrize("name", ["chart_panel.js", "telemetry.js"])
def test_the_scripts_are_modules_that_a_browser_can_read(tmp_path: Path, name: str) -> None:
    module = tmp_path / "panel.mjs"
    module.write_text(script("chart.js", name))
    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_chart_needs_no_state(chart: LiveChart) -> None:
    state = WorkbenchState(instance="", version="", workspace="", started_at=0)
    before = json.dumps(chart.shown)
    chart.step(state)
    assert json.dumps(chart.shown) == before


def test_the_samples_that_are_shown_can_be_saved(bench: ScriptedBench, board: Board) -> None:
    bench.sample("candle", 1.0, 2**20, models_loaded=2)
    chart = look(board)
    sent = listen(chart)
    chart.on_intent({"verb": "export", "table": "telemetry", "format": "csv", "token": "t"})
    content, buffers = eventually(lambda: [s for s in sent if s[0]["kind"] == "file"])[0]
    assert content["name"] == "telemetry.csv"
    assert b"models_loaded" in buffers[0].splitlines()[0]


READ = """
import { readFileSync } from "node:fs";
const kept = new Kept();
for (const [content, bytes] of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const buffers = [new DataView(Uint8Array.from(bytes).buffer)];
  if (content.kind === "points") kept.take(content, buffers);
  else kept.extend(content, buffers);
}
console.log(JSON.stringify([kept.n, kept.totals, kept.lines]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which .ci/run installs")
def test_the_page_reads_what_the_kernel_sends(chart: LiveChart, tmp_path: Path) -> None:
    sent = listen(chart)
    chart.replace({"ok": [(1, 10.0), (2, 11.5)]})
    chart.extend({"ok": [(3, 12.0)], "bad": [(3, None)]})
    messages = [[content, list(buffers[0])] for content, buffers in sent]
    (tmp_path / "messages.json").write_text(json.dumps(messages))
    (tmp_path / "read.mjs").write_text(script("chart.js") + READ)
    command = ["node", str(tmp_path / "read.mjs"), str(tmp_path / "messages.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, totals, found = json.loads(done.stdout)
    assert (number, totals) == (2, {"ok": 3, "bad": 1})
    assert found == {"ok": {"x": [1, 2, 3], "y": [10, 11.5, 12]}, "bad": {"x": [3], "y": [None]}}
