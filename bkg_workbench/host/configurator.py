"""The path of a plug-in's settings: database, mirror, runtime file, state, running plug-in.

Owns the order of these steps for a save and a restore, and what is known of the settings' validity.
The store owns versions and files, the router the way to the running plug-in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.host.canary import Pending
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.envelopes import value
from bkg_workbench.protocol.state import Configured
from bkg_workbench.store.configs import Stored

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine


class Configurator:
    """The settings of one Host's plug-ins. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._effective: dict[str, dict[str, Any]] = {}
        self._changes: set[asyncio.Task[dict[str, Any]]] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def close(self) -> None:
        """Wait for the changes that are under way."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    def last(self, name: str) -> dict[str, Any] | None:
        """The effective settings as they were last made, secrets in clear."""
        return self._effective.get(name)

    async def save(
        self,
        name: str,
        settings: dict[str, Any],
        version: int,
        author: str,
        reason: str | None,
        *,
        canary_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Save settings read at `version`: {version, applied: "live" or "restart"}.

        With `canary_seconds` a plug-in that is up gets them now, by a restart where they cannot be
        live, and they are watched. Raises `ConfigInvalid`, `ConfigConflict`, `StoreError`; nothing
        is changed then.
        """
        return await self._whole(
            self._save(name, settings, version, author, reason, canary_seconds)
        )

    async def _save(
        self,
        name: str,
        settings: dict[str, Any],
        version: int,
        author: str,
        reason: str | None,
        canary_seconds: float | None,
    ) -> dict[str, Any]:
        engine = self._engine
        schema = (await engine.configs.get(name)).schema
        new = await engine.configs.save(name, settings, version, schema, author, reason)
        engine.canaries.end(name)
        done = await self._apply(name, new)
        is_up = engine.state.plugins[name].wanted == "up"
        if canary_seconds is not None and is_up and new != version:
            engine.canaries.begin(name, Pending(new, version, canary_seconds))
            if done["applied"] != "live":
                engine.supervisor.restart(name, "settings on probation")
        return done

    async def restore(self, name: str, version: int, author: str) -> dict[str, Any]:
        """Make an earlier version's settings the current ones; as `save`."""
        return await self._whole(self._restore(name, version, author))

    async def _restore(self, name: str, version: int, author: str) -> dict[str, Any]:
        configs = self._engine.configs
        schema = (await configs.get(name)).schema
        return await self._apply(name, await configs.restore(name, version, schema, author))

    async def _whole(self, change: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        """Go through all steps, though the asker goes: saved but not told would be neither."""
        task = asyncio.create_task(change, name="host-config-change")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _apply(self, name: str, version: int) -> dict[str, Any]:
        """Runtime file, then the running plug-in; a restart is offered where it cannot live."""
        engine = self._engine
        effective = await self.write_runtime(name)
        state = engine.state.plugins[name].state
        is_up = state in ("running", "degraded", "starting")
        applied = "restart"
        if is_up:
            try:
                reply = value(await engine.router.configure(name, effective, version))
                if isinstance(reply, dict) and reply.get("applied") == "live":
                    applied = "live"
            except WorkbenchError as error:
                engine.logs.append("host", "host", "info", f"{name} needs a restart: {error}")
        await self.judge(name, restart_needed=is_up and applied != "live")
        engine.samples.add_event(
            name, "configured", state, f"version {version}", engine.clock.now_ms()
        )
        return {"version": version, "applied": applied}

    async def judge(self, name: str, *, restart_needed: bool | None = None) -> dict[str, str]:
        """Check a plug-in's effective settings and tell everybody: {pointer: message}."""
        # One at a time, or what was read first could be told last.
        async with self._locks.setdefault(name, asyncio.Lock()):
            return await self._judge(name, restart_needed)

    async def _judge(self, name: str, restart_needed: bool | None) -> dict[str, str]:
        stored = await self._engine.configs.get(name)
        plugin = self._engine.state.plugins.get(name)
        if plugin is None:
            return {}
        schema = stored.schema
        errors = await asyncio.to_thread(
            self._engine.configs.problems, stored.definition, stored.settings, schema
        )
        masked = schemas.mask(schema, stored.settings) if schema else stored.definition.settings
        needed = plugin.restart_needed if restart_needed is None else restart_needed
        self._engine.emit(
            Configured(
                plugin=name,
                settings=masked,
                version=stored.version,
                errors=errors,
                restart_needed=needed,
                config_schema=schema,
            )
        )
        return errors

    async def effective(self, name: str, stored: Stored | None = None) -> dict[str, Any]:
        """A plug-in's effective settings, secrets in clear. Raises `ConfigInvalid`."""
        one = stored or await self._engine.configs.get(name)
        self._effective[name] = await asyncio.to_thread(
            self._engine.configs.effective, one.definition, one.settings, one.schema
        )
        return self._effective[name]

    async def inherited(self, stored: Stored) -> dict[str, Any]:
        """What counts where the operator sets nothing: defaults and the plug-in's config.json."""
        return await asyncio.to_thread(
            self._engine.configs.effective, stored.definition, {}, stored.schema
        )

    async def write_runtime(self, name: str) -> dict[str, Any]:
        """Write what the plug-in will read, and give it."""
        settings = await self.effective(name)
        file = self._engine.workspace.plugin_folder(name) / "config.runtime.json"
        await self._engine.configs.write_runtime(name, settings, file)
        return settings
