"""What a dashboard's notebook calls, and what it shows when there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bkg_workbench.errors import HostNotFound
from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets import dashboards
from bkg_workbench.widgets.board import Board, close_all
from bkg_workbench.widgets.dashboards import Sorry, page, query
from bkg_workbench.widgets.display import ControlCentre


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("demo")
    return bench


@pytest.fixture
def shown() -> Iterator[list[Any]]:
    """Widgets to close."""
    widgets: list[Any] = []
    yield widgets
    for widget in widgets:
        close_all(widget)


def said(widget: Any) -> str:
    """The HTML of a page without panels."""
    assert isinstance(widget, Sorry)
    return str(widget.children[0].value)


@pytest.mark.parametrize(
    ("address", "plugin", "tab"),
    [("plugin=goose&tab=logs", "goose", "logs"), ("plugin=a%26b", "a&b", None), ("", None, None)],
    ids=["two values", "an escaped one", "none"],
)
def test_a_notebook_reads_its_pages_address(
    monkeypatch: pytest.MonkeyPatch, address: str, plugin: str | None, tab: str | None
) -> None:
    monkeypatch.setenv("QUERY_STRING", address)
    assert (query("plugin"), query("tab")) == (plugin, tab)
    assert query("run", "latest") == "latest"


def test_a_page_without_a_name_is_the_control_centre(
    bench: ScriptedBench, shown: list[Any]
) -> None:
    shown.append(page(lambda: bench))
    assert isinstance(shown[0], ControlCentre)


def test_a_page_with_a_name_is_that_plugins(bench: ScriptedBench, shown: list[Any]) -> None:
    shown.append(page(lambda: bench, plugin="demo"))
    assert isinstance(shown[0], Board)
    assert not isinstance(shown[0], ControlCentre)


def test_a_plugin_that_is_not_there_is_said_with_those_that_are(
    bench: ScriptedBench, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOILA_BASE_URL", "/")
    shown.append(page(lambda: bench, plugin="<script>"))
    html = said(shown[0])
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert '<a href="/plugins/demo">demo</a>' in html
    assert "bkg plugins add" in html


def test_in_a_notebook_names_lead_to_no_page(
    bench: ScriptedBench, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOILA_BASE_URL", raising=False)
    shown.append(page(lambda: bench, plugin="goose"))
    assert "href" not in said(shown[0])
    assert "run the cell again" in said(shown[0])


def test_without_a_host_a_page_says_how_to_start_one(shown: list[Any]) -> None:
    def connect() -> Any:
        raise HostNotFound(path="/home/team/forecast")

    shown.append(page(connect))
    html = said(shown[0])
    assert "/home/team/forecast" in html
    assert "bkg host --web" in html


def test_what_a_page_needs_can_be_imported_ahead() -> None:
    dashboards.prepare()
