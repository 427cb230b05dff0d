"""Trying capabilities on a plug-in's page, in a real browser: streams, errors, the link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect

from bkg_workbench import Host
from bkg_workbench.protocol.definition import Definition
from tests.browser.lab import Notebook
from tests.plugins import write_plugin

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenPage = Callable[..., Page]

TELLER = """
import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from bkg_workbench.sdk import Context, InvalidParams, Meta, Plugin, Struct

plugin = Plugin("teller", version="2.0", telemetry_seconds=0.2, features=[
    {"title": "Tells <i>stories</i>", "text": "Word by word."},
])
go = asyncio.Event()


class Ask(Struct, forbid_unknown_fields=True):
    topic: Annotated[str, Meta(min_length=3)]


@plugin.capability("teller.tell")
async def tell(payload: Ask) -> AsyncIterator[str]:
    yield f"Once upon a {payload.topic}"
    await go.wait()
    yield ", and then it ended."


@plugin.capability("teller.go")
async def let_go(payload: dict[str, Any]) -> dict[str, Any]:
    go.set()
    return {"rows": [{"name": "Ada", "born": 1815}, {"name": "Grace", "born": 1906}]}


@plugin.capability("teller.refuse")
async def refuse(payload: Ask) -> None:
    raise InvalidParams(capability="teller.refuse", errors={"/topic": "is not to my taste"})


if __name__ == "__main__":
    plugin.run()
"""
NAMES = ["teller.tell", "teller.go", "teller.refuse"]


@pytest.fixture(scope="module")
def teller(host: Host, workspace: Path) -> Host:
    """The Host, with a plug-in that streams and waits in the middle until it is let go."""
    entry = write_plugin(workspace, "teller", TELLER, capabilities=NAMES)
    # The Host may have met the folder before the definition, and taken it for one without any.
    host.define(msgspec.convert(entry, Definition))
    host.start("teller")
    return host


def run_of(page: Page) -> str:
    """How the run on the page stands."""
    return page.locator(".bkg-run").get_attribute("data-run-state") or ""


def test_a_streams_words_come_to_the_page_one_by_one(teller: Host, open_page: OpenPage) -> None:
    page = open_page("plugins/teller?tab=capabilities", ready=".bkg-ask")
    page.locator('.bkg-ask [data-at="/topic"] input').fill("time")
    page.locator("[data-run]").click()
    text = page.locator(".bkg-answer-text")
    expect(text).to_have_text("Once upon a time")
    assert run_of(page) == "running"
    teller.call("teller.go")
    expect(text).to_have_text("Once upon a time, and then it ended.")
    page.wait_for_selector('.bkg-run[data-run-state="ok"]')
    measures = page.locator(".bkg-run .bkg-measures").inner_text()
    assert "first piece" in measures
    assert "pieces 2" in measures


def test_an_answer_is_a_table_and_the_link_leads_back_to_it(
    teller: Host, open_page: OpenPage
) -> None:
    page = open_page("plugins/teller?tab=capabilities", ready=".bkg-ask")
    page.locator(".bkg-cap-list button", has_text="teller.go").click()
    page.locator('.bkg-ask[aria-label="Try teller.go"] [data-run]').click()
    expect(page.locator(".bkg-answer-table tbody tr")).to_have_count(2)
    assert "capability=teller.go" in page.url
    with page.expect_download() as saved:
        page.locator('.bkg-answer summary[aria-label="Export this table"]').click()
        page.locator('.bkg-answer [data-format="csv"]').click()
    assert saved.value.path().read_text().splitlines() == ["name,born", "Ada,1815", "Grace,1906"]
    again = open_page(page.url.partition("://")[2].partition("/")[2], ready=".bkg-ask")
    expect(again.locator(".bkg-ask h2")).to_have_text("teller.go")


def test_a_refusal_stands_at_the_field_that_it_is_about(teller: Host, open_page: OpenPage) -> None:
    page = open_page("plugins/teller?tab=capabilities&capability=teller.refuse", ready=".bkg-ask")
    expect(page.locator(".bkg-ask h2")).to_have_text("teller.refuse")
    page.locator('.bkg-ask [data-at="/topic"] input').fill("rain")
    page.locator("[data-run]").click()
    expect(page.locator(".bkg-run [role='alert']")).to_contain_text("invalid_params")
    row = page.locator('.bkg-ask [data-at="/topic"]').first
    expect(row).to_contain_text("is not to my taste")


def test_tabs_show_one_part_at_a_time_and_stay_in_the_link(
    teller: Host, open_page: OpenPage
) -> None:
    page = open_page("plugins/teller", ready=".bkg-plots .main-svg")
    expect(page.locator(".bkg-feature h3")).to_have_text("Tells <i>stories</i>")
    page.get_by_role("tab", name="Log").click()
    page.wait_for_selector(".bkg-tab-log .bkg-line")
    assert "tab=log" in page.url
    assert not page.locator(".bkg-plots").first.is_visible()
    page.get_by_role("tab", name="Settings").click()
    page.wait_for_selector(".bkg-tab-config .bkg-card, .bkg-tab-config .bkg-config")
    page.get_by_role("tab", name="Overview").click()
    assert page.locator(".bkg-plots").first.is_visible()


def test_the_buttons_work_and_ask_where_it_hurts(teller: Host, open_page: OpenPage) -> None:
    page = open_page("plugins/teller", ready=".bkg-plugin-head[data-state='running']")
    stop = page.locator(".bkg-plugin-head [data-verb='stop']")
    stop.click()
    assert teller.plugin("teller").state == "running"
    stop.click()
    page.wait_for_selector(".bkg-plugin-head[data-state='stopped']")
    page.locator(".bkg-plugin-head [data-verb='start']").click()
    page.wait_for_selector(".bkg-plugin-head[data-state='running']")


def test_in_jupyterlab_the_same_page_needs_no_address_of_its_own(
    teller: Host, open_lab: Callable[..., Notebook]
) -> None:
    notebook = open_lab(
        "from bkg_workbench import attach\n"
        "from bkg_workbench.widgets.plugin_page import PluginPage\n"
        "PluginPage(attach(), 'teller')"
    )
    notebook.run_all()
    output = notebook.output(0)
    output.locator(".bkg-plots .main-svg").first.wait_for()  # the library came from the kernel
    address = notebook.page.url
    output.get_by_role("tab", name="Log").click()
    output.locator(".bkg-tab-log .bkg-line").first.wait_for()
    assert notebook.page.url == address
    output.get_by_label("Previous plug-in").click()
    output.locator(".bkg-plugin-head[data-plugin='repoagent']").wait_for()
