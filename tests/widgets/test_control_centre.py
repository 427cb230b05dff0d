"""The control centre's widgets: intents, coalescing, presence, and how it ends."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from bkg_workbench.errors import HostNotFound
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets import display_bench, page, show, text
from bkg_workbench.widgets.display import ControlCentre, Sorry
from bkg_workbench.widgets.panels import RowWidget
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


def repoagent(centre: ControlCentre) -> RowWidget:
    return centre.inventory.rows["repoagent"]


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_button_posts_its_intent_and_does_not_wait(
    bench: ScriptedBench, centre: ControlCentre, verb: str
) -> None:
    repoagent(centre).buttons[verb].click()  # type: ignore[index]
    eventually(lambda: bench.intents)
    assert bench.intents == [(verb, "repoagent", False)]


def test_a_click_returns_while_the_host_still_thinks(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(bench, "start", lambda *_, **__: answered.wait(10))
    repoagent(centre).buttons["start"].click()
    centre.step()
    assert repoagent(centre).buttons["start"].disabled
    assert "asked to start" in repoagent(centre).note.value
    assert 'data-state="stopped"' in repoagent(centre).identity.value
    answered.set()
    eventually(lambda: not centre.current().rows[0].asked)


def test_the_label_turns_on_the_observed_state(bench: ScriptedBench, centre: ControlCentre) -> None:
    repoagent(centre).buttons["start"].click()
    centre.settle()
    bench.run("repoagent", "repo.tree")
    centre.step()
    assert 'data-state="running"' in repoagent(centre).identity.value
    assert repoagent(centre).buttons["start"].disabled
    assert not repoagent(centre).buttons["stop"].disabled


def test_a_second_click_on_a_wish_under_way_is_not_sent(
    bench: ScriptedBench, centre: ControlCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, calls = threading.Event(), []

    def stop(*_: object, **__: object) -> None:
        calls.append(1)
        answered.wait(10)

    monkeypatch.setattr(bench, "stop", stop)
    for _ in range(3):
        centre.ask("stop", "repoagent")
    eventually(lambda: calls)
    answered.set()
    eventually(lambda: not centre.current().rows[0].asked)
    assert len(calls) == 1


def test_only_what_changed_is_sent(bench: ScriptedBench, centre: ControlCentre) -> None:
    sent: list[str] = []
    row = repoagent(centre)
    for name in ("identity", "figures", "capabilities", "note"):
        getattr(row, name).observe(lambda change, name=name: sent.append(name), "value")
    centre.step()
    assert sent == []
    bench.run("repoagent", "repo.tree")
    bench.sample("repoagent", 3.0, 2**20)
    centre.step()
    assert set(sent) == {"identity", "figures", "capabilities"}


def test_rows_come_and_go_with_the_definitions(bench: ScriptedBench, centre: ControlCentre) -> None:
    first = repoagent(centre)
    bench.define("candle")
    centre.step()
    assert list(centre.inventory.rows) == ["candle", "repoagent"]
    assert repoagent(centre) is first
    assert centre.logs.names == ["candle", "repoagent"]


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
    before = repoagent(centre).identity.value
    bench.run("repoagent", "repo.tree")
    centre.step()
    assert repoagent(centre).identity.value == before
    centre.presence._handle_custom_msg({"kind": "beat"}, [])
    centre.step()
    assert repoagent(centre).identity.value != before


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
    eventually(lambda: centre.inventory.rows)
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
    eventually(lambda: centre.inventory.rows)
    bench.connected = False
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "bkg-page"])
    assert bench.followers == bench.changes == []
    assert "This workbench is closed" in centre.inventory.banners.value
    assert repoagent(centre).buttons["start"].disabled
    centre.close()
    assert centre.closed


def test_a_lost_host_is_told_and_the_page_stays(
    bench: ScriptedBench, centre: ControlCentre
) -> None:
    bench.connected, bench.lost = False, "the connection closed"
    centre.step()
    assert "The Host has gone" in centre.inventory.banners.value
    assert "bkg-stale" in centre.inventory.table._dom_classes
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


def test_a_page_without_a_host_is_a_sentence() -> None:
    def connect() -> ScriptedBench:
        raise HostNotFound(path="/srv/<workspace>")

    shown = page(connect)
    assert isinstance(shown, Sorry)
    sentence = shown.children[1].value
    assert "No Host is running for /srv/&lt;workspace&gt;" in sentence
    assert "Traceback" not in sentence
