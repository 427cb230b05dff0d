"""The page of one plug-in, `/plugins/<name>`: one layout for all.

Owns which tabs there are and when their content is made: heavy parts only when they are looked at.
What lies in them are panels of their own; which tab a view shows is the view's matter
(`static/plugin.js`), so that two views of a page may look at different ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets

from bkg_workbench.errors import PluginNotFound
from bkg_workbench.widgets import extensions
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.board import Board, close_all
from bkg_workbench.widgets.config_panel import ConfigPanel
from bkg_workbench.widgets.features import FeatureCards
from bkg_workbench.widgets.logs import LogTail
from bkg_workbench.widgets.plugin_head import PluginHead
from bkg_workbench.widgets.story import StoryPanel
from bkg_workbench.widgets.telemetry import TelemetryChart
from bkg_workbench.widgets.tryit import TryIt

TITLES = {
    "overview": "Overview",
    "capabilities": "Capabilities",
    "log": "Log",
    "config": "Settings",
}
"""The tabs that each plug-in has, by their keys in the link."""
PANEL = "panel"
"""The tab of a plug-in's own panel, which comes first where there is one."""
LOG_HEIGHT = 560


class PluginPage(Board):
    """Everything about the plug-in `name` of `bench`.

        PluginPage(bench, "goose")              # at the end of a cell, or as a dashboard
        PluginPage(bench, "goose", tab="log")

    A name that the workspace does not have shows which ones it has. `tab` is the first tab to look
    at; a dashboard's link has its own (`?tab=`). `back` is called where "all plug-ins" is chosen
    on a page that has no address. Further parameters: `Board`.
    """

    def __init__(
        self,
        bench: Bench,
        name: str,
        *,
        tab: str | None = None,
        back: Callable[[], Any] | None = None,
        **how: Any,
    ) -> None:
        self.name = name
        self._back = back
        self._building = threading.RLock()
        self._sections: dict[str, ipywidgets.Box] = {}
        self._begin(name, tab)
        super().__init__(bench, **how)
        self.head = PluginHead(self)
        self.add_class("bkg-plugin-page")
        if name in bench.state.plugins:
            self._build(self.first_tab)
        else:
            self.lay(self.head)

    def _begin(self, name: str, tab: str | None) -> None:
        self.name = name
        self._own = extensions.found(name)
        self.titles = {PANEL: "Panel"} | TITLES if self._own else dict(TITLES)
        self.first_tab = tab if tab in self.titles else next(iter(self.titles))

    # --- tabs ----------------------------------------------------------------------------------

    @property
    def built(self) -> tuple[str, ...]:
        """The tabs whose content is there, in the order in which they were looked at."""
        return tuple(self._sections)

    def section(self, tab: str) -> ipywidgets.Box:
        """The content of a tab that was looked at. Raises `KeyError`."""
        return self._sections[tab]

    def look(self, tab: str) -> None:
        """Somebody looks at a tab: make its content, on another thread, unless it is there."""
        if (
            tab in self.titles
            and tab not in self._sections
            and self.name in self.bench.state.plugins
        ):
            self.post(lambda: self._build(tab), what=f"{self.titles[tab]} of {self.name}")

    def _build(self, tab: str) -> None:
        """Make a tab's content. What was made before stays where it is, and as it is."""
        with self._building:
            if tab not in self._sections and not self.closed:
                section = ipywidgets.Box(self._content(tab))
                section.add_class("bkg-tab")
                section.add_class(f"bkg-tab-{tab}")
                self._sections[tab] = section
            self.lay(self.head, *self._sections.values())

    def _content(self, tab: str) -> list[ipywidgets.Widget]:
        if tab == PANEL:
            panels = [extensions.panel(point, self.bench, self.name) for point in self._own]
            self.titles[PANEL] = extensions.title_of(panels[0]) or self.titles[PANEL]
            return panels
        if tab == "capabilities":
            return [TryIt(self.name)]
        if tab == "log":
            return [LogTail(self.bench, plugin=self.name, height=LOG_HEIGHT)]
        if tab == "config":
            return [ConfigPanel(self.name)]
        return [FeatureCards(self.name), TelemetryChart(self.name), StoryPanel(self.name)]

    # --- to other pages ------------------------------------------------------------------------

    def open_plugin(self, name: str) -> None:
        """Show another plug-in in place of this one; for where a page has no address."""
        self.post(lambda: self._show(name), what=f"Page of {name}")

    def _show(self, name: str) -> None:
        if name not in self.bench.state.plugins:
            raise PluginNotFound(plugin=name, known=sorted(self.bench.state.plugins))
        with self._building:
            self._sections = {}
            self._begin(name, None)
            before = self.head
            self.head = PluginHead(self)
            self._build(self.first_tab)
        close_all(before)

    @property
    def can_go_back(self) -> bool:
        """Whether there is an inventory to go back to, other than by an address."""
        return self._back is not None

    def go_back(self) -> None:
        """Back to the inventory, where there is one."""
        if self._back is not None:
            self.post(self._back, what="All plug-ins")
