"""The same pages in JupyterLab: what an operator sees and does in a notebook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bkg_workbench import Host
from tests.browser.lab import Notebook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenLab = Callable[..., Notebook]
PAGE = "from bkg_workbench import attach, page\npage(attach)"


def test_the_control_centre_opens_in_a_notebook(host: Host, open_lab: OpenLab) -> None:
    notebook = open_lab(PAGE)
    notebook.run_all()
    notebook.output(0).locator(".bkg-badge").first.wait_for()
