"""The pilot that panels are tested with."""

from __future__ import annotations

from bkg_workbench.sdk import Plugin
from bkg_workbench.testing import MemoryHost, Pilot
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


def test_it_drives_the_page_of_a_whole_host_too() -> None:
    with MemoryHost(Plugin("hello")) as bench, Pilot(bench) as pilot:
        assert pilot.row("hello").badge.text == "running"
        pilot.click("hello", "stop")
        eventually(lambda: pilot.row("hello").badge.text == "stopped")
