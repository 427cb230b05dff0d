"""Kernels of pages: there when needed, gone when not, however the page goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, Page

from bkg_workbench import Host
from tests.browser.conftest import address_of
from tests.helpers import eventually, is_alive, kill, processes_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenPage = Callable[..., Page]
LEASE = "[pages]\nlease_seconds = 4\n"
GONE_SECONDS = 60.0
"""Much more than lease and interval; a machine may be busy."""


@pytest.fixture(scope="module")
def host(workspace: Path) -> Iterator[Host]:
    """A Host without plug-ins that run, whose pages are given up after four seconds."""
    (workspace / "bkg.toml").write_text(LEASE)
    with Host(workspace, autostart=False) as host:
        yield host


def kernels(workspace: Path) -> set[int]:
    """The kernels of pages, and the one that waits."""
    found = processes_of(workspace).items()
    return {pid for pid, command in found if "ipykernel_launcher" in command and is_alive(pid)}


def at_rest(workspace: Path, pages: int) -> set[int]:
    """Wait until there is a kernel for each open page, and one more that waits."""
    eventually(lambda: len(kernels(workspace)) == pages + 1, timeout=GONE_SECONDS)
    return kernels(workspace)


def test_a_page_takes_the_kernel_that_waits_and_another_one_comes(
    open_page: OpenPage, workspace: Path, address: str
) -> None:
    waiting = at_rest(workspace, 0)
    open_page()
    with_page = at_rest(workspace, 1)
    assert waiting < with_page


def test_five_tabs_leave_nothing_behind(open_page: OpenPage, workspace: Path) -> None:
    at_rest(workspace, 0)
    tabs = [open_page() for _ in range(5)]
    at_rest(workspace, 5)
    for tab in tabs:
        tab.close(run_before_unload=True)
    at_rest(workspace, 0)


def test_a_reload_changes_one_kernel_for_another(open_page: OpenPage, workspace: Path) -> None:
    at_rest(workspace, 0)
    page = open_page()
    before = at_rest(workspace, 1)
    page.reload(wait_until="commit")
    page.wait_for_selector(".bkg-badge")
    after = at_rest(workspace, 1)
    assert len(before & after) == 1, "the one that waited is the page's now"


def test_a_crashed_tab_is_given_up_after_its_lease(
    context: BrowserContext, address: str, workspace: Path
) -> None:
    at_rest(workspace, 0)
    page = context.new_page()
    page.goto(address_of(address, ""), wait_until="commit")
    page.wait_for_selector(".bkg-badge")
    at_rest(workspace, 1)
    with pytest.raises(Error):
        page.goto("chrome://crash")
    at_rest(workspace, 0)


def test_a_page_that_stays_open_keeps_its_kernel_beyond_the_lease(
    open_page: OpenPage, workspace: Path
) -> None:
    page = open_page()
    at_rest(workspace, 1)
    own = kernel_of(page)
    gone = crash_beside(page)
    eventually(lambda: not (kernels(workspace) & gone(workspace)), timeout=GONE_SECONDS)
    assert kernels(workspace) & own(workspace)
    assert page.locator("#bkg-gone").is_hidden()


def crash_beside(page: Page) -> Callable[[Path], set[int]]:
    """Crash another tab of the same window; gives what finds its kernel."""
    known = page.context
    tab = known.new_page()
    tab.goto(page.url, wait_until="commit")
    tab.wait_for_selector(".bkg-badge")
    find = kernel_of(tab)
    with pytest.raises(Error):
        tab.goto("chrome://crash")
    return find


def kernel_of(page: Page) -> Callable[[Path], set[int]]:
    """What finds the kernel of a page, as long as it runs."""
    kernel = page.evaluate(KERNEL_ID)

    def find(workspace: Path) -> set[int]:
        commands = processes_of(workspace).items()
        return {pid for pid, command in commands if kernel in command and is_alive(pid)}

    return find


KERNEL_ID = "() => JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"


def test_a_kernel_that_dies_is_told_and_the_page_can_be_opened_again(
    open_page: OpenPage, workspace: Path
) -> None:
    page = open_page()
    kernel = page.evaluate(KERNEL_ID)
    kill(pid for pid, command in processes_of(workspace).items() if kernel in command)
    page.wait_for_selector("#bkg-gone:not([hidden])")
    assert "kernel has ended" in page.locator("#bkg-gone").inner_text()
    page.locator("#bkg-gone a").click()
    page.wait_for_selector(".bkg-badge")
    assert page.evaluate(KERNEL_ID) != kernel


def test_kernels_that_wait_end_with_the_host(
    open_page: OpenPage, host: Host, workspace: Path
) -> None:
    """Last in this file: it ends the Host that the others use."""
    page = open_page()
    at_rest(workspace, 1)
    host.close()
    eventually(lambda: not kernels(workspace), timeout=GONE_SECONDS)
    page.wait_for_selector("#bkg-gone:not([hidden])")
    assert "The Host has gone" in page.locator("#bkg-gone").inner_text()
