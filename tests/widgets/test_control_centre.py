"""The control centre's widgets: intents, coalescing, presence, and how it ends."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bkg_workbench.errors import HostGone
from bkg_workbench.protocol.state import Removed
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.display import ControlCentre, display_bench, show, text
from bkg_workbench.widgets.pulse import Lease, Pulse
from tests.helpers import eventually


class Time:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("repoagent", capabilities=["repo.tree"])
    return bench


@pytest.fixture
def seconds() -> Time:
    return Time()


@pytest.fixture
def centre(bench: ScriptedBench, seconds: Time) -> Iterator[ControlCentre]:
    """A control centre that is redrawn only by `step`."""
    centre = ControlCentre(
        bench,
        lease=Lease(monotonic=seconds),
        now_ms=lambda: NOW,
        monotonic=seconds,
        autostart=False,
    )
    centre.step()
    yield centre
    centre.close()


def repoagent(centre: ControlCentre) -> dict[str, Any]:
    """What the page shows of the plug-in."""
    row: dict[str, Any] = centre.inventory.shown["rows"]["repoagent"]
    return row


def press(centre: ControlCentre, verb: str, *plugins: Any) -> None:
    """What the page sends when a button is pressed (and the question is answered)."""
    content = {"kind": "intent", "verb": verb, "plugins": list(plugins or ["repoagent"])}
    centre.inventory._handle_custom_msg(content, [])


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_button_posts_its_intent_and_does_not_wait(
    bench: ScriptedBench, centre: ControlCentre, verb: str
) -> None:
    press(centre, verb)
    eventually(lambda: bench.intents)
    assert bench.intents == [(verb, "repoagent", False)]


def test_a_click_returns_while_the_host_still_thinks(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(bench, "start", lambda *_, **__: answered.wait(10))
    press(centre, "start")
    centre.step()
    assert repoagent(centre)["can"] == []
    assert repoagent(centre)["asked"] == "start"
    assert repoagent(centre)["note"]["text"] == "asked to start …"
    assert repoagent(centre)["badge"]["text"] == "stopped"
    answered.set()
    eventually(lambda: not centre.current().rows["repoagent"].asked)


def test_the_label_turns_on_the_observed_state(bench: ScriptedBench, centre: ControlCentre) -> None:
    press(centre, "start")
    centre.settle()
    bench.run("repoagent", "repo.tree")
    centre.step()
    assert repoagent(centre)["badge"]["text"] == "running"
    assert repoagent(centre)["can"] == ["stop", "restart"]


def test_a_second_click_on_a_wish_under_way_is_not_sent(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, calls = threading.Event(), []

    def stop(*_: object, **__: object) -> None:
        calls.append(1)
        answered.wait(10)

    monkeypatch.setattr(bench, "stop", stop)
    for _ in range(3):
        press(centre, "stop")
    eventually(lambda: calls)
    answered.set()
    eventually(lambda: not centre.current().rows["repoagent"].asked)
    assert len(calls) == 1


def test_several_plugins_are_asked_at_once(bench: ScriptedBench, centre: ControlCentre) -> None:
    bench.define("candle")
    press(centre, "start", "repoagent", "candle")
    centre.settle()
    assert sorted(bench.intents) == [("start", "candle", False), ("start", "repoagent", False)]


@pytest.mark.parametrize(
    "content",
    [
        {"verb": "start"},
        {"verb": "start", "plugins": "repoagent"},
        {"verb": "start", "plugins": [1, None, {}]},
        {"verb": "close", "plugins": ["repoagent"]},
        {"verb": "open"},
        {"verb": "open", "plugin": "nobody"},
        {"verb": "export"},
        {"verb": "export", "table": "plugins", "format": "exe"},
        {"verb": "export", "table": "secrets", "format": "csv"},
    ],
)
def test_a_page_that_asks_for_nonsense_gets_nothing(
    bench: ScriptedBench, centre: ControlCentre, content: dict[str, Any]
) -> None:
    for panel in (centre.inventory, centre.ports):
        panel._handle_custom_msg({**content, "kind": "intent"}, [])
    centre.settle()
    assert bench.intents == []


def test_a_hundred_idle_steps_send_nothing(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("repoagent", "repo.tree")
    bench.sample("repoagent", 3.0, 2**20)
    centre.step()
    sent: list[Any] = []
    for panel in centre.panels:
        monkeypatch.setattr(panel, "post", lambda *message: sent.append(message))
        monkeypatch.setattr(panel, "send_state", lambda *message: sent.append(message))
    for _ in range(100):
        centre.step()
    assert sent == []


def test_rows_come_and_go_with_the_definitions(bench: ScriptedBench, centre: ControlCentre) -> None:
    bench.define("candle")
    centre.step()
    assert set(centre.inventory.shown["rows"]) == {"candle", "repoagent"}
    assert centre.logs.names == ["candle", "repoagent"]
    bench.happen(Removed(plugin="candle"))
    centre.step()
    assert set(centre.inventory.shown["rows"]) == {"repoagent"}


def test_the_page_of_a_plugin_opens_in_place_and_closes_again(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Detail] = []

    class Detail(Board):
        def __init__(self, bench: Bench, plugin: str, back: Callable[[], None]) -> None:
            super().__init__(bench, autostart=False)
            self.back = back
            self.lay()
            opened.append(self)

    module = types.SimpleNamespace(PluginPage=Detail)
    monkeypatch.setitem(sys.modules, "bkg_workbench.widgets.plugin_page", module)  # type: ignore[arg-type]
    content = {"kind": "intent", "verb": "open", "plugin": "repoagent"}
    centre.inventory._handle_custom_msg(content, [])
    (detail,) = opened
    assert detail in centre.children
    assert centre.inventory.layout.display == "none"
    detail.back()
    assert detail.closed
    assert detail not in centre.children
    assert centre.inventory.layout.display is None
    assert centre.inventory in centre.panels
    centre.inventory._handle_custom_msg(content, [])
    centre.close()
    assert opened[1].closed


def test_a_page_that_cannot_be_opened_is_told(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Board:
        raise HostGone(workspace="/srv/forecast", reason="the connection closed")

    told: list[tuple[str, str]] = []
    module = types.SimpleNamespace(PluginPage=refuse)
    monkeypatch.setitem(sys.modules, "bkg_workbench.widgets.plugin_page", module)  # type: ignore[arg-type]
    monkeypatch.setattr(centre.inventory, "toast", lambda *said: told.append(said))
    centre.open_plugin("repoagent")
    ((text, tone),) = told
    assert text.startswith("Open repoagent: ")
    assert tone == "bad"
    assert centre.inventory.layout.display is None


def test_many_changes_make_few_redraws() -> None:
    drawn: list[float] = []
    pulse = Pulse(lambda: drawn.append(time.monotonic()), least=0.05, most=60.0)
    pulse.start()
    begun = time.monotonic()
    while time.monotonic() < begun + 0.3:
        pulse.mark()
    pulse.close()
    assert 2 <= len(drawn) <= 8
    assert all(b - a >= 0.045 for a, b in itertools.pairwise(drawn))


def test_a_redraw_that_fails_does_not_end_the_redrawing(caplog: pytest.LogCaptureFixture) -> None:
    drawn: list[int] = []

    def draw() -> None:
        drawn.append(1)
        if len(drawn) < 3:
            raise RuntimeError("not now")

    pulse = Pulse(draw, least=0.001, most=0.01)
    pulse.start()
    eventually(lambda: len(drawn) > 3)
    pulse.close()
    assert [r.message for r in caplog.records] == ["A page could not be redrawn"]


def test_without_a_heartbeat_nothing_is_pushed(
    bench: ScriptedBench, centre: ControlCentre, seconds: Time
) -> None:
    seconds.now += 91
    bench.run("repoagent", "repo.tree")
    centre.step()
    assert repoagent(centre)["badge"]["text"] == "stopped"
    centre.presence._handle_custom_msg({"kind": "beat"}, [])
    centre.step()
    assert repoagent(centre)["badge"]["text"] == "running"


def test_a_computing_cell_does_not_end_the_lease(seconds: Time) -> None:
    lease = Lease(90, monotonic=seconds)
    lease.pause()
    seconds.now += 3600
    assert lease.held
    lease.resume()
    seconds.now += 89
    assert lease.held
    seconds.now += 2
    assert not lease.held
    lease.pause()
    assert not lease.held


@pytest.mark.row("K13")
def test_a_closed_page_ends_its_subscriptions_and_its_thread(bench: ScriptedBench) -> None:
    centre = ControlCentre(bench)
    eventually(lambda: centre.inventory.shown.get("rows"))
    centre.close()
    centre.close()
    assert bench.changes == []
    assert bench.followers == []
    assert not [t for t in threading.enumerate() if t.name == "bkg-page"]
    bench.log("nobody reads this")
    bench.define("later")


def test_a_closed_workbench_leaves_its_last_picture_and_nothing_that_runs(
    bench: ScriptedBench,
) -> None:
    centre = ControlCentre(bench)
    eventually(lambda: centre.inventory.shown.get("rows"))
    bench.connected = False
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "bkg-page"])
    assert bench.followers == bench.changes == []
    assert "This workbench is closed" in centre.inventory.shown["banners"][0]["text"]
    assert repoagent(centre)["can"] == []
    centre.close()
    assert centre.closed


def test_a_lost_host_is_told_and_the_page_stays(
    bench: ScriptedBench, centre: ControlCentre
) -> None:
    bench.connected, bench.lost = False, "the connection closed"
    centre.step()
    assert "The Host has gone" in centre.inventory.shown["banners"][0]["text"]
    assert centre.inventory.shown["stale"]
    assert repoagent(centre)["can"] == []
    assert not centre.closed


def test_one_workbench_has_one_page_however_often_it_is_shown(bench: ScriptedBench) -> None:
    first = display_bench(bench)
    assert display_bench(bench) is first
    first.close()
    second = display_bench(bench)
    assert second is not first
    second.close()


def test_outside_a_notebook_a_workbench_is_its_text(
    bench: ScriptedBench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.move("repoagent", "failed", "no start.sh")
    show(bench)
    assert capsys.readouterr().out == text(bench) + "\n"
    assert "repoagent  failed     no start.sh" in text(bench)
