"""The Host's gateway: its port, and the door through which it asks.

Owns the place of the gateway in a Host's life: the port is bound when the Host starts (so that a
port that is held is told at once), and served as soon as the server's modules are loaded, which is
not waited for. The gateway itself is `bkg_workbench.gateway`, which knows no engine.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.bus.calls import Finished
from bkg_workbench.bus.identity import Caller
from bkg_workbench.client.outbound import OnEvent, OnProgress
from bkg_workbench.host import ports
from bkg_workbench.protocol.state import Port, WorkbenchState
from bkg_workbench.supervisor.process import close_in_forked_children

if TYPE_CHECKING:
    from bkg_workbench.gateway.app import Done
    from bkg_workbench.gateway.server import Gateway
    from bkg_workbench.host.engine import Engine

VARIABLE = "BKG_API_PORT"


class HostDoor:
    """The engine as `gateway.door.Door`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def state(self) -> WorkbenchState:
        """What everybody sees."""
        return self._engine.state

    async def call(
        self,
        capability: str,
        payload: msgspec.Raw,
        caller: Caller,
        *,
        timeout: float | None,
        on_chunk: Callable[[msgspec.Raw], None] | None = None,
        on_progress: OnProgress | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Ask in the caller's name; the router checks their scopes."""
        return await self._engine.router.call(
            capability,
            payload,
            caller,
            timeout=timeout,
            stream=on_chunk is not None,
            on_chunk=on_chunk,
            on_progress=on_progress,
            traceparent=traceparent,
        )

    def follow(self, topics: list[str], on_event: OnEvent) -> Callable[[], None]:
        """Be told of topics' events."""
        subscriptions = self._engine.subscriptions
        key = subscriptions.add(topics, on_event=on_event)
        return lambda: subscriptions.remove(key)

    def note(self, level: str, text: str) -> None:
        """A line in the Host's own log."""
        self._engine.logs.append("host", "host", level, text)


class ApiPort:
    """The gateway of one Host. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listener: socket.socket | None = None
        self._starting: asyncio.Task[None] | None = None
        self.gateway: Gateway | None = None

    @property
    def file_descriptors(self) -> list[int]:
        """Of the listening socket, to be closed in forked children."""
        return [self._listener.fileno()] if self._listener is not None else []

    def open(self) -> None:
        """Bind the port and begin to serve. Raises `PortTaken`, `WorkspaceError`."""
        self._listener = ports.bind(VARIABLE)
        self._starting = asyncio.create_task(self._serve(self._listener), name="host-gateway")

    @property
    def row(self) -> Port:
        """The gateway's row of the port table."""
        assert self._listener is not None
        port = int(self._listener.getsockname()[1])
        return Port(
            name="gateway", port=port, url=f"http://127.0.0.1:{port}", owner=f"pid {os.getpid()}"
        )

    async def _serve(self, listener: socket.socket) -> None:
        gateway = await asyncio.to_thread(self._make, listener)
        gateway.app.observers.append(self._trace)
        await gateway.start()
        self.gateway = gateway

    def _make(self, listener: socket.socket) -> Gateway:
        # Hundreds of milliseconds of imports: not on the loop, and not before a Host needs them.
        from bkg_workbench.gateway.server import Gateway

        return Gateway(
            HostDoor(self._engine),
            listener,
            extra_hosts=ports.allowed_hosts(),
            keep=close_in_forked_children,
        )

    def _trace(self, done: Done) -> None:
        """Send the request's own span too, if traces are collected at all."""
        engine = self._engine
        if engine.tracer is not None:
            engine.tracer.finished(
                Finished(
                    at=engine.clock.now_ms(),
                    capability=f"{done.method} {done.route or 'unknown'}",
                    plugin="gateway",
                    caller="http",
                    outcome=done.code,
                    duration_ms=done.seconds * 1000,
                    span=done.span,
                )
            )

    async def aclose(self) -> None:
        """Take nothing new, let what is under way end, close; a second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        assert self._starting is not None
        await asyncio.gather(self._starting, return_exceptions=True)
        if self.gateway is not None:
            await self.gateway.aclose()
        listener.close()
