"""A real Chromium that reaches this machine alone, and a workspace whose pages it opens.

Two places show the pages: Voilà (`address`, `open_page`) and JupyterLab (`lab`, `open_lab`). Every
window comes from `windows`, and every test fails where a page asked for an address beyond loopback.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from bkg_workbench import Host
from bkg_workbench.host.workspace import init
from tests.browser.lab import Lab, Notebook, running
from tests.browser.watching import Windows, launch
from tests.helpers import eventually, kill, processes_of
from tests.plugins import write_plugin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a fresh profile; windows come from `windows`."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
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
    """Where Voilà's pages are, token included."""
    return host.serve_web()


@pytest.fixture(scope="module")
def lab(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab for the workspace. It needs no Host; use `host` beside it."""
    with running(workspace, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Remember a failure until the windows are closed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def windows(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Windows]:
    """Opens browser windows, and knows what their pages asked for.

    Of a test that fails, pictures of its pages are left in the test's folder.
    """
    windows = Windows(browser)
    yield windows
    if request.node.stash.get(FAILED, False):
        print("\n".join(["as it failed:", *windows.pictures(tmp_path), *windows.errors]))
    windows.close()


@pytest.fixture(autouse=True)
def nothing_foreign(windows: Windows) -> Iterator[None]:
    """Fails a test whose pages tried to reach anything beyond this machine."""
    yield
    assert windows.foreign == [], "a page asked for addresses beyond this machine"


@pytest.fixture
def context(windows: Windows) -> BrowserContext:
    """A browser window without cookies."""
    return windows.new()


@pytest.fixture
def open_page(context: BrowserContext, address: str) -> Callable[..., Page]:
    """Opens a page of Voilà in a new tab and waits until it is there.

    `open_page()` is the control centre; `open_page("plugins/demo?tab=logs", ready=".bkg-line")`
    another page, ready when the selector is there.
    """

    def open_(page: str = "", *, ready: str = ".bkg-badge") -> Page:
        tab = context.new_page()
        tab.goto(address_of(address, page), wait_until="commit")
        tab.wait_for_selector(ready)
        return tab

    return open_


@pytest.fixture
def open_lab(context: BrowserContext, lab: Lab) -> Iterator[Callable[..., Notebook]]:
    """Opens a notebook with the given cells in JupyterLab; see `Lab.open`.

    `notebook = open_lab("from bkg_workbench import attach, page\\npage(attach)")`, then
    `notebook.run_all()` and `notebook.output(0).locator(...)`. Its kernel ends with the test.
    """

    def open_(*cells: str, theme: str = "light") -> Notebook:
        return lab.open(context, cells, theme=theme)

    yield open_
    lab.end_kernels()


def address_of(address: str, page: str) -> str:
    """The address of a page (`plugins/demo?tab=logs`), with the token of `address`."""
    base, wanted = urlsplit(address), urlsplit(page)
    query = urlencode([*parse_qsl(base.query), *parse_qsl(wanted.query)])
    return f"{base.scheme}://{base.netloc}/{wanted.path}?{query}"
