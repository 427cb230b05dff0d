"""The head of a plug-in's page: what it is, how it stands, its buttons, the tabs below.

Owns what is said there. State, note and buttons read as in the inventory (`view`); which tabs there
are and what lies in them is the page's matter (`plugin_page`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bkg_workbench.protocol.state import PluginState
from bkg_workbench.widgets import view
from bkg_workbench.widgets.live import Data, plain, script, style
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.wishes import VERBS

if TYPE_CHECKING:
    from bkg_workbench.widgets.plugin_page import PluginPage


@dataclass(frozen=True)
class Tab:
    """One tab: its key in the link, its title, a count and a tone where something wants notice."""

    key: str
    title: str
    count: int | None = None
    tone: str | None = None


def fold(name: str, moment: Moment, titles: dict[str, str], *, was_there: bool) -> Data:
    """What the head says of the plug-in `name`; `titles` are the tabs that there are, by key."""
    plugins = moment.state.plugins
    known = list(plugins)
    seen = view.fold(moment)
    banners = plain(seen.banners[:1]) if moment.stale else []
    data: Data = {"name": name, "known": known, "banners": banners, "stale": moment.stale}
    plugin = plugins.get(name)
    if plugin is None:
        return {**data, "missing": True, "removed": was_there}
    row = plain(seen.rows[name])
    row.pop("samples", None)
    row.pop("capabilities", None)
    return {
        **data,
        **neighbours(name, known),
        "row": row,
        "facts": facts(plugin),
        "tabs": [plain(tab) for tab in tabs(plugin, titles)],
    }


def neighbours(name: str, known: Sequence[str]) -> Data:
    """The plug-ins before and after `name` in the inventory's order, where there are any."""
    at = known.index(name)
    found = {"previous": known[at - 1] if at else None, "next": None}
    if at + 1 < len(known):
        found["next"] = known[at + 1]
    return {key: value for key, value in found.items() if value is not None}


def facts(plugin: PluginState) -> list[Data]:
    """Small facts of a plug-in, in the order of their worth; those not known are left out."""
    meta = plugin.meta
    version = _text(meta.get("version")) or plugin.definition.version
    found: list[Data] = []

    def add(label: str, value: Any, **more: Any) -> None:
        if value not in (None, ""):
            found.append({"label": label, "value": str(value), **more})

    add("wanted", plugin.wanted)
    add("pid", plugin.pid)
    if isinstance(plugin.port, int):
        add("port", plugin.port, href=f"http://127.0.0.1:{plugin.port}/")
    else:
        add("port", plugin.port)
    add("version", version)
    add("engine", _text(meta.get("engine")))
    add("generation", plugin.generation or None, hint="how often it was started")
    add("settings", f"v{plugin.config_version}" if plugin.config_version else None)
    add("autostart", "yes" if plugin.definition.autostart else None)
    return found


def tabs(plugin: PluginState, titles: dict[str, str]) -> list[Tab]:
    """The tabs, with what is worth a look."""
    wants = "bad" if plugin.config_errors else "busy" if plugin.restart_needed else None
    names = {*plugin.definition.capabilities, *plugin.capabilities}
    extras: dict[str, dict[str, Any]] = {
        "capabilities": {"count": len(names)},
        "config": {"tone": wants},
        "overview": {"tone": "warn" if plugin.conflicts else None},
    }
    return [Tab(key, title, **extras.get(key, {})) for key, title in titles.items()]


def _text(value: Any) -> str | None:
    return view.cut(value, 60) if isinstance(value, str) and value else None


class PluginHead(Panel):
    """The head of `page`. Intents: start, stop, restart; look {tab}; open {plugin}; back."""

    _esm = script("plugin_parts.js", "plugin.js")
    _css = style("plugin.css")

    def __init__(self, page: PluginPage) -> None:
        self._page = page
        self._was_there = False
        super().__init__({"name": page.name, "tab": page.first_tab})

    def fold(self, moment: Moment) -> Data:
        """See `fold` of this module."""
        page = self._page
        self._was_there |= page.name in moment.state.plugins
        data = fold(page.name, moment, page.titles, was_there=self._was_there)
        return {**data, "tab": page.first_tab, "built": list(page.built), "back": page.can_go_back}

    def on_intent(self, intent: Data) -> None:
        """Hand over to the page at once."""
        verb, page = intent["verb"], self._page
        if verb in VERBS:
            page.ask(verb, page.name)
        elif verb == "look":
            page.look(str(intent.get("tab")))
        elif verb == "open" and intent.get("plugin") in page.bench.state.plugins:
            page.open_plugin(intent["plugin"])
        elif verb == "back":
            page.go_back()
