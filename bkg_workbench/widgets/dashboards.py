"""What a dashboard's notebook calls: `page(attach)`, and `query("name")` for the page's address.

Owns what stands on a page that has no panels to show (no Host, no such plug-in), and what a kernel
imports before anybody asks for a page. Panels are elsewhere; so is the server (`widgets.pages`).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote

import ipywidgets

from bkg_workbench.errors import HostNotFound, WorkbenchError
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.display import display_bench
from bkg_workbench.widgets.live import style

NEEDED = ("bkg_workbench.client.attach", "bkg_workbench.widgets.plugin_page")
"""What every page needs beside this module. Tables and charts load what they need when used."""


def prepare() -> None:
    """Import what pages need, so that the kernel that did so has only to attach."""
    for module in NEEDED:
        importlib.import_module(module)


def query(name: str, default: str | None = None) -> str | None:
    """A value of the address that this page was opened with (`/goose?run=7`: `query("run")`).

    `/plugins/<name>` gives its name as `plugin`. In JupyterLab there is no address: `default`.
    """
    return parse_qs(os.environ.get("QUERY_STRING", "")).get(name, [default])[0]


def page(
    connect: Callable[[], Bench],
    show: Callable[[Bench], Any] = display_bench,
    *,
    plugin: str | None = None,
) -> ipywidgets.Widget:
    """A dashboard's content: the control centre, or the page of `plugin`; else `show(connect())`.

    Where there is nothing to show it gives a sentence that says why, and what to do.
    """
    try:
        bench = connect()
        if plugin is None:
            return show(bench)
        if plugin not in bench.state.plugins:
            return _unknown(plugin, bench.state.plugins)
        return _plugin_page(bench, plugin)
    except HostNotFound as error:
        return Sorry("No Host runs here", str(error), "<code>bkg host --web</code> starts one.")
    except WorkbenchError as error:
        return Sorry("This page cannot be shown", str(error))


def _plugin_page(bench: Bench, name: str) -> ipywidgets.Widget:
    from bkg_workbench.widgets.plugin_page import PluginPage

    return PluginPage(bench, name, tab=query("tab"))


def _unknown(name: str, known: Iterable[str]) -> Sorry:
    names = ", ".join(_link(f"plugins/{quote(one)}", one) for one in sorted(known))
    there = f"There are {names}." if names else "There are none yet."
    return Sorry(
        "No such plug-in",
        f"This workspace has no plug-in named {name}.",
        f"{there} <code>bkg plugins add DIR</code> adds one.",
    )


def _link(path: str, text: str) -> str:
    """`text`, leading to a page of the dashboards where there are pages."""
    base = os.environ.get("VOILA_BASE_URL")
    return f'<a href="{escape(base + path)}">{escape(text)}</a>' if base else escape(text)


class Sorry(ipywidgets.VBox):
    """A sentence in place of a page, what to do now, and a way to try again.

    `title` and `what` are text, `now` is HTML of this module's own.
    """

    def __init__(self, title: str, what: str, now: str = "") -> None:
        if base := os.environ.get("VOILA_BASE_URL"):
            ways = (
                '<a class="bkg-btn bkg-primary bkg-again" href="">Try again</a> '
                f'<a class="bkg-btn" href="{escape(base)}">All plug-ins</a>'
            )
        else:
            ways = "Then run the cell again."
        body = (
            f'<div class="bkg-sorry bkg-card" role="alert"><h1>{escape(title)}</h1>'
            f"<p>{escape(what)}</p><p>{now}</p><p>{ways}</p></div>"
        )
        super().__init__([ipywidgets.HTML(f"<style>{style('sorry.css')}</style>{body}")])
        self.add_class("bkg")
