"""The verbs of `Workbench` that change which plug-ins a workspace has.

Owns their parameters and what they give; what happens to files is the Host's (`host.inventory`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.protocol.state import PluginState

if TYPE_CHECKING:
    from bkg_workbench.client.portal import Portal

REBUILD_TIMEOUT = 700.0
"""Seconds; longer than the building of an environment may take (600)."""


class Inventory:
    """A part of `Workbench`."""

    _portal: Portal

    if TYPE_CHECKING:

        async def acall(
            self, capability: str, payload: Any = None, *, timeout: float | None = 30.0
        ) -> Any:
            """The workbench's own."""

    async def aadd_plugin(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        autostart: bool | None = None,
        capabilities: list[str] | None = None,
        author: str | None = None,
        timeout: float = 120.0,
    ) -> PluginState:
        """Async twin of `add_plugin`."""
        payload = {
            "folder": str(Path(folder).expanduser().absolute()),
            "name": name,
            "autostart": autostart,
            "capabilities": capabilities,
            "author": author,
        }
        reply = await self.acall("host.plugins.add", payload, timeout=timeout)
        return msgspec.convert(reply, PluginState)

    def add_plugin(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        autostart: bool | None = None,
        capabilities: list[str] | None = None,
        author: str | None = None,
        timeout: float = 120.0,
    ) -> PluginState:
        """Make a folder with a start.sh a plug-in: it is copied to `plugins/<name>`.

        `name` is by default the folder's; a folder of `plugins/` is taken as it is. Raises
        `InvalidParams` for what cannot run, `AlreadyRegistered` for a name that is taken.
        """
        return self._portal.run(
            self.aadd_plugin(
                folder,
                name=name,
                autostart=autostart,
                capabilities=capabilities,
                author=author,
                timeout=timeout,
            )
        )

    async def aremove_plugin(
        self,
        name: str,
        *,
        delete_files: bool = False,
        author: str | None = None,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """Async twin of `remove_plugin`."""
        payload = {"name": name, "deleteFiles": delete_files, "author": author}
        reply = await self.acall("host.plugins.remove", payload, timeout=timeout)
        return dict(reply)

    def remove_plugin(
        self,
        name: str,
        *,
        delete_files: bool = False,
        author: str | None = None,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """Stop a plug-in and remove its definition: {name, deleted, kept}, folders below the root.

        Its folders stay unless `delete_files`. Raises `PluginNotFound`.
        """
        return self._portal.run(
            self.aremove_plugin(name, delete_files=delete_files, author=author, timeout=timeout)
        )

    async def arebuild(
        self, name: str, *, wait: bool = True, timeout: float = REBUILD_TIMEOUT
    ) -> PluginState:
        """Async twin of `rebuild`."""
        payload = {"name": name, "wait": wait}
        reply = await self.acall("host.plugin.rebuild", payload, timeout=timeout)
        return msgspec.convert(reply, PluginState)

    def rebuild(
        self, name: str, *, wait: bool = True, timeout: float = REBUILD_TIMEOUT
    ) -> PluginState:
        """Build a plug-in's own environment anew: now, by a restart, or at its next start.

        Raises `InvalidParams` where it has none, `StartFailed` with its last log lines.
        """
        return self._portal.run(self.arebuild(name, wait=wait, timeout=timeout))
