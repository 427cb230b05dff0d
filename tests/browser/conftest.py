"""A real Chromium, and a workspace whose pages it opens."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from bkg_workbench import Host
from bkg_workbench.host.workspace import init
from tests.helpers import eventually, kill, processes_of
from tests.plugins import write_plugin

CHROMIUM = os.environ.get("BKG_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
PAGE_SECONDS = 90.0
"""A page's kernel starts in three seconds, and in many more on a machine that is busy."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a fresh profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace as `bkg init` lays it out; nothing of it is left running."""
    place = tmp_path_factory.mktemp("browser") / "workspace"
    init(place)
    write_plugin(place)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BKG_WEB_PORT", "BKG_API_PORT", "BKG_PLUGIN_BUS_PORT"):
            patch.setenv(variable, "0")
        yield place
    try:
        eventually(lambda: not processes_of(place), timeout=10.0)
    except AssertionError:
        left = processes_of(place)
        kill(left)
        pytest.fail(f"processes of the workspace are left: {left}", pytrace=False)


@pytest.fixture(scope="module")
def host(workspace: Path) -> Iterator[Host]:
    """The workspace's Host, with repoagent and the demo plug-in running."""
    with Host(workspace) as host:
        host.start("repoagent", timeout=300)
        host.start("demo")
        yield host


@pytest.fixture(scope="module")
def address(host: Host) -> str:
    """Where the pages are, token included."""
    return host.serve_web()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser window without cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    yield context
    for page in context.pages:
        with contextlib.suppress(Error):  # a page that is closing already
            page.close(run_before_unload=True)
    context.close()


@pytest.fixture
def open_page(context: BrowserContext, address: str) -> Callable[[], Page]:
    """Opens the control centre in a new tab and waits until it is there."""

    def open_() -> Page:
        page = context.new_page()
        page.goto(address, wait_until="commit")
        page.wait_for_selector(".bkg-badge")
        return page

    return open_
