"""The inventory in a real browser, over a scripted bench: what a person sees, clicks and types."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from bkg_workbench.protocol.state import Notice, Noticed, Port, Ported
from bkg_workbench.testing import Pilot
from tests.browser.stage import Stage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

NAMES = ("apikeys", "candle", "goose", "repoagent")


@pytest.fixture
def pilot() -> Iterator[Pilot]:
    """Four plug-ins: goose and repoagent run, candle has failed, apikeys is stopped."""
    with Pilot() as pilot:
        for name in NAMES:
            pilot.bench.define(name, description=f"The {name}", capabilities=[f"{name}.do"])
        pilot.bench.run("goose", "goose.do", seconds_ago=7500)
        pilot.bench.run("repoagent", "repoagent.do", seconds_ago=60)
        pilot.bench.move("candle", "failed", "no <b>start.sh</b>", restarts=8, last_exit="exit 1")
        yield pilot


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on an error of its script."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def stage(page: Page, pilot: Pilot) -> Stage:
    return Stage(page, pilot)


def row(page: Page, name: str) -> str:
    return f'tr[data-plugin="{name}"]'


def listed(page: Page) -> list[str]:
    """The names of the rows, from top to bottom."""
    names: list[str] = page.locator("tr[data-plugin]").evaluate_all(
        "(rows) => rows.map((row) => row.dataset.plugin)"
    )
    return names


def focused(page: Page) -> str:
    """The row in focus."""
    name: str = page.evaluate("document.activeElement?.closest('tr')?.dataset.plugin ?? ''")
    return name


def test_a_start_is_sent_at_once_and_told_of_when_it_is_fact(
    page: Page, pilot: Pilot, stage: Stage
) -> None:
    page.locator('[data-plugin="apikeys"] [data-verb="start"]').click()
    stage.settle()
    assert pilot.bench.intents == [("start", "apikeys", False)]
    expect(page.locator(".bkg-toast")).to_have_count(0)
    pilot.bench.run("apikeys", "apikeys.do")
    stage.settle()
    expect(page.locator('[data-plugin="apikeys"][data-state="running"]')).to_be_visible()
    expect(page.locator(".bkg-toast.bkg-ok")).to_have_text("apikeys is running.")


def test_a_stop_asks_in_place_and_is_sent_on_the_second_click(
    page: Page, pilot: Pilot, stage: Stage
) -> None:
    button = page.locator('[data-plugin="goose"] [data-verb="stop"]')
    button.click()
    stage.settle()
    expect(button).to_have_text("Stop?")
    assert pilot.bench.intents == []
    button.press("Escape")
    expect(button).to_have_text("Stop")
    button.click()
    button.click()
    stage.settle()
    assert pilot.bench.intents == [("stop", "goose", False)]


def test_buttons_that_make_no_sense_are_disabled(page: Page, stage: Stage) -> None:
    for name, verbs in (("goose", {"stop", "restart"}), ("candle", {"start"})):
        for verb in ("start", "stop", "restart"):
            button = page.locator(f'[data-plugin="{name}"] [data-verb="{verb}"]')
            assert button.is_enabled() is (verb in verbs)


@pytest.mark.parametrize(
    ("words", "names"),
    [("goose", ["goose"]), ("THE can", ["candle"]), ("repoagent.do", ["repoagent"]),
     ("failed", ["candle"]), ("running the", ["goose", "repoagent"]), ("nothing", [])],
)  # fmt: skip
def test_the_filter_looks_at_names_descriptions_capabilities_and_states(
    page: Page, stage: Stage, words: str, names: list[str]
) -> None:
    page.locator(".bkg-filter").fill(words)
    expect(page.locator("tr[data-plugin]")).to_have_count(len(names))
    assert listed(page) == names


def test_an_empty_result_says_what_to_do(page: Page, stage: Stage) -> None:
    page.locator(".bkg-filter").fill("nothing")
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator("tr[data-plugin]")).to_have_count(len(NAMES))


def test_filter_and_order_stand_in_the_link_of_a_page(page: Page, pilot: Pilot) -> None:
    Stage(page, pilot, query="?filter=running&sort=-name", voila=True)
    assert listed(page) == ["repoagent", "goose"]
    page.locator(".bkg-filter").fill("goose")
    expect(page).to_have_url(re.compile(r"\?filter=goose&sort=-name$"))
    page.locator(".bkg-filter").fill("")
    page.get_by_role("button", name="Plug-in", exact=False).first.click()
    expect(page).to_have_url(re.compile(r"/plugins$"))


def test_in_a_notebook_the_link_is_left_alone(page: Page, stage: Stage) -> None:
    page.locator(".bkg-filter").fill("goose")
    expect(page.locator("tr[data-plugin]")).to_have_count(1)
    assert page.url.endswith("/plugins")


def test_columns_sort_both_ways_and_what_is_not_known_comes_last(page: Page, stage: Stage) -> None:
    uptime = page.get_by_role("columnheader", name="Uptime")
    uptime.get_by_role("button").click()
    expect(uptime).to_have_attribute("aria-sort", "ascending")
    assert listed(page)[:2] == ["repoagent", "goose"]
    uptime.get_by_role("button").click()
    expect(uptime).to_have_attribute("aria-sort", "descending")
    assert listed(page)[:2] == ["goose", "repoagent"]


def test_several_are_selected_and_acted_on_together(page: Page, pilot: Pilot, stage: Stage) -> None:
    page.get_by_label("Select all plug-ins").check()
    bulk = page.locator(".bkg-bulk")
    expect(bulk).to_contain_text("4 selected")
    page.locator('[data-bulk="start"]').click()
    stage.settle()
    assert sorted(pilot.bench.intents) == [("start", "apikeys", False), ("start", "candle", False)]
    pilot.bench.intents.clear()
    stop = page.locator('[data-bulk="stop"]')
    stop.click()
    expect(stop).to_have_text("Stop 2 plug-ins?")
    stop.click()
    stage.settle()
    assert sorted(pilot.bench.intents) == [("stop", "goose", False), ("stop", "repoagent", False)]


def test_the_keyboard_walks_selects_and_acts(page: Page, pilot: Pilot, stage: Stage) -> None:
    page.locator(row(page, "apikeys")).focus()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert focused(page) == "goose"
    page.keyboard.press("k")
    page.keyboard.press("s")
    stage.settle()
    assert pilot.bench.intents == [("start", "candle", False)]
    page.keyboard.press("End")
    page.keyboard.press("t")
    stage.settle()
    assert len(pilot.bench.intents) == 1
    page.keyboard.press("t")
    stage.settle()
    assert pilot.bench.intents[1:] == [("stop", "repoagent", False)]
    page.keyboard.press("Home")
    page.keyboard.press("x")
    expect(page.locator(row(page, "apikeys"))).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.locator(row(page, "apikeys"))).to_have_attribute("aria-selected", "false")
    page.keyboard.press("/")
    page.keyboard.type("goo")
    expect(page.locator("tr[data-plugin]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("tr[data-plugin]")).to_have_count(4)


def test_only_the_row_in_focus_is_on_the_way_of_the_tab_key(page: Page, stage: Stage) -> None:
    page.get_by_label("Select all plug-ins").focus()
    stops: list[str] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        stops.append(focused(page))
    assert set(stops) == {"", "apikeys"}


def test_enter_opens_the_page_of_a_plugin(page: Page, pilot: Pilot, stage: Stage) -> None:
    opened: list[str] = []
    pilot.board.open_plugin = opened.append  # type: ignore[method-assign]
    page.locator(row(page, "goose")).press("Enter")
    page.locator(row(page, "candle")).get_by_role("link", name="candle").click()
    stage.settle()
    assert opened == ["goose", "candle"]


def test_on_a_page_the_name_is_a_link_that_keeps_the_theme(page: Page, pilot: Pilot) -> None:
    Stage(page, pilot, query="?theme=dark&filter=o", voila=True)
    link = page.get_by_role("link", name="goose")
    assert link.get_attribute("href") == "/plugins/goose?theme=dark"


@pytest.mark.parametrize(("format_", "begin"), [("csv", b"plugin,"), ("parquet", b"PAR1")])
def test_a_table_is_saved_as_a_file(page: Page, stage: Stage, format_: str, begin: bytes) -> None:
    page.locator(".bkg-filter").fill("goose")
    page.locator('[data-export="plugins"]').click()
    with page.expect_download() as download:
        page.locator(f'[data-format="{format_}"]').first.click()
        stage.settle_until(lambda: stage.pilot.sent)
    assert download.value.suggested_filename == f"plugins.{format_}"
    content = download.value.path().read_bytes()
    assert content.startswith(begin)
    assert b"goose" in content
    assert b"candle" not in content


@pytest.mark.row("G18")
def test_text_from_outside_is_text(page: Page, pilot: Pilot, stage: Stage) -> None:
    hostile = '<img src=x onerror="document.title=1">'
    pilot.bench.define("evil", description=hostile, capabilities=[hostile])
    pilot.bench.move("evil", "failed", hostile, last_exit=hostile)
    pilot.bench.happen(Noticed(notice=Notice(key="k", text=hostile, at=1)))
    bad = Port(name=hostile, port=1, url="javascript:alert(1)", owner=hostile)
    pilot.bench.happen(Ported(ports=(bad,)))
    pilot.board.toast(hostile, "bad")
    stage.settle()
    expect(page.locator(row(page, "evil"))).to_contain_text("<img src=x")
    assert page.locator("#board img").count() == 0
    assert page.locator(".bkg-toast img").count() == 0
    assert page.locator(".bkg-ports a").count() == 0
    assert page.title() == "Stage"


def test_when_the_host_has_gone_everything_is_disabled(
    page: Page, pilot: Pilot, stage: Stage
) -> None:
    pilot.bench.connected, pilot.bench.lost = False, "the connection closed"
    stage.settle()
    expect(page.locator(".bkg-banner.bkg-bad")).to_contain_text("The Host has gone")
    assert page.locator("[data-verb]:enabled").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1920, 1280, 1000, 700])
def test_nothing_sticks_out_at_any_width(page: Page, pilot: Pilot, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    Stage(page, pilot, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    overflow = page.locator("tr[data-plugin] td").evaluate_all(
        "(cells) => cells.filter((c) => c.scrollWidth > c.clientWidth + 1).map((c) => c.className)"
    )
    assert overflow == []


def test_every_control_has_a_name(page: Page, stage: Stage) -> None:
    nameless = page.locator("#board button, #board input, #board a, #board summary").evaluate_all(
        """(all) => all.filter((c) => !(c.getAttribute("aria-label") || c.textContent.trim()))
             .map((c) => c.outerHTML)"""
    )
    assert nameless == []
