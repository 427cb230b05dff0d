"""The inventory (`/plugins`) and the port table: two panels over the workspace.

Owns which data and intents they have. What is said comes from `view`; how it is drawn lies in
`static/inventory.js` and `static/ports.js`.
"""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol.state import PluginState, WorkbenchState
from bkg_workbench.widgets import tables, view
from bkg_workbench.widgets.live import Data, plain, script, style
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.wishes import VERBS


class Inventory(Panel):
    """Header, banners, and the plug-ins with their numbers and buttons.

    Intents: start, stop, restart {plugins: [name]}; open {plugin}; export {table: "plugins"}.
    """

    _esm = script("plugin_parts.js", "inventory.js")
    _css = style("inventory.css")

    def fold(self, moment: Moment) -> Data:
        """See `view.fold`."""
        data: Data = plain(view.fold(moment))
        return data

    def on_intent(self, intent: Data) -> None:
        """Hand over to the board at once."""
        if (board := self.board) is None:
            return
        verb = intent["verb"]
        if verb in VERBS:
            names = intent.get("plugins")
            for name in names if isinstance(names, list) else ():
                if isinstance(name, str):
                    board.ask(verb, name)
        elif verb == "open" and isinstance(intent.get("plugin"), str):
            board.open_plugin(intent["plugin"])
        elif tables.wanted(intent, "plugins"):
            moment = board.moment()
            tables.export(self, intent, lambda: records(moment, tables.rows(intent)))


class Ports(Panel):
    """The port table: who listens where. Intents: export {table: "ports"}."""

    _esm = script("ports.js")
    _css = style()

    def fold(self, moment: Moment) -> Data:
        """See `view.ports`."""
        return {"ports": plain(view.ports(moment.state)), "stale": moment.stale}

    def on_intent(self, intent: Data) -> None:
        """Hand over to a thread at once."""
        if (board := self.board) is not None and tables.wanted(intent, "ports"):
            state = board.bench.state
            tables.export(self, intent, lambda: port_records(state))


def records(moment: Moment, names: list[str] | None = None) -> list[dict[str, Any]]:
    """The inventory as records, one for each plug-in (of `names`, in their order)."""
    plugins = moment.state.plugins
    chosen = [plugins[n] for n in (plugins if names is None else names) if n in plugins]
    return [_record(plugin, moment) for plugin in chosen]


def port_records(state: WorkbenchState) -> list[dict[str, Any]]:
    """The port table as records; addresses without their tokens, as on the page."""
    return [
        {"name": p.name, "port": p.port, "address": p.shown, "owner": p.owner}
        for p in view.ports(state)
    ]


def _record(plugin: PluginState, moment: Moment) -> dict[str, Any]:
    sample = next(reversed(moment.samples.get(plugin.name, ())), {})
    health = plugin.health
    return {
        "plugin": plugin.name,
        "state": plugin.state,
        "wanted": plugin.wanted,
        "since": plugin.since,
        "reason": plugin.reason,
        "restarts": plugin.restarts,
        "last_exit": plugin.last_exit,
        "cpu_percent": sample.get("cpu"),
        "memory_bytes": sample.get("mem_bytes"),
        "beat_status": None if health is None else health.status,
        "capabilities": ", ".join(plugin.capabilities or plugin.definition.capabilities),
        "description": plugin.definition.description,
    }
