"""The pilot that panels are tested with."""

from __future__ import annotations

from typing import Any

import pytest

from bkg_workbench.errors import PluginNotFound, WorkbenchError
from bkg_workbench.sdk import Plugin
from bkg_workbench.testing import MemoryHost, Pilot
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.inventory import Inventory
from bkg_workbench.widgets.live import Data, script
from bkg_workbench.widgets.panel import Moment, Panel
from tests.helpers import eventually


def test_a_click_posts_the_wish_and_the_page_shows_the_fact() -> None:
    with Pilot() as pilot:
        pilot.bench.define("goose", capabilities=["goose.run"])
        assert pilot.row("goose").badge.text == "stopped"
        pilot.click("goose", "start")
        assert pilot.bench.intents == [("start", "goose", False)]
        assert pilot.row("goose").badge.text == "stopped"
        pilot.bench.run("goose", "goose.run")
        assert pilot.row("goose").badge.text == "running"
        pilot.click("goose", "start")
        assert len(pilot.bench.intents) == 1


def test_a_button_that_hurts_asks_before_it_acts() -> None:
    with Pilot() as pilot:
        pilot.bench.define("goose")
        pilot.bench.run("goose")
        pilot.click("goose", "stop", confirm=False)
        assert pilot.questions == ["Stop goose?"]
        assert pilot.bench.intents == []
        pilot.click("goose", "stop")
        assert pilot.bench.intents == [("stop", "goose", False)]


def test_the_outcome_is_a_toast_when_it_is_fact() -> None:
    with Pilot() as pilot:
        pilot.bench.define("goose")
        pilot.click("goose", "start")
        assert pilot.toasts == []
        pilot.bench.run("goose")
        pilot.look()
        assert pilot.toasts == [("goose is running.", "ok")]


def test_a_refused_wish_is_a_toast_at_once() -> None:
    with Pilot() as pilot:
        pilot.bench.define("goose")
        pilot.bench.refusal = PluginNotFound(plugin="goose", known=[])
        pilot.click("goose", "start")
        ((text, tone),) = pilot.toasts
        assert text.startswith("Start goose: There is no plug-in")
        assert tone == "bad"


class Greeter(Panel):
    """A panel of somebody's own."""

    _esm = script()
    greeted: tuple[str, ...] = ()

    def fold(self, moment: Moment) -> Data:
        return {"greeted": list(self.greeted)}

    def on_intent(self, intent: Data) -> None:
        def greet(_: Bench) -> None:
            self.greeted = (*self.greeted, intent["name"])
            self.post({"kind": "bell"}, [b"ding"])

        self.work(greet, "Greet", done="Greeted.")


def greeting_page(bench: Bench, **how: Any) -> Board:
    board = Board(bench, **how)
    board.lay(Greeter())
    return board


def test_a_panel_of_ones_own_is_driven_on_its_own_page() -> None:
    with Pilot(page=greeting_page) as pilot:
        pilot.intent(Greeter, "greet", name="Ada")
        assert pilot.panel(Greeter).shown["greeted"] == ["Ada"]
        assert pilot.toasts == [("Greeted.", "ok")]
        ((panel, content, buffers),) = pilot.sent
        assert panel is pilot.panel(Greeter)
        assert (content, buffers) == ({"kind": "bell"}, [b"ding"])
        with pytest.raises(WorkbenchError, match="no Inventory, but Greeter"):
            pilot.panel(Inventory)


def test_it_drives_the_page_of_a_whole_host_too() -> None:
    with MemoryHost(Plugin("hello")) as bench, Pilot(bench) as pilot:
        assert pilot.row("hello").badge.text == "running"
        pilot.click("hello", "stop")
        eventually(lambda: pilot.row("hello").badge.text == "stopped")
        assert pilot.toasts == [("hello has stopped.", "ok")]
