"""The inventory as widgets: a view of the workspace, put on the page trait by trait.

Owns the ipywidgets of header, banners, plug-in rows and port table. `apply` sets only what changed
and is called from one thread; a button posts its intent and returns. Decides nothing: what is shown
comes from `view.fold`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from bkg_workbench.widgets import markup
from bkg_workbench.widgets.live import serve_while_computing, style
from bkg_workbench.widgets.view import Row, View
from bkg_workbench.widgets.wishes import Verb

Intent = Callable[[Verb, str], None]
"""What a button calls: the verb and the plug-in's name."""

_ICONS: dict[Verb, str] = {"start": "play", "stop": "stop", "restart": "refresh"}


def stylesheet() -> ipywidgets.HTML:
    """The panels' stylesheet; one on a page is enough."""
    return _html(f"<style>{style('inventory.css')}</style>", "bkg-style")


class RowWidget(ipywidgets.Box):
    """One plug-in of the inventory, with its three buttons."""

    def __init__(self, name: str, intent: Intent) -> None:
        self.plugin = name
        self.identity = _html("", "bkg-cell")
        self.figures = _html("", "bkg-cell")
        self.capabilities = _html("", "bkg-cell")
        self.note = _html("", "bkg-cell", "bkg-cell-note")
        self.buttons: dict[Verb, ipywidgets.Button] = {
            verb: self._button(verb, intent) for verb in _ICONS
        }
        actions = ipywidgets.Box(list(self.buttons.values()))
        actions.add_class("bkg-actions")
        super().__init__(
            [self.identity, self.figures, self.capabilities, actions, self.note],
        )
        self.add_class("bkg-row")

    def _button(self, verb: Verb, intent: Intent) -> ipywidgets.Button:
        button = ipywidgets.Button(
            description=verb.capitalize(), icon=_ICONS[verb], disabled=True, tooltip=""
        )
        button.add_class("bkg-button")
        button.add_class(f"bkg-{verb}")
        name = self.plugin
        button.on_click(lambda _: intent(verb, name))
        serve_while_computing(button)
        return button

    def apply(self, row: Row) -> None:
        """Show `row`, sending only what changed."""
        put(self.identity, "value", markup.identity(row))
        put(self.figures, "value", markup.figures(row))
        put(self.capabilities, "value", markup.capabilities(row))
        put(self.note, "value", markup.note(row))
        for action in row.actions:
            put(self.buttons[action.verb], "disabled", not action.enabled)
            put(self.buttons[action.verb], "tooltip", action.hint)


class Inventory(ipywidgets.VBox):
    """Header, banners, the plug-ins with their buttons; the port table is beside it (`ports`)."""

    def __init__(self, intent: Intent) -> None:
        self._intent = intent
        self._rows: dict[str, RowWidget] = {}
        self.header = _html("", "bkg-top")
        self.banners = _html("", "bkg-banners")
        self.ports = _html("", "bkg-card", "bkg-ports-card")
        self._head = _html(markup.column_heads(), "bkg-heads")
        self._empty = _html(
            '<div class="bkg-empty">This workspace has no plug-ins yet. Put one into '
            "<code>plugins/</code>; it appears here by itself.</div>"
        )
        self.table = ipywidgets.VBox([self._head, self._empty])
        self.table.add_class("bkg-card")
        self.table.add_class("bkg-table")
        super().__init__([self.header, self.banners, self.table])
        self.add_class("bkg-inventory")

    @property
    def rows(self) -> dict[str, RowWidget]:
        """The row widgets by plug-in name."""
        return dict(self._rows)

    def apply(self, view: View) -> None:
        """Show `view`, sending only what changed."""
        put(self.header, "value", markup.header(view.header))
        put(self.banners, "value", markup.banners(view.banners))
        put(self.ports, "value", markup.ports(view.ports))
        names = [row.name for row in view.rows]
        if names != list(self._rows):
            self._arrange(names)
        for row in view.rows:
            self._rows[row.name].apply(row)
        stale = "bkg-stale" in self.table._dom_classes
        if view.stale and not stale:
            self.table.add_class("bkg-stale")
        elif stale and not view.stale:
            self.table.remove_class("bkg-stale")

    def _arrange(self, names: list[str]) -> None:
        gone = [self._rows[name] for name in self._rows if name not in names]
        self._rows = {name: self._rows.get(name) or RowWidget(name, self._intent) for name in names}
        self.table.children = (self._head, *(list(self._rows.values()) or [self._empty]))
        for row in gone:
            for child in row.children:
                child.close()
            row.close()


def put(widget: Any, trait: str, value: Any) -> None:
    """Set a trait if it differs; nothing is sent otherwise."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


def _html(value: str, *classes: str) -> ipywidgets.HTML:
    widget = ipywidgets.HTML(value)
    for name in classes:
        widget.add_class(name)
    return widget
