"""A real plug-in that floods its log, a real Host, and the log in Voilà that shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from bkg_workbench import Host
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

LINES, PER_SECOND = 60_000, 10_000
FLOOD = r"""
import sys, time
from bkg_workbench.sdk import Plugin
plugin = Plugin("demo")

@plugin.capability("demo.flood", thread=True)
def flood(payload: dict) -> dict:
    lines, per_second = payload["lines"], payload["per_second"]
    begun, written = time.monotonic(), 0
    while written < lines:
        due = min(lines, int((time.monotonic() - begun) * per_second))
        sys.stdout.write("".join(f"line {n} of a flood\n" for n in range(written, due)))
        sys.stdout.flush()
        written = due
        time.sleep(0.01)
    return {}

plugin.run()
"""


@pytest.fixture(scope="module")
def host(workspace: Path) -> Iterator[Host]:
    """A Host with a plug-in that floods on demand."""
    write_plugin(workspace, code=FLOOD, capabilities=["demo.flood"])
    with Host(workspace) as host:
        host.start("demo", timeout=120)
        yield host


def figures(page: Page) -> dict[str, int]:
    """What the log says of itself."""
    data = page.evaluate("({...document.querySelector('.bkg-log-count').dataset})")
    return {key: int(value) for key, value in data.items()}


def test_a_flood_leaves_the_page_alive_and_every_line_accounted_for(
    open_page: Callable[..., Page], host: Host
) -> None:
    page = open_page(ready=".bkg-line")
    before = figures(page)
    shown = {r["seq"] for r in host.logs(limit=100_000)}
    flood = {"lines": LINES, "per_second": PER_SECOND}
    thread = threading.Thread(
        target=lambda: host.call("demo.flood", flood, timeout=120), name="flood"
    )
    thread.start()
    answered = []
    while thread.is_alive():
        for label in ("Pause", "Resume"):
            page.get_by_role("button", name=label, exact=True).click()
        answered.append(figures(page)["received"])
    thread.join()
    eventually(lambda: host.logs("demo", text=f"line {LINES - 1} of a flood"), timeout=60)
    assert len(set(answered)) > 5, "the page answered only when the flood was over"
    said = len([r for r in host.logs(limit=100_000) if r["seq"] not in shown])
    last = f'.bkg-log-count[data-received="{before["received"] + said}"]'
    page.wait_for_selector(last, state="attached")
    after = figures(page)
    assert after["received"] == after["shown"] + after["dropped"]
    print("flood:", before, after, len(answered))
    page.locator(".bkg-line-message", has_text=f"line {LINES - 1} of a flood").wait_for()
    page.locator(".bkg-log-filter").fill(f"line {LINES - 7}")
    page.locator(".bkg-line-message", has_text=f"line {LINES - 7} of a flood").wait_for()


def test_a_download_has_the_lines_that_the_page_has_not(
    open_page: Callable[..., Page], host: Host, tmp_path: Path
) -> None:
    page = open_page(ready=".bkg-line")
    assert figures(page)["shown"] < LINES
    page.locator(".bkg-log-filter").fill("of a flood")
    page.locator(".bkg-log-count", has_text="pass the filter").wait_for()
    with page.expect_download() as waiting:
        page.locator(".bkg-log-save").select_option("log")
    path = tmp_path / "saved"
    waiting.value.save_as(path)
    numbers = [int(line.split()[5]) for line in path.read_text().splitlines()]
    assert numbers == list(range(LINES))
