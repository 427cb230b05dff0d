"""The board: what its panels see, when they are redrawn, wishes and their outcome, how it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from bkg_workbench.errors import PluginNotFound
from bkg_workbench.protocol.state import Removed
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.live import Data, script
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.pulse import Lease
from tests.helpers import eventually


class Names(Panel):
    """A panel that shows names, and remembers what it sent and whether it ended."""

    _esm = script()

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.ended = self.paused = 0
        super().__init__()

    def fold(self, moment: Moment) -> Data:
        return {
            "names": {name: plugin.state for name, plugin in moment.state.plugins.items()},
            "asked": dict(moment.asked),
            "stale": moment.stale,
        }

    def post(self, content: Data, buffers: list[bytes] | None = None) -> None:
        self.sent.append(content)

    def pause(self) -> None:
        self.paused += 1

    def end(self) -> None:
        self.ended += 1

    @property
    def toasts(self) -> list[tuple[str, str]]:
        return [(m["text"], m["tone"]) for m in self.sent if m["kind"] == "toast"]


class Seconds:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("goose")
    return bench


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def board(bench: ScriptedBench, seconds: Seconds) -> Iterator[Board]:
    """A board that is redrawn only by `step`, with one panel inside of a box."""
    board = Board(
        bench,
        lease=Lease(monotonic=seconds),
        now_ms=lambda: NOW,
        monotonic=seconds,
        autostart=False,
    )
    board.lay(ipywidgets.Box([Names()]))
    board.step()
    yield board
    board.close()


def panel(board: Board) -> Names:
    found = board.panels[0]
    assert isinstance(found, Names)
    return found


def test_a_panel_inside_of_a_box_is_found_and_shows_the_moment(board: Board) -> None:
    assert panel(board).board is board
    assert panel(board).shown == {"names": {"goose": "stopped"}, "asked": {}, "stale": False}


def test_a_hundred_idle_steps_send_nothing(board: Board) -> None:
    before = len(panel(board).sent)
    for _ in range(100):
        board.step()
    assert len(panel(board).sent) == before


def test_without_a_viewer_panels_are_paused_and_nothing_is_drawn(
    bench: ScriptedBench, board: Board, seconds: Seconds
) -> None:
    seconds.now += 91
    bench.define("candle")
    board.step()
    assert panel(board).paused == 1
    assert "candle" not in panel(board).shown["names"]
    board.presence._handle_custom_msg({"kind": "beat"}, [])
    board.step()
    assert "candle" in panel(board).shown["names"]


def test_a_panel_that_fails_is_reported_once_and_hinders_no_other(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Names):
        def fold(self, moment: Moment) -> Data:
            raise RuntimeError("not mine")

    last = Names()
    board.lay(Broken(), last)
    for _ in range(3):
        board.step()
    assert last.shown["names"] == {"goose": "stopped"}
    assert [r.message for r in caplog.records] == ["Broken could not be redrawn"]


def test_what_is_laid_off_is_ended_and_closed(board: Board) -> None:
    first = panel(board)
    board.lay(Names())
    assert first.ended == 1
    assert first.comm is None
    assert panel(board) is not first


def test_work_of_a_panel_runs_elsewhere_and_its_success_is_told(
    bench: ScriptedBench, board: Board
) -> None:
    release, where = threading.Event(), []

    def work(it: Any) -> None:
        where.append((it, threading.current_thread()))
        release.wait(10)

    panel(board).work(work, "Save settings of goose", done="Saved.")
    eventually(lambda: where)
    assert panel(board).toasts == []
    release.set()
    board.settle()
    assert where[0][0] is bench
    assert where[0][1] is not threading.current_thread()
    assert panel(board).toasts == [("Saved.", "ok")]


def test_an_error_of_the_workbench_is_told_as_its_sentence(board: Board) -> None:
    def work(_: Any) -> None:
        raise PluginNotFound(plugin="goose", known=[])

    panel(board).work(work, "Save settings of goose", done="Saved.")
    board.settle()
    ((text, tone),) = panel(board).toasts
    assert text.startswith("Save settings of goose: There is no plug-in")
    assert tone == "bad"


def test_a_programming_error_is_told_without_its_text_and_logged(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    def work(_: Any) -> None:
        raise KeyError("secret")

    with caplog.at_level(logging.WARNING):
        panel(board).work(work, "Export")
        board.settle()
    assert panel(board).toasts == [("Export: KeyError; the log of the page says more.", "bad")]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    ("verb", "before", "after", "told"),
    [
        ("start", "stopped", "running", ("goose is running.", "ok")),
        ("start", "failed", "failed", ("goose could not be started: no start.sh.", "bad")),
        ("start", "stopped", "backoff",
         ("goose could not be started: no start.sh. It tries again.", "warn")),
        ("start", "stopped", "degraded", ("goose is up, but degraded: no start.sh.", "warn")),
        ("start", "stopped", "stopped", None),
        ("stop", "running", "stopped", ("goose has stopped.", "ok")),
        ("stop", "running", "starting", None),
        ("stop", "running", "failed", ("goose could not be stopped: no start.sh.", "bad")),
        ("restart", "running", "running", ("goose is running again.", "ok")),
    ],
)  # fmt: skip
def test_a_wish_is_told_of_when_it_is_fact(
    bench: ScriptedBench, board: Board, verb: Any, before: Any, after: Any, told: Any
) -> None:
    bench.move("goose", before, seconds_ago=60)
    board.step()
    board.ask(verb, "goose")
    board.settle()
    board.step()
    assert bench.intents == [(verb, "goose", False)]
    assert panel(board).toasts == []
    bench.move("goose", after, "no start.sh", generation=2)
    board.step()
    board.step()
    assert panel(board).toasts == ([told] if told else [])


def test_a_restart_is_not_fact_before_there_is_a_new_process(
    bench: ScriptedBench, board: Board
) -> None:
    bench.move("goose", "running", seconds_ago=60)
    board.ask("restart", "goose")
    board.settle()
    bench.move("goose", "degraded")
    bench.move("goose", "running")
    board.step()
    assert panel(board).toasts == []


def test_a_wish_for_a_plugin_that_goes_is_forgotten(bench: ScriptedBench, board: Board) -> None:
    board.ask("start", "goose")
    board.settle()
    bench.happen(Removed(plugin="goose"))
    board.step()
    bench.define("goose")
    bench.move("goose", "running")
    board.step()
    assert panel(board).toasts == []


def test_a_refused_wish_is_told_at_once(bench: ScriptedBench, board: Board) -> None:
    bench.refusal = PluginNotFound(plugin="goose", known=[])
    board.ask("start", "goose")
    board.settle()
    ((text, tone),) = panel(board).toasts
    assert text.startswith("Start goose: There is no plug-in")
    assert tone == "bad"
    assert board.moment().asked == {}


def test_a_board_of_a_closed_workbench_ends_its_panels_once(
    bench: ScriptedBench, board: Board
) -> None:
    bench.connected = False
    board.step()
    board.close()
    board.close()
    assert panel(board).shown["stale"]
    assert panel(board).ended == 1
    assert bench.followers == bench.changes == []


def test_samples_that_came_before_the_look_back_are_there_once_and_in_order() -> None:
    bench = ScriptedBench()
    board = Board(bench, autostart=False)
    bench.now_ms -= 5_000
    bench.samples.append({"plugin": "goose", "at": bench.now_ms, "cpu": 1.0, "mem_bytes": 1})
    bench.now_ms += 5_000
    bench.sample("goose", 2.0, 1)
    bench.sample("candle", 3.0, 1)
    board.step()
    samples = board.moment().samples
    assert [s["cpu"] for s in samples["goose"]] == [1.0, 2.0]
    assert [s["cpu"] for s in samples["candle"]] == [3.0]
    board.close()
