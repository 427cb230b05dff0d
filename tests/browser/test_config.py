"""The config section in a real browser: save bar, difference, conflict, versions, leaving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Dialog

from bkg_workbench.protocol.state import Watched
from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.config_panel import ConfigPanel
from bkg_workbench.widgets.pulse import Lease
from tests.browser.form_page import Bridge
from tests.helpers import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["target"],
    "properties": {
        "target": {"type": "string", "title": "Target", "minLength": 1},
        "users": {"type": "integer", "title": "Users", "minimum": 1, "default": 10},
        "token": {"type": "string", "title": "Token", "format": "password"},
        "more": {
            "type": "object",
            "title": "More",
            "properties": {"depth": {"type": "integer", "title": "Depth", "maximum": 3}},
        },
    },
}
SETTINGS = {"target": "http://a", "users": 20, "token": "old secret"}


class Desk:
    """The config section of goose on a page, over a bench that the test scripts."""

    def __init__(self, context: BrowserContext) -> None:
        self.bench = ScriptedBench()
        self.bench.define("goose")
        self.bench.configure("goose", SETTINGS, SCHEMA)
        self.bench.run("goose")
        self.panel = ConfigPanel("goose")
        self.board = Board(self.bench, lease=Lease(monotonic=lambda: 0.0), autostart=False)
        self.board.lay(self.panel)
        self.draw()
        self.bridge = Bridge(context, self.panel)
        self.page = self.bridge.page
        self.page.set_default_timeout(20_000)

    def draw(self) -> None:
        for _ in range(3):
            self.board.step()
            self.board.settle()

    def look(self) -> None:
        """Let the Host's side answer, and the page draw it."""
        self.bridge.settle()
        self.draw()
        self.bridge.deliver()

    def type(self, name: str, text: str) -> None:
        field = self.page.get_by_label(name, exact=True)
        field.fill(text)
        field.blur()
        self.look()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()
        self.look()

    def said(self, what: str) -> str:
        return self.page.locator(f'[data-say="{what}"]').inner_text()


@pytest.fixture
def desk(context: BrowserContext) -> Iterator[Desk]:
    desk = Desk(context)
    yield desk
    assert desk.bridge.errors == []
    desk.bridge.page.close()
    desk.board.close()


def test_a_difference_is_shown_before_it_is_saved(desk: Desk) -> None:
    assert desk.page.locator(".bkg-savebar").count() == 0
    desk.type("Users", "30")
    desk.type("Token", "new secret")
    assert "2 unsaved changes" in desk.page.locator(".bkg-savebar").inner_text()
    desk.press("Review and save…")
    rows = [row.inner_text().split() for row in desk.page.locator(".bkg-diff li").all()]
    assert rows == [["/users", "20", "→", "30"], ["/token", "secret", "replaced"]]
    desk.page.get_by_placeholder("Reason").fill("peak")
    desk.page.get_by_label("Apply now, watch for").check()
    desk.page.get_by_label("Seconds to watch").fill("30")
    assert desk.bench.saves == []
    desk.press("Save 2 changes")
    saved = desk.bench.saves[0]
    assert (saved["reason"], saved["canary_seconds"]) == ("peak", 30)
    assert saved["settings"] == {"target": "http://a", "users": 30, "token": "new secret"}
    assert "applied" in desk.said("outcome")
    assert "on probation" in desk.said("probation")
    assert desk.page.locator(".bkg-savebar").count() == 0
    assert desk.page.get_by_label("Token", exact=True).input_value() == ""
    desk.bench.happen(Watched(plugin="goose", until=None))
    desk.look()
    assert desk.page.locator('[data-say="probation"]').count() == 0


def test_a_mistake_keeps_save_shut_and_is_led_to(desk: Desk) -> None:
    desk.type("Depth", "9")
    desk.page.locator('.bkg-f-section[aria-label="More"] .bkg-f-toggle').click()
    save = desk.page.get_by_role("button", name="Review and save…")
    assert save.is_disabled()
    desk.press("1 problem to mend")
    eventually(lambda: desk.page.get_by_label("Depth", exact=True).count() == 1)
    eventually(lambda: desk.page.evaluate("document.activeElement.value") == "9")
    desk.type("Depth", "3")
    assert save.is_enabled()


def test_a_conflict_is_shown_and_both_are_brought_together(desk: Desk) -> None:
    desk.type("Target", "http://mine")
    desk.bench.configure("goose", {**SETTINGS, "users": 50})
    desk.look()
    assert "Version 2 was saved by ada" in desk.said("conflict")
    assert desk.page.get_by_label("Target", exact=True).input_value() == "http://mine"
    desk.press("Bring both together")
    assert desk.page.get_by_label("Users", exact=True).input_value() == "50"
    assert desk.page.get_by_label("Target", exact=True).input_value() == "http://mine"


def test_a_version_is_looked_at_and_restored_after_a_second_press(desk: Desk) -> None:
    desk.bench.configure("goose", {**SETTINGS, "users": 50}, reason="peak")
    desk.look()
    desk.press("History")
    desk.page.locator('[data-row="1"] [aria-expanded]').click()
    desk.look()
    assert "What a restore would change" in desk.page.locator(".bkg-history-open").inner_text()
    desk.press("Restore version 1")
    assert desk.panel.shown["version"] == 2
    desk.press("Restore 1? Restore version 1 Press again to confirm")
    assert desk.panel.shown["version"] == 3
    assert desk.page.get_by_label("Users", exact=True).input_value() == "20"


def test_leaving_with_unsaved_edits_is_asked_about(desk: Desk) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    desk.page.on("dialog", stay)
    desk.page.reload()
    assert asked == []
    desk.page.wait_for_function("window.ready === true")
    desk.type("Users", "30")
    desk.page.reload()
    eventually(lambda: asked == ["beforeunload"])
