"""The settings of a scripted bench: kept, checked and versioned as a Host does, in memory.

Owns no file and no plug-in: whether a save is applied live is what the test says (`applied`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bkg_workbench.errors import ConfigConflict, ConfigInvalid, PluginNotFound, WorkbenchError
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.state import AnyStateEvent, Configured, Watched, WorkbenchState


class ScriptedConfigs:
    """The part of a `Workbench` that reads and saves settings.

    `saves` are {name, settings, version, reason, canary_seconds} as they were asked for; `refusal`
    is raised by the next calls; `waits` runs before a save is carried out.
    """

    now_ms: int
    state: WorkbenchState
    refusal: WorkbenchError | None
    happen: Callable[..., None]

    def __init__(self) -> None:
        self.applied = "live"
        self.saves: list[dict[str, Any]] = []
        self.waits: Callable[[], None] = lambda: None
        self._kept: dict[str, list[dict[str, Any]]] = {}
        self._schemas: dict[str, dict[str, Any] | None] = {}
        self._inherited: dict[str, dict[str, Any]] = {}

    def configure(
        self,
        name: str,
        settings: dict[str, Any],
        schema: dict[str, Any] | None = None,
        *,
        inherited: dict[str, Any] | None = None,
        author: str = "ada",
        reason: str | None = None,
    ) -> None:
        """Somebody saved settings, or the plug-in registered a schema."""
        self._schemas[name] = schema = schema or self._schemas.get(name)
        below = schemas.merge(schemas.defaults(schema), inherited or {})
        self._inherited[name] = below if inherited is not None else self._inherited.get(name, below)
        kept = self._kept.setdefault(name, [])
        if not kept or not schemas.is_same(kept[-1]["settings"], settings):
            self._keep(name, settings, author, reason)
        self._tell(name)

    def config(self, name: str) -> dict[str, Any]:
        """As `Workbench.config`."""
        self._refuse()
        now, schema = self._now(name), self._schemas.get(name)
        below = self._inherited.get(name, {})
        return {
            "settings": schemas.mask(schema, now["settings"]),
            "inherited": schemas.mask(schema, below),
            "effective": schemas.mask(schema, schemas.merge(below, now["settings"])),
            "schema": schema,
            "version": now["version"],
            "errors": {},
        }

    def save_config(
        self,
        name: str,
        settings: dict[str, Any],
        version: int,
        *,
        reason: str | None = None,
        author: str | None = None,
        canary_seconds: float | None = None,
    ) -> dict[str, Any]:
        """As `Workbench.save_config`."""
        asked = {"name": name, "settings": settings, "version": version, "reason": reason}
        self.saves.append({**asked, "canary_seconds": canary_seconds})
        self.waits()
        self._refuse()
        now, schema = self._now(name), self._schemas.get(name)
        if version != now["version"]:
            raise ConfigConflict(plugin=name, version=version, current=now["version"])
        clear = schemas.unmask(schema, settings, now["settings"])
        whole = schemas.merge(self._inherited.get(name, {}), clear)
        if schema is not None and (errors := schemas.validate(schema, whole)):
            raise ConfigInvalid(plugin=name, errors=errors)
        if not schemas.is_same(clear, now["settings"]):
            self._keep(name, clear, author or "owner", reason)
        self._tell(name)
        if canary_seconds is not None:
            self.happen(Watched(plugin=name, until=self.now_ms + int(canary_seconds * 1000)))
        return {"version": self._now(name)["version"], "applied": self.applied}

    def config_history(self, name: str) -> list[dict[str, Any]]:
        """As `Workbench.config_history`."""
        self._refuse()
        self._now(name)
        schema, found = self._schemas.get(name), []
        before: dict[str, Any] = {}
        for one in self._kept[name]:
            changes = schemas.masked_diff(schema, before, one["settings"], path="/settings")
            diff = [msgspec.to_builtins(change) for change in changes]
            masked = schemas.mask(schema, one["settings"])
            found.append({**one, "settings": masked, "diff": diff})
            before = one["settings"]
        return found[::-1]

    def restore_config(
        self, name: str, version: int, *, author: str | None = None
    ) -> dict[str, Any]:
        """As `Workbench.restore_config`."""
        self._refuse()
        for one in self._kept[name]:
            if one["version"] == version:
                reason = f"version {version} restored"
                self._keep(name, one["settings"], author or "owner", reason)
                self._tell(name)
                return {"version": self._now(name)["version"], "applied": self.applied}
        raise ConfigInvalid(plugin=name, errors={"/version": f"there is no version {version}"})

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _now(self, name: str) -> dict[str, Any]:
        if name not in self.state.plugins:
            raise PluginNotFound(plugin=name, known=sorted(self.state.plugins))
        if not self._kept.get(name):
            self._keep(name, {}, "hand", None)
        return self._kept[name][-1]

    def _keep(self, name: str, settings: dict[str, Any], author: str, reason: str | None) -> None:
        kept = self._kept.setdefault(name, [])
        kept.append(
            {
                "version": len(kept) + 1,
                "at": self.now_ms + 1000 * len(kept),
                "author": author,
                "reason": reason,
                "settings": settings,
            }
        )

    def _tell(self, name: str) -> None:
        now, schema = self._now(name), self._schemas.get(name)
        plugin = self.state.plugins[name]
        is_up = plugin.state in ("running", "degraded", "starting")
        event: AnyStateEvent = Configured(
            plugin=name,
            settings=schemas.mask(schema, now["settings"]),
            version=now["version"],
            config_schema=schema,
            restart_needed=is_up and self.applied != "live" and now["version"] > 1,
        )
        self.happen(event)
