"""What is shown of the workspace's state over HTTP: pure functions of it.

Owns the forms of `/health`, a plug-in's status and capabilities, and the summary of telemetry; and
that no value of a plug-in's environment is ever shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from bkg_workbench.protocol.state import PluginState, WorkbenchState

MASK = "***"


def masked(result: Any) -> Any:
    """A result of `host.*` without the values of environments; everything else as it is."""
    if isinstance(result, PluginState):
        environment = dict.fromkeys(result.definition.env, MASK)
        if not environment:
            return result
        definition = msgspec.structs.replace(result.definition, env=environment)
        return msgspec.structs.replace(result, definition=definition)
    if isinstance(result, dict) and isinstance(plugins := result.get("plugins"), list):
        return {**result, "plugins": [masked(one) for one in plugins]}
    return result


def health(
    state: WorkbenchState, in_flight: Mapping[str, int], figures: Mapping[str, Any]
) -> dict[str, Any]:
    """For an admin: what there is, what is under way, and how late the loop is."""
    return {
        "status": "up",
        "version": state.version,
        "instance": state.instance,
        "startedAt": state.started_at,
        "uptimeSeconds": figures.get("uptimeSeconds"),
        "plugins": dict(Counter(plugin.state for plugin in state.plugins.values())),
        "notices": [notice.text for notice in state.notices],
        "inFlight": dict(in_flight),
        "loopLagSeconds": figures.get("lag"),
    }


def status(plugin: PluginState) -> dict[str, Any]:
    """How a plug-in is."""
    return {
        "name": plugin.name,
        "state": plugin.state,
        "wanted": plugin.wanted,
        "reason": plugin.reason,
        "since": plugin.since,
        "pid": plugin.pid,
        "port": plugin.port,
        "restarts": plugin.restarts,
        "lastExit": plugin.last_exit,
        "preparing": plugin.preparing,
        "restartNeeded": plugin.restart_needed,
        "configVersion": plugin.config_version,
        "configErrors": plugin.config_errors,
        "health": plugin.health,
    }


def capabilities(plugin: PluginState) -> dict[str, Any]:
    """What a plug-in can be asked, with its schemas; empty while it is not there."""
    schemas = plugin.meta.get("schemas")
    known = schemas if isinstance(schemas, dict) else {}
    listed = [
        {"capability": name, **(known[name] if isinstance(known.get(name), dict) else {})}
        for name in plugin.capabilities
    ]
    return {
        "name": plugin.name,
        "declared": plugin.definition.capabilities,
        "capabilities": listed,
        "conflicts": plugin.conflicts,
    }


def summary(state: WorkbenchState, latest: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Each plug-in's newest sample, and the sums of what all use."""
    plugins = []
    total = {"cpu": 0.0, "mem_bytes": 0.0}
    for name, plugin in state.plugins.items():
        sample = dict(latest[name][-1]) if latest.get(name) else {}
        is_up = plugin.state in ("starting", "running", "degraded", "stopping")
        for key in total:
            number = sample.get(key)
            if is_up and isinstance(number, (int, float)):
                total[key] += number
        plugins.append({**sample, "plugin": name, "state": plugin.state})
    return {"plugins": plugins, "total": total}
