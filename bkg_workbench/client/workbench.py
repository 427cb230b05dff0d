"""The API of the workbench, written once.

Owns the verbs, synchronous and asynchronous (an async twin has an `a` in front), and the live,
folded state. It holds an `Outbound` and cannot tell whether that is the Host itself or a channel to
it. `Host()` is a Workbench that owns a workspace; `attach()` returns one that joined.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from bkg_workbench.client import hooks
from bkg_workbench.client.inventory import Inventory
from bkg_workbench.client.outbound import OnProgress, Outbound
from bkg_workbench.client.portal import Portal
from bkg_workbench.client.queries import Queries
from bkg_workbench.client.records import Records
from bkg_workbench.client.state import Follower, Unsubscribe
from bkg_workbench.client.watching import Watching
from bkg_workbench.errors import HostGone, WorkbenchError
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import PluginState, WorkbenchState

DEFAULT_TIMEOUT = 30.0
LIFECYCLE_TIMEOUT = 700.0
"""Seconds; longer than the building of an environment may take (600)."""


class Workbench(Queries, Inventory, Watching):
    """A workspace's plug-ins, from a notebook, a script or another program.

    Methods that wait raise the error that they got, any of `bkg_workbench.errors`. Timeouts are in
    seconds. It can be used from any thread, and as a context manager, plain or async.
    """

    def __init__(self, portal: Portal, outbound: Outbound, workspace: str) -> None:
        self.workspace = workspace
        self._portal, self._outbound = portal, outbound
        self._follower = Follower(outbound)
        self._closed = False
        self._lock = threading.Lock()
        self.lost: str | None = None
        portal.run(self._open())

    async def _open(self) -> None:
        self._outbound.on_lost(self._on_lost)
        await self._follower.start()

    def _on_lost(self, reason: str) -> None:
        self.lost = reason
        self._follower.notify()

    # -- requests -------------------------------------------------------------------------------
    async def acall(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Async twin of `call`."""
        request = self._outbound.call(
            capability, {} if payload is None else payload, timeout=timeout, on_progress=on_progress
        )
        return await self._portal.wrap(request)

    def call(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Ask for a capability and give its result as plain Python values.

        `payload` is a JSON object as a dict. `on_progress` is called on the workbench's own thread.
        """
        request = self._outbound.call(
            capability, {} if payload is None else payload, timeout=timeout, on_progress=on_progress
        )
        return self._portal.run(request)

    def stream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> Iterator[Any]:
        """The pieces of a streamed reply as they come; closing the iterator cancels the request."""
        pieces = self._outbound.stream(
            capability, {} if payload is None else payload, timeout=timeout
        )
        return self._portal.iterate(pieces)

    def astream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """Async twin of `stream`."""
        pieces = self._outbound.stream(
            capability, {} if payload is None else payload, timeout=timeout
        )
        return self._portal.iterate_from(pieces)

    # -- what there is --------------------------------------------------------------------------
    @property
    def state(self) -> WorkbenchState:
        """The workspace's state as of the last event that came; never waits."""
        return self._follower.state

    @property
    def connected(self) -> bool:
        """Whether the Host is there and this workbench is open."""
        return not self._closed and self.lost is None

    def on_change(self, callback: Callable[[WorkbenchState], None]) -> Unsubscribe:
        """Call back after each event, on the workbench's own thread; gives what ends it."""
        return self._follower.on_change(callback)

    def follow(self, topics: list[str], callback: Callable[[str, Any], None]) -> Unsubscribe:
        """Call back with (topic, data) for `logs`, `logs.<plugin>` or `telemetry` from now on.

        Log data are batches {from, to, dropped, total, records}; the thread is the workbench's own.
        """
        return self._portal.run(self.afollow(topics, callback))

    async def afollow(self, topics: list[str], callback: Callable[[str, Any], None]) -> Unsubscribe:
        """Async twin of `follow`."""

        async def begin() -> str:
            subscription, _ = await self._outbound.subscribe(
                topics, lambda topic, _seq, data: callback(topic, data)
            )
            return subscription

        subscription = await self._portal.wrap(begin())

        def end() -> None:
            if self._portal.is_open and self.connected:
                self._portal.start(_quietly(self._outbound, subscription))

        return end

    async def ainfo(self) -> dict[str, Any]:
        """Async twin of `info`."""
        return _dict(await self.acall("host.info"))

    def info(self) -> dict[str, Any]:
        """Version, instance, workspace, process id and uptime of the Host."""
        return self._portal.run(self.ainfo())

    async def aports(self) -> list[dict[str, Any]]:
        """Async twin of `ports`."""
        return list((await self.acall("host.ports"))["ports"])

    def ports(self) -> list[dict[str, Any]]:
        """The port table."""
        return self._portal.run(self.aports())

    async def apages(self) -> str:
        """Async twin of `pages`."""
        return str((await self.acall("host.pages", timeout=90.0))["url"])

    def pages(self) -> str:
        """The dashboards' address with its token; the Host serves them from now on.

        Raises `StartFailed` where their server does not start.
        """
        return self._portal.run(self.apages())

    async def aplugins(self) -> list[PluginState]:
        """Async twin of `plugins`."""
        reply = await self.acall("host.plugins.list")
        return msgspec.convert(reply["plugins"], list[PluginState])

    def plugins(self) -> list[PluginState]:
        """Every plug-in's state."""
        return self._portal.run(self.aplugins())

    async def aplugin(self, name: str) -> PluginState:
        """Async twin of `plugin`."""
        return msgspec.convert(await self.acall("host.plugin.get", {"name": name}), PluginState)

    def plugin(self, name: str) -> PluginState:
        """One plug-in's state. Raises `PluginNotFound`."""
        return self._portal.run(self.aplugin(name))

    # -- lifecycle ------------------------------------------------------------------------------
    async def _wish(self, verb: str, name: str, wait: bool, timeout: float) -> PluginState:
        payload = {"name": name, "wait": wait}
        reply = await self.acall(f"host.plugin.{verb}", payload, timeout=timeout)
        return msgspec.convert(reply, PluginState)

    async def astart(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Async twin of `start`."""
        return await self._wish("start", name, wait, timeout)

    def start(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Start a plug-in. Raises `StartFailed` with its last log lines."""
        return self._portal.run(self.astart(name, wait=wait, timeout=timeout))

    async def astop(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Async twin of `stop`."""
        return await self._wish("stop", name, wait, timeout)

    def stop(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Stop a plug-in; requests in flight are waited for."""
        return self._portal.run(self.astop(name, wait=wait, timeout=timeout))

    async def arestart(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Async twin of `restart`."""
        return await self._wish("restart", name, wait, timeout)

    def restart(
        self, name: str, *, wait: bool = True, timeout: float = LIFECYCLE_TIMEOUT
    ) -> PluginState:
        """Restart a plug-in without losing a request."""
        return self._portal.run(self.arestart(name, wait=wait, timeout=timeout))

    async def adefine(self, definition: Definition, *, author: str | None = None) -> PluginState:
        """Async twin of `define`."""
        payload = {"definition": msgspec.to_builtins(definition), "author": author}
        return msgspec.convert(await self.acall("host.plugin.define", payload), PluginState)

    def define(self, definition: Definition, *, author: str | None = None) -> PluginState:
        """Add a plug-in's definition, or change it; a running plug-in goes on as it is.

        `"***"` in its settings keeps a secret. `author` is kept with the new version.
        """
        return self._portal.run(self.adefine(definition, author=author))

    async def astop_host(self) -> None:
        """Async twin of `stop_host`."""
        try:
            await self.acall("host.stop")
        except HostGone:
            return

    def stop_host(self) -> None:
        """End the Host and all its plug-ins."""
        self._portal.run(self.astop_host())

    # -- config ---------------------------------------------------------------------------------
    async def aconfig(self, name: str) -> dict[str, Any]:
        """Async twin of `config`."""
        return _dict(await self.acall("host.config.get", {"name": name}))

    def config(self, name: str) -> dict[str, Any]:
        """{settings, schema, version, effective} of a plug-in, secrets masked."""
        return self._portal.run(self.aconfig(name))

    async def asave_config(
        self,
        name: str,
        settings: dict[str, Any],
        version: int,
        *,
        reason: str | None = None,
        author: str | None = None,
        canary_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Async twin of `save_config`."""
        payload = {
            "name": name,
            "settings": settings,
            "version": version,
            "reason": reason,
            "author": author,
            "canarySeconds": canary_seconds,
        }
        return _dict(await self.acall("host.config.save", payload))

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
        """Save settings read at `version`: {version, applied: "live" or "restart"}.

        `reason` and `author` (by default this connection's name) are kept with the new version.
        With `canary_seconds` the settings are applied now, watched for that time, and taken back
        by themselves when the plug-in degrades or fails or its error rate jumps.
        Raises `ConfigInvalid` with its pointers, `ConfigConflict` for a stale version.
        """
        return self._portal.run(
            self.asave_config(
                name,
                settings,
                version,
                reason=reason,
                author=author,
                canary_seconds=canary_seconds,
            )
        )

    async def aconfig_history(self, name: str) -> Records:
        """Async twin of `config_history`."""
        reply = await self.acall("host.config.history", {"name": name})
        return Records(reply["versions"], kind="versions")

    def config_history(self, name: str) -> Records:
        """Earlier versions of the settings: version, at, author, reason, diff."""
        return self._portal.run(self.aconfig_history(name))

    async def arestore_config(
        self, name: str, version: int, *, author: str | None = None
    ) -> dict[str, Any]:
        """Async twin of `restore_config`."""
        payload = {"name": name, "version": version, "author": author}
        return _dict(await self.acall("host.config.restore", payload))

    def restore_config(
        self, name: str, version: int, *, author: str | None = None
    ) -> dict[str, Any]:
        """Make the settings of an earlier version the current ones, as a new version."""
        return self._portal.run(self.arestore_config(name, version, author=author))

    # -- the end --------------------------------------------------------------------------------
    def close(self) -> None:
        """Leave (an owner: stop the Host too); a second call does nothing."""
        if self._portal.is_current:
            raise WorkbenchError(
                "This is the workbench's own thread, which cannot wait for its own end; "
                "close it from another one."
            )
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            if self._portal.is_open:
                self._portal.run(self._shut())
        finally:
            self._portal.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        import asyncio

        await asyncio.to_thread(self.close)

    async def _shut(self) -> None:
        self._follower.close()
        await self._outbound.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        role = "open" if self.connected else f"gone: {self.lost or 'closed'}"
        plugins = ", ".join(f"{p.name} {p.state}" for p in self.state.plugins.values())
        return f"<{type(self).__name__} {self.workspace} ({role}): {plugins or 'no plug-ins'}>"

    def _ipython_display_(self) -> None:
        hooks.call("display", self)


def _dict(reply: Any) -> dict[str, Any]:
    if not isinstance(reply, dict):
        raise WorkbenchError("The Host gave an answer of an unexpected form.")
    return reply


async def _quietly(outbound: Outbound, subscription: str) -> None:
    try:
        await outbound.unsubscribe(subscription)
    except WorkbenchError:
        return
