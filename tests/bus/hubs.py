"""A hub with its router for tests: real parts, no supervisor, no store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bkg_workbench.bus.calls import Check, Finished
from bkg_workbench.bus.channel import Channel, Peer, memory_pair
from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.bus.connection import Connection
from bkg_workbench.bus.hub import Hub
from bkg_workbench.bus.identity import OWNER, Tokens
from bkg_workbench.bus.router import Router
from bkg_workbench.bus.websocket import Server, connect, serve
from bkg_workbench.protocol.envelopes import (
    AnyEnvelope,
    Health,
    Log,
    Register,
    Telemetry,
    decode,
    encode,
    raw,
    value,
)


@dataclass
class Witness:
    """A listener that keeps what it is told."""

    registrations: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    losses: list[tuple[str, str]] = field(default_factory=list)
    beats: list[Health] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    samples: list[Telemetry] = field(default_factory=list)
    calls: list[Finished] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    missed: int = 0

    def registered(
        self,
        connection: Connection,
        register: Register,
        routed: tuple[str, ...],
        refused: tuple[str, ...],
    ) -> None:
        self.registrations.append((connection.name, routed, refused))

    def disconnected(self, connection: Connection, why: str) -> None:
        self.losses.append((connection.name, why))

    def beat(self, connection: Connection, health: Health) -> None:
        self.beats.append(health)

    def logged(self, connection: Connection, log: Log) -> None:
        self.logs.append(log)

    def sampled(self, connection: Connection, telemetry: Telemetry) -> None:
        self.samples.append(telemetry)

    def flooded(self, connection: Connection, lines: int) -> None:
        self.missed += lines

    def finished(self, record: Finished) -> None:
        self.calls.append(record)

    def refused(self, code: str, text: str) -> None:
        self.refusals.append((code, text))

    def settings(self, plugin: str) -> dict[str, Any] | None:
        return {}


class Bus:
    """A hub that a test drives: define, connect peers of any kind, call."""

    def __init__(self, clock: Clock | None = None, check: Check | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.witness = Witness()
        self.tokens = Tokens(lambda _peer, _host: None)
        self.router = Router(self.clock, self.witness, check)
        self.hub = Hub(
            clock=self.clock,
            listener=self.witness,
            tokens=self.tokens,
            router=self.router,
            instance="test",
        )
        self.server: Server | None = None
        self._accepting: list[asyncio.Task[None]] = []

    def define(self, name: str, *capabilities: str, calls: tuple[str, ...] = ()) -> str:
        """Declare a plug-in; its token."""
        self.router.define(name, list(capabilities), list(calls))
        return self.tokens.issue(name, 1)

    def dial(self, token: str | None, path: str = "/bus") -> Channel:
        """The peer's end of a memory channel."""
        host, peer = memory_pair(Peer(path=path, token=token))
        self._accepting.append(asyncio.create_task(self.hub.accept(host)))
        return peer

    async def listen(self) -> int:
        """Listen on a real port."""
        self.server = await serve(self.hub.accept, admit=self.hub.admit)
        return self.server.port

    async def dial_tcp(self, token: str | None, path: str = "/bus") -> Channel:
        """The peer's end of a WebSocket."""
        assert self.server is not None
        return await connect(f"ws://127.0.0.1:{self.server.port}{path}", token=token)

    async def call(self, capability: str, payload: Any = None, **more: Any) -> Any:
        """The decoded result of a request by the owner."""
        return value(await self.router.call(capability, raw(payload or {}), OWNER, **more))

    async def close(self) -> None:
        await self.hub.close()
        if self.server is not None:
            await self.server.close()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)


@asynccontextmanager
async def bus(clock: Clock | None = None, check: Check | None = None) -> AsyncIterator[Bus]:
    made = Bus(clock, check)
    made.hub.start()
    try:
        yield made
    finally:
        await made.close()


class Peer0:
    """A bare peer: sends envelopes or bytes, reads envelopes. It speaks for itself."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def send(self, envelope: AnyEnvelope) -> None:
        await self.channel.send(encode(envelope))

    async def read(self, timeout: float = 5.0) -> AnyEnvelope:
        async with asyncio.timeout(timeout):
            return decode(await self.channel.receive())

    async def read_until(self, kind: type, timeout: float = 5.0) -> Any:
        async with asyncio.timeout(timeout):
            while not isinstance(envelope := decode(await self.channel.receive()), kind):
                pass
        return envelope


async def register(
    channel: Channel, name: str, *capabilities: str, protocol: int = 1, **meta: Any
) -> Peer0:
    """Register a bare peer as a plug-in."""
    peer = Peer0(channel)
    await peer.send(
        Register(
            plugin=name,
            port="internal",
            capabilities=list(capabilities),
            meta={**({"protocol": protocol} if protocol else {}), **meta},
        )
    )
    return peer


Answer = Callable[[Any], Awaitable[Any]]
