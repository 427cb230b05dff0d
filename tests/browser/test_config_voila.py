"""The round trip of a plug-in's settings in Voilà: edited, compared, saved, live, restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from bkg_workbench import Host
from tests.helpers import eventually

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


def greeting(host: Host) -> Any:
    """How the running plug-in greets now."""
    return host.call("demo.greet", {"name": "Ada"})["text"]


def test_settings_are_edited_compared_saved_applied_live_and_restored(
    host: Host, open_page: Callable[..., Page]
) -> None:
    page = open_page("plugins/demo?tab=config", ready='.bkg-config [data-at="/greeting"]')
    assert greeting(host) == "Hello Ada"
    began = host.config("demo")["version"]
    field = page.get_by_label("greeting", exact=True)
    assert field.get_attribute("placeholder") == "Hello"
    page.get_by_label("times", exact=True).fill("many")
    page.get_by_text("must be a whole number").wait_for()
    assert page.get_by_role("button", name="Review and save…").is_disabled()
    page.get_by_label("times", exact=True).fill("2")
    field.fill("Moin")
    page.get_by_role("button", name="Review and save…").click()
    change = page.locator('.bkg-review [data-path="/greeting"]')
    change.get_by_text("Moin").wait_for()
    assert "not set" in change.inner_text()
    page.get_by_placeholder("Reason").fill("for the north")
    page.get_by_role("button", name="Save 2 changes").click()
    page.locator('[data-say="outcome"]').get_by_text("applied").wait_for()
    assert greeting(host) == "Moin Moin Ada"
    assert host.config("demo")["version"] == began + 1
    page.locator(".bkg-savebar").wait_for(state="detached")

    page.get_by_role("button", name="History").click()
    row = page.locator(f'[data-row="{began + 1}"]')
    row.get_by_text("for the north").wait_for()
    restore = page.locator(f'[data-row="{began}"]').get_by_role("button")
    restore.last.click()
    page.get_by_role("button", name=f"Restore {began}?").click()
    page.locator(f'[data-version="{began + 2}"]').wait_for()
    eventually(lambda: greeting(host) == "Hello Ada", timeout=30)
    assert field.input_value() == ""


def test_what_somebody_else_saves_is_announced_to_who_is_typing(
    host: Host, open_page: Callable[..., Page]
) -> None:
    page = open_page("plugins/demo?tab=config", ready='.bkg-config [data-at="/greeting"]')
    field = page.get_by_label("greeting", exact=True)
    field.fill("Servus")
    page.locator(".bkg-savebar").wait_for()
    config = host.config("demo")
    host.save_config("demo", {**config["settings"], "times": 3}, config["version"])
    banner = page.locator('[data-say="conflict"]')
    banner.wait_for()
    assert field.input_value() == "Servus"
    banner.get_by_role("button", name="Bring both together").click()
    page.get_by_role("button", name="Review and save…").click()
    page.get_by_role("button", name="Save 1 change", exact=True).click()
    page.locator('[data-say="outcome"]').get_by_text("applied").wait_for()
    assert greeting(host) == "Servus Servus Servus Ada"
