"""Panels of other people's plug-ins: found by entry point, loaded late, harmless when they fail."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets import extensions
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.plugin_page import PluginPage

PACKAGE = """
import ipywidgets

from bkg_workbench.widgets.live import Data, script
from bkg_workbench.widgets.panel import Moment, Panel


class Names(Panel):
    _esm = script()
    title = "Names"

    def fold(self, moment: Moment) -> Data:
        return {"names": list(moment.state.plugins)}


def names(bench, plugin):
    return Names()


def label(bench, plugin):
    return ipywidgets.Label(f"{plugin} of {bench.state.workspace}")


def broken(bench, plugin):
    raise RuntimeError("<script>secret</script>")


def nothing(bench, plugin):
    return "no widget"
"""
ENTRY_POINTS = """[bkg_workbench.panels]
goose = goosepanel:names
candle = goosepanel:broken
faces = goosepanel:nothing
brain = goosepanel:not_there
repo = goosepanel:label
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedBench]:
    """A bench, with a distribution installed that brings panels."""
    info = tmp_path / "goosepanel-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: goosepanel\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "goosepanel.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    bench = ScriptedBench()
    for name in ("goose", "candle", "faces", "brain", "repo", "plain"):
        bench.define(name)
    yield bench
    sys.modules.pop("goosepanel", None)


@pytest.fixture
def open_page(bench: ScriptedBench) -> Iterator[object]:
    pages: list[PluginPage] = []

    def open_(name: str, **how: object) -> PluginPage:
        pages.append(PluginPage(bench, name, autostart=False, **how))
        pages[-1].step()
        return pages[-1]

    yield open_
    for page in pages:
        page.close()


def test_nothing_is_imported_until_its_page_is_looked_at(open_page) -> None:  # type: ignore[no-untyped-def]
    (point,) = extensions.found("goose")
    assert point.value == "goosepanel:names"
    open_page("plain")
    open_page("goose", tab="log")
    assert "goosepanel" not in sys.modules


def test_a_panel_of_a_plugins_own_comes_first_and_is_redrawn_with_the_rest(
    bench: ScriptedBench,
    open_page,  # type: ignore[no-untyped-def]
) -> None:
    page = open_page("goose")
    assert list(page.titles) == ["panel", "overview", "capabilities", "log", "config"]
    assert page.titles["panel"] == "Names"
    (panel,) = page.section("panel").children
    assert panel.shown == {"names": list(bench.state.plugins)}
    bench.define("zebra")
    page.step()
    assert panel.shown["names"][-1] == "zebra"
    assert panel.board is page


def test_a_widget_that_is_no_panel_is_shown_too(open_page) -> None:  # type: ignore[no-untyped-def]
    (label,) = open_page("repo").section("panel").children
    assert label.value == "repo of /home/team/forecast"


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        ("candle", "it raised RuntimeError"),
        ("faces", "it gave a str and no widget"),
        ("brain", "it raised AttributeError"),
    ],
)
def test_one_that_fails_is_a_sentence_in_its_place(
    open_page,  # type: ignore[no-untyped-def]
    caplog: pytest.LogCaptureFixture,
    plugin: str,
    why: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        page = open_page(plugin)
    (sorry,) = page.section("panel").children
    assert why in sorry.value
    assert "secret" not in sorry.value
    assert "goosepanel:" in caplog.text
    assert page.head.shown["row"]["name"] == plugin  # and the page lives


def test_a_plugin_without_a_panel_has_the_common_tabs(open_page) -> None:  # type: ignore[no-untyped-def]
    assert list(open_page("plain").titles) == ["overview", "capabilities", "log", "config"]


def test_the_panel_of_the_authors_guide_works(bench: ScriptedBench) -> None:
    guide = Path(__file__).parents[2] / "docs" / "authors.md"
    (code,) = re.findall(r"^```py\n(.*?)^```$", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r"^hello = \"hello_panel:(\w+)\"$", guide.read_text("utf-8"), re.MULTILINE)
    names: dict[str, Any] = {"__name__": "hello_panel"}
    exec(compile(code, "docs/authors.md", "exec"), names)
    board = Board(bench, now_ms=lambda: NOW, autostart=False)
    chart = names[line](bench, "goose")
    board.lay(chart)
    bench.sample("goose", 1.0, 2**20, queue_depth=7)
    bench.now_ms += 1
    bench.sample("goose", 1.0, 2**20)
    board.step()
    board.step()
    assert chart.points("depth") == [(NOW, 7), (NOW + 1, None)]
    assert extensions.title_of(chart) == "Queue"
    board.close()
