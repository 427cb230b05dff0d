"""The control centre in a real browser: what an operator sees and does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page

from bkg_workbench import Host
from tests.browser.watching import Windows
from tests.helpers import eventually, processes_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenPage = Callable[[], Page]


def state(page: Page, wanted: str) -> None:
    """Wait until the page shows repoagent in a state."""
    page.wait_for_selector(f'[data-plugin="repoagent"][data-state="{wanted}"]')


def press(page: Page, verb: str) -> None:
    """Press a lifecycle button of repoagent, as soon as it can be pressed, and say yes."""
    button = page.locator(f'[data-plugin="repoagent"] [data-verb="{verb}"]')
    button.click()
    if verb != "start":
        button.get_by_text(f"{verb.capitalize()}?").click()


def kernels(workspace: Path) -> list[str]:
    """The kernels of open pages."""
    return [c for c in processes_of(workspace).values() if "ipykernel_launcher" in c]


def test_the_page_shows_the_plugin_running_and_asks_nobody_else(
    context: BrowserContext, open_page: OpenPage, address: str, host: Host
) -> None:
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    page = open_page()
    state(page, "running")
    page.wait_for_selector(".bkg-line")
    assert page.title() == "BKG Workbench"
    assert urlsplit(page.url).path == "/plugins"
    assert "token" not in page.url
    home = urlsplit(address).netloc
    foreign = [
        u for u in asked if not u.startswith(("data:", "blob:")) and urlsplit(u).netloc != home
    ]
    assert foreign == []
    assert errors == []
    header = page.locator(".bkg-header").inner_text()
    assert f"pid {host.info()['pid']}" in header
    assert page.locator(".bkg-chip.bkg-ok").get_by_text("repo.search").count() == 1


def test_stop_turns_it_to_stopped_and_start_back_to_running(
    open_page: OpenPage, host: Host
) -> None:
    page = open_page()
    state(page, "running")
    press(page, "stop")
    state(page, "stopped")
    assert host.plugin("repoagent").state == "stopped"
    press(page, "start")
    state(page, "running")
    assert host.plugin("repoagent").state == "running"


def test_log_lines_arrive_and_can_be_filtered(open_page: OpenPage, host: Host) -> None:
    page = open_page()
    page.wait_for_selector(".bkg-line")
    for name in ("Ada", "Grace", "<b>Edsger</b>"):
        host.call("demo.greet", {"name": name})
    line = page.locator(".bkg-line-message")
    line.get_by_text("greeting <b>Edsger</b>").wait_for()
    page.locator(".bkg-log-filter").fill("greeting gr")
    page.wait_for_function("() => document.querySelectorAll('.bkg-line').length === 1")
    assert line.inner_text() == "greeting Grace"
    page.locator(".bkg-log-filter").fill("")
    page.locator(".bkg-log-plugin").select_option("demo")
    page.wait_for_function("() => document.querySelectorAll('.bkg-line').length >= 3")
    page.locator(".bkg-log-level").select_option("error")
    page.wait_for_function("() => document.querySelectorAll('.bkg-line').length === 0")


def test_two_tabs_show_the_same_and_closing_one_frees_its_kernel(
    open_page: OpenPage, workspace: Path
) -> None:
    first, second = open_page(), open_page()
    for tab in (first, second):
        state(tab, "running")
    press(first, "stop")
    for tab in (first, second):
        state(tab, "stopped")
    press(second, "start")
    for tab in (first, second):
        state(tab, "running")
    open_kernels = len(kernels(workspace))
    second.close(run_before_unload=True)
    eventually(lambda: len(kernels(workspace)) == open_kernels - 1, timeout=15)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_light_or_dark(context: BrowserContext, address: str, theme: str) -> None:
    page = context.new_page()
    page.goto(f"{address}&theme={theme}", wait_until="commit")
    page.wait_for_selector(".bkg-badge")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(n) for n in background[4:-1].split(",")) / 3
    assert (brightness > 128) is (theme == "light")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_the_token_there_is_no_page(windows: Windows, address: str) -> None:
    parts = urlsplit(address)
    context = windows.new()
    page = context.new_page()
    page.goto(f"http://{parts.netloc}/plugins")
    assert "/login" in page.url
    assert page.locator(".bkg-header").count() == 0
    answer = context.request.get(f"http://{parts.netloc}/health", headers={"Host": "evil.example"})
    assert answer.status in (200, 403)
    answer = context.request.get(address, headers={"Host": "evil.example"})
    assert answer.status == 403


def test_when_the_host_goes_the_page_says_so(open_page: OpenPage, host: Host) -> None:
    """Last in this file: it ends the Host that the others use."""
    page = open_page()
    state(page, "running")
    host.close()
    banner = page.wait_for_selector("#bkg-gone:not([hidden])")
    assert banner is not None
    assert "The Host has gone" in banner.inner_text()
