"""The `host.*` capabilities: the Host is itself served over capabilities.

Owns the handler of each row of the table that begins with `host.`: read the typed parameters, ask
the engine's parts, give plain data. Holds no state.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.bus.calls import Local
from bkg_workbench.bus.identity import Caller
from bkg_workbench.errors import (
    InvalidParams,
    PluginNotFound,
    RequestError,
)
from bkg_workbench.host import firststart
from bkg_workbench.host.inventory import Inventory
from bkg_workbench.protocol import capabilities as table
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.state import PluginState

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

START_WAIT_SECONDS = 660.0
STOP_WAIT_SECONDS = 60.0
GONE_TRIES = 500
"""How often, 10 ms apart, is looked whether a removed plug-in is known to nobody any more."""


class Services:
    """The handlers. Each takes (params, caller) and answers with what msgspec can encode."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inventory = Inventory(engine.workspace, engine.configs)

    def handlers(self) -> dict[str, Local]:
        """Every `host.*` capability with its handler; a missing handler is an error here."""
        return {row.name: self._typed(row) for row in table.HOST}

    def _typed(self, row: table.Capability) -> Local:
        method = row.name.removeprefix("host.").replace(".", "_")
        handler: Callable[[Any, Caller], Awaitable[Any]] = getattr(self, f"_{method}")
        kind = row.params
        assert kind is not None

        async def local(payload: msgspec.Raw, caller: Caller) -> Any:
            data = bytes(payload)
            try:
                params = msgspec.json.decode(b"{}" if data == b"null" else data, type=kind)
            except msgspec.ValidationError as error:
                reason, _, place = str(error).partition(" - at `$")
                pointer = "/" + place.rstrip("`").strip(".").replace(".", "/") if place else ""
                raise InvalidParams(capability=row.name, errors={pointer: reason}) from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidParams(capability=row.name, errors={"": str(error)}) from None
            return await handler(params, caller)

        return local

    def _plugin(self, name: str) -> PluginState:
        plugins = self._engine.state.plugins
        if name not in plugins:
            raise PluginNotFound(plugin=name, known=sorted(plugins))
        return plugins[name]

    # -- the Host -------------------------------------------------------------------------------
    async def _info(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        state, now = self._engine.state, self._engine.clock.now_ms()
        return {
            "version": state.version,
            "instance": state.instance,
            "workspace": state.workspace,
            "pid": os.getpid(),
            "startedAt": state.started_at,
            "uptimeSeconds": (now - state.started_at) / 1000,
            "clients": len(self._engine.hub.clients),
        }

    async def _ports(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        return {"ports": list(self._engine.state.ports)}

    async def _pages(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        return {"url": await self._engine.web.start()}

    async def _stop(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        self._engine.stopping.set()
        return {"stopping": True}

    # -- plug-ins -------------------------------------------------------------------------------
    async def _plugins_list(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        return {"plugins": list(self._engine.state.plugins.values())}

    async def _plugin_get(self, params: table.Named, _: Caller) -> PluginState:
        return self._plugin(params.name)

    async def _plugin_start(self, params: table.Verb, _: Caller) -> PluginState:
        self._plugin(params.name)
        self._engine.supervisor.start(params.name)
        return await self._wish(params)

    async def _auth_begin(self, params: table.BeginAuth, _: Caller) -> PluginState:
        self._engine.first_start.give(params.password)
        self._plugin(firststart.PLUGIN)
        self._engine.supervisor.restart(firststart.PLUGIN, "its first start")
        return await self._wish(table.Verb(name=firststart.PLUGIN, wait=params.wait))

    async def _plugin_stop(self, params: table.Verb, _: Caller) -> PluginState:
        self._plugin(params.name)
        self._engine.supervisor.stop(params.name)
        return await self._wish(params)

    async def _plugin_restart(self, params: table.Verb, _: Caller) -> PluginState:
        self._plugin(params.name)
        self._engine.supervisor.restart(params.name)
        return await self._wish(params)

    async def _plugin_define(self, params: table.Define, caller: Caller) -> PluginState:
        author = params.author or caller.name
        await self._engine.configs.set_definition(params.definition, author)
        await self._engine.refresh()
        return self._plugin(params.definition.name)

    async def _plugin_rebuild(self, params: table.Verb, _: Caller) -> PluginState:
        await self._inventory.want_rebuild(params.name)
        if self._plugin(params.name).wanted != "up":
            return self._plugin(params.name)
        self._engine.supervisor.restart(params.name, "its environment is built anew")
        return await self._wish(params)

    async def _plugins_add(self, params: table.AddPlugin, caller: Caller) -> PluginState:
        definition = await self._inventory.add(
            Path(params.folder),
            name=params.name,
            autostart=params.autostart,
            capabilities=params.capabilities,
            author=params.author or caller.name,
        )
        await self._engine.refresh()
        return self._plugin(definition.name)

    async def _plugins_remove(self, params: table.RemovePlugin, caller: Caller) -> dict[str, Any]:
        engine, name = self._engine, params.name
        self._plugin(name)
        engine.supervisor.stop(name, "it is removed")
        await engine.supervisor.wait(name, timeout=STOP_WAIT_SECONDS)
        author = params.author or caller.name
        done = await self._inventory.remove(name, delete_files=params.delete_files, author=author)
        await engine.refresh()
        for _ in range(GONE_TRIES):
            if name not in engine.state.plugins:
                break
            await engine.clock.sleep(0.01)
        return {"name": name, "deleted": done.deleted, "kept": done.kept}

    async def _wish(self, params: table.Verb) -> PluginState:
        if params.wait:
            await self._engine.supervisor.wait(params.name, timeout=START_WAIT_SECONDS)
        return self._plugin(params.name)

    # -- config ---------------------------------------------------------------------------------
    async def _config_get(self, params: table.Named, _: Caller) -> dict[str, Any]:
        plugin = self._plugin(params.name)
        stored = await self._engine.configs.get(params.name)
        schema = stored.schema
        effective = await self._engine.configurator.effective(params.name, stored)
        inherited = await self._engine.configurator.inherited(stored)
        return {
            "settings": schemas.mask(schema, stored.settings) if schema else stored.settings,
            "effective": schemas.mask(schema, effective) if schema else effective,
            "inherited": schemas.mask(schema, inherited) if schema else inherited,
            "schema": schema,
            "version": stored.version,
            "errors": plugin.config_errors,
        }

    async def _config_save(self, params: table.SaveConfig, caller: Caller) -> dict[str, Any]:
        self._plugin(params.name)
        author = params.author or caller.name
        return await self._engine.configurator.save(
            params.name,
            params.settings,
            params.version,
            author,
            params.reason,
            canary_seconds=params.canary_seconds,
        )

    async def _config_history(self, params: table.Named, _: Caller) -> dict[str, Any]:
        self._plugin(params.name)
        return {"versions": await self._engine.configs.history(params.name)}

    async def _config_restore(self, params: table.RestoreConfig, caller: Caller) -> dict[str, Any]:
        self._plugin(params.name)
        author = params.author or caller.name
        return await self._engine.configurator.restore(params.name, params.version, author)

    # -- records --------------------------------------------------------------------------------
    async def _logs_query(self, params: table.QueryLogs, _: Caller) -> dict[str, Any]:
        return await self._engine.logs.query(params)

    async def _telemetry_query(self, params: table.QuerySamples, _: Caller) -> dict[str, Any]:
        return await self._engine.samples.query_samples(params)

    async def _events_query(self, params: table.QueryEvents, _: Caller) -> dict[str, Any]:
        return await self._engine.samples.query_events(params)

    async def _calls_query(self, params: table.QueryCalls, _: Caller) -> dict[str, Any]:
        return await self._engine.samples.query_calls(params)

    async def _metrics(self, _: table.Nothing, __: Caller) -> dict[str, Any]:
        return self._engine.meter.figures()

    # -- subscriptions --------------------------------------------------------------------------
    async def _subscribe(self, params: table.Subscribe, caller: Caller) -> dict[str, Any]:
        if caller.sink is None:
            raise RequestError(
                "Only attached workbenches can subscribe.", capability="host.subscribe"
            )
        key = self._engine.subscriptions.add(params.topics, connection=caller.sink)
        return {"subscription": key, "seq": 0, "state": self._engine.state}

    async def _unsubscribe(self, params: table.Unsubscribe, caller: Caller) -> dict[str, Any]:
        self._engine.subscriptions.remove(params.subscription, caller.sink)
        return {}
