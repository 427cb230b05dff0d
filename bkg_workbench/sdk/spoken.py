"""The plug-in that the lines bridge is: a `Plugin` whose register comes from its program.

Owns what is declared and the settings in force. Settings are plain JSON values here, with the
defaults of the schema in them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bkg_workbench.errors import ConfigInvalid, WorkbenchError
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.envelopes import Register
from bkg_workbench.sdk.asking import lost
from bkg_workbench.sdk.linetext import Declared
from bkg_workbench.sdk.plugin import Plugin


class SpokenPlugin(Plugin):
    """Registers with what `declare` was given; settings that differ need a restart."""

    def __init__(self, grace_seconds: float) -> None:
        super().__init__("lines", grace_seconds=grace_seconds)
        self._declared = Declared(())

    def declare(self, declared: Declared) -> None:
        """Take what the program registers with."""
        self._declared = declared
        self.http_port = declared.port
        self.version = str(declared.meta.get("version", self.version))
        self.settings = self._whole(self.settings or {})

    def registration(self) -> Register:
        """The `register` envelope, with the program's own meta in it."""
        register = super().registration()
        meta = {**self._declared.meta, **(register.meta or {})}
        meta["features"] = self._declared.meta.get("features", [])
        return msgspec.structs.replace(
            register, config_schema=self._declared.config_schema, meta=meta
        )

    async def reconfigure(self, values: dict[str, Any]) -> Literal["live", "restart"]:
        """Say whether the settings are those in force. Raises `ConfigInvalid`."""
        schema, new = self._declared.config_schema, self._whole(values)
        if schema:
            self._judge(schema, new)
        return "live" if new == self.settings else "restart"

    async def ask(self, capability: str, payload: Any, token: str | None, timeout: float) -> Any:
        """Ask another plug-in; with a request's token for its caller."""
        if self.link is None:
            raise lost(capability)
        return await self.link.asker.call(capability, payload, timeout=timeout, token=token)

    def _whole(self, values: dict[str, Any]) -> dict[str, Any]:
        return dict(schemas.merge(schemas.defaults(self._declared.config_schema), values))

    def _judge(self, schema: dict[str, Any], values: dict[str, Any]) -> None:
        try:
            errors = schemas.validate(schema, values)
        except WorkbenchError:
            # An environment without the checking library: the Host has checked them already.
            return
        if errors:
            raise ConfigInvalid(plugin=self.name, errors=errors)
