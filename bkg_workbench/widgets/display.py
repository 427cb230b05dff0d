"""The control centre of a workbench: inventory, ports and log on one page, and who shows it.

Owns what lies on that page, and the hooks by which `bench` shows itself in a notebook and a
dashboard says what is wrong. Redraw and subscriptions are the board's, what is shown is
`view.fold`'s.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets import view, words
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.inventory import Inventory, Ports
from bkg_workbench.widgets.logs import LogTail


class ControlCentre(Board):
    """The page of a workspace: header, plug-ins with their buttons, ports, live log."""

    def __init__(self, bench: Bench, **how: Any) -> None:
        super().__init__(bench, **how)
        self.inventory = Inventory()
        self.ports = Ports()
        self.logs = LogTail(bench)
        self.below = ipywidgets.Box([self.logs, self.ports])
        self.below.add_class("bkg-below")
        self.lay(self.inventory, self.below)

    def close(self) -> None:
        """End subscriptions, thread and widgets. A second call does nothing."""
        if _shown.get(self.bench) is self:
            del _shown[self.bench]
        super().close()

    def current(self) -> view.View:
        """What the inventory says now, as plain data."""
        return view.fold(self.moment())

    def open_plugin(self, name: str) -> None:
        """Show the page of a plug-in in place of the list, where there are no addresses."""
        pages = importlib.import_module("bkg_workbench.widgets.plugin_page")  # it imports this one
        if name not in self.bench.state.plugins:
            return
        try:
            page = pages.PluginPage(self.bench, name, back=self.open_home)
        except WorkbenchError as error:
            self.toast(f"Open {name}: {error}", "bad")
        else:
            self._replace(page)

    def open_home(self) -> None:
        """Show the list of plug-ins again."""
        self._replace(None)

    def _replace(self, page: Board | None) -> None:
        display = "none" if page is not None else None
        for part in (self.inventory, self.below):
            part.layout.display = display
        self.lay(self.inventory, self.below, *([] if page is None else [page]))


_shown: WeakKeyDictionary[Any, ControlCentre] = WeakKeyDictionary()


def display_bench(bench: Bench) -> ControlCentre:
    """The control centre of `bench`: the same model each time, so that any output is a view of it.

    Closed by its own `close` or by that of the workbench.
    """
    centre = _shown.get(bench)
    if centre is None or centre.closed:
        centre = _shown[bench] = ControlCentre(bench)
    return centre


def show(bench: Bench) -> None:
    """Show `bench` where it stands at the end of a cell; in a terminal as text."""
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        widget = display_bench(bench)._repr_mimebundle_()
        display({**widget, "text/plain": text(bench)}, raw=True)  # type: ignore[no-untyped-call]
    else:
        sys.stdout.write(text(bench) + "\n")


def text(bench: Bench) -> str:
    """The workspace as a plain table, for terminals and logs."""
    state = bench.state
    lines = [f"Workbench of {state.workspace} ({bench.lost or 'connected'})"]
    width = max((len(name) for name in state.plugins), default=0)
    lines += [
        f"  {p.name:<{width}}  {p.state:<9}  {p.reason or ''}".rstrip()
        for p in state.plugins.values()
    ]
    lines.append(f"  {words.count(len(state.plugins), 'plug-in')}")
    return "\n".join(lines)
