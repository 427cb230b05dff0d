"""Panels of other people's plug-ins: found by the entry-point group `bkg_workbench.panels`.

Owns finding and calling them. An entry point's name is the plug-in's, its value leads to
`factory(bench, plugin: str) -> ipywidgets.Widget`; a `Panel` is redrawn with the others of the
page. Nothing is imported before a page of that plug-in is looked at, and one that fails costs a
sentence in its place, never the page.
"""

from __future__ import annotations

import html
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import ipywidgets

from bkg_workbench.widgets.bench import Bench

GROUP = "bkg_workbench.panels"

_log = logging.getLogger(__name__)


def found(plugin: str) -> tuple[EntryPoint, ...]:
    """The panels that are installed for `plugin`; none of them is imported."""
    points = entry_points(group=GROUP, name=plugin)
    return tuple(sorted(points, key=lambda point: point.value))


def panel(point: EntryPoint, bench: Bench, plugin: str) -> ipywidgets.Widget:
    """The widget that an entry point's factory makes, or a sentence that says why there is none."""
    try:
        widget = point.load()(bench, plugin)
    except Exception as error:  # it is anybody's code
        _log.warning("The panel %s of %s failed", point.value, plugin, exc_info=True)
        return sorry(point, f"it raised {type(error).__name__}")
    if not isinstance(widget, ipywidgets.Widget):
        _log.warning("The panel %s of %s gave %r, which is no widget", point.value, plugin, widget)
        return sorry(point, f"it gave a {type(widget).__name__} and no widget")
    return widget


def sorry(point: EntryPoint, why: str) -> ipywidgets.Widget:
    """The sentence in place of a panel that cannot be shown."""
    text = (
        f"The panel {point.value} cannot be shown: {why}. The log of this kernel has the details; "
        "the rest of the page works without it."
    )
    return ipywidgets.HTML(
        f'<div class="bkg-banner bkg-bad" role="alert">{html.escape(text)}</div>'
    )


def title_of(widget: Any) -> str | None:
    """The name that a panel gives its tab, if it has one: its attribute `title`."""
    title = getattr(widget, "title", None)
    return title[:40] if isinstance(title, str) and title else None
