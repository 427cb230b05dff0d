"""The same pages in JupyterLab: what an operator sees and does in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator

from bkg_workbench import Host
from tests.browser.lab import Notebook
from tests.helpers import eventually

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenLab = Callable[..., Notebook]
PAGE = "from bkg_workbench import attach, page\npage(attach)"
COMPUTE = """\
import os, time
end = time.monotonic() + 300
while not os.path.exists("enough") and time.monotonic() < end:
    sum(range(1000))
"""


@pytest.fixture(scope="module")
def host(workspace: Path) -> Iterator[Host]:
    """The workspace's Host, with the demo plug-in running."""
    with Host(workspace, autostart=False) as host:
        host.start("demo")
        yield host


def show(open_lab: OpenLab, *more: str, theme: str = "light") -> tuple[Notebook, Locator]:
    """A notebook with the control centre in its first cell, and that cell's output."""
    notebook = open_lab(PAGE, *more, theme=theme)
    notebook.run_all()
    output = notebook.output(0)
    output.locator(".bkg-badge").first.wait_for()
    return notebook, output


def wait_for(output: Locator, state: str) -> None:
    """Wait until it shows the demo plug-in in a state."""
    output.locator(f'[data-plugin="demo"][data-state="{state}"]').first.wait_for()


def press(output: Locator, verb: str) -> None:
    """Press a lifecycle button of demo, and say yes where it asks."""
    button = output.locator(f'[data-plugin="demo"] [data-verb="{verb}"]')
    button.click()
    if verb != "start":
        button.get_by_text(f"{verb.capitalize()}?").click()


def test_buttons_work_in_a_notebook_also_in_a_dark_one(host: Host, open_lab: OpenLab) -> None:
    _, output = show(open_lab, theme="dark")
    wait_for(output, "running")
    press(output, "stop")
    wait_for(output, "stopped")
    assert host.plugin("demo").state == "stopped"
    press(output, "start")
    wait_for(output, "running")
    ground = output.locator(".bkg-card").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert sum(int(n) for n in ground[4:-1].split(",")) / 3 < 100


def test_a_click_is_served_while_a_cell_computes(
    host: Host, open_lab: OpenLab, lab_folder: Path
) -> None:
    notebook, output = show(open_lab, COMPUTE)
    try:
        notebook.page.locator(".jp-Notebook .jp-Cell").nth(1).get_by_text("[*]").wait_for()
        wait_for(output, "running")
        press(output, "stop")
        wait_for(output, "stopped")
        assert host.plugin("demo").state == "stopped"
        assert notebook.page.locator(".jp-Cell").nth(1).get_by_text("[*]").count() == 1
    finally:
        (lab_folder / "enough").touch()
        host.start("demo")


@pytest.fixture
def lab_folder(lab: object) -> Iterator[Path]:
    """Where the notebooks' kernels run."""
    folder: Path = lab.folder  # type: ignore[attr-defined]
    yield folder
    (folder / "enough").unlink(missing_ok=True)


def test_two_notebooks_and_a_script_see_the_same(host: Host, open_lab: OpenLab) -> None:
    (_, first), (_, second) = show(open_lab), show(open_lab)
    press(first, "stop")
    for output in (first, second):
        wait_for(output, "stopped")
    host.start("demo")
    for output in (first, second):
        wait_for(output, "running")


def test_a_page_of_one_plugin_and_one_that_is_not_there(host: Host, open_lab: OpenLab) -> None:
    notebook = open_lab(
        "from bkg_workbench import attach, page\npage(attach, plugin='demo')",
        "page(attach, plugin='nobody')",
    )
    notebook.run_all()
    notebook.output(0).locator(".bkg-badge").first.wait_for()
    sorry = notebook.output(1).locator(".bkg-sorry")
    sorry.wait_for()
    assert "run the cell again" in sorry.inner_text()


def test_a_host_that_goes_is_told_and_its_return_too(
    host: Host, workspace: Path, open_lab: OpenLab
) -> None:
    """Last in this file: it ends the Host that the others use."""
    notebook, output = show(open_lab)
    wait_for(output, "running")
    host.close()
    output.get_by_text("The Host has gone").first.wait_for()
    assert output.locator('[data-plugin="demo"]').count(), "the last that was known stays"
    with Host(workspace, autostart=False) as again:
        again.start("demo")
        notebook.run_all()
        wait_for(output, "running")
        eventually(lambda: output.get_by_text("The Host has gone").count() == 0, timeout=30)
