"""The Host's end of a memory pair, spoken by a test: small, real envelopes, no behaviour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bkg_workbench.bus.channel import REGISTERED_LIMIT, ChannelClosed, MemoryChannel, memory_pair
from bkg_workbench.protocol.envelopes import (
    AnyEnvelope,
    Chunk,
    Register,
    Request,
    Response,
    Welcome,
    decode,
    encode,
    raw,
    value,
)
from bkg_workbench.sdk import Plugin

E = TypeVar("E")


class FakeHost:
    """Sends envelopes to a plug-in, and keeps what it sends until a test asks for it."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.channel = channel
        channel.limit = REGISTERED_LIMIT
        self._kept: list[AnyEnvelope] = []
        self._ids = 0

    async def send(self, envelope: AnyEnvelope) -> None:
        await self.channel.send(encode(envelope))

    async def next(
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, timeout: float = 5.0
    ) -> E:
        """The next envelope of `kind`; others are kept for whoever asks for them."""
        for index, kept in enumerate(self._kept):
            if isinstance(kept, kind) and where(kept):
                return self._kept.pop(index)  # type: ignore[return-value]
        async with asyncio.timeout(timeout):
            while True:
                envelope = decode(await self.channel.receive())
                if isinstance(envelope, kind) and where(envelope):
                    return envelope
                self._kept.append(envelope)

    def waiting(self, kind: type[E]) -> list[E]:
        """Envelopes of `kind` that have come and were not asked for; takes them."""
        frames = self.channel._frames
        self._kept += [decode(frame) for frame in frames]
        frames.clear()
        found = [kept for kept in self._kept if isinstance(kept, kind)]
        self._kept = [kept for kept in self._kept if not isinstance(kept, kind)]
        return found

    async def welcome(self, heartbeat_seconds: float = 10.0, settings: Any = None) -> Register:
        register = await self.next(Register)
        await self.send(Welcome(protocol=1, heartbeat_seconds=heartbeat_seconds, settings=settings))
        return register

    async def end(self) -> int:
        """The code that the plug-in closes with."""
        try:
            async with asyncio.timeout(5.0):
                while True:
                    await self.channel.receive()
        except ChannelClosed as closed:
            return closed.code

    async def request(self, capability: str, payload: Any = None, **fields: Any) -> str:
        """Send a request; its id."""
        self._ids += 1
        request_id = f"h{self._ids}"
        await self.send(
            Request(request_id=request_id, capability=capability, payload=raw(payload), **fields)
        )
        return request_id

    async def response(self, request_id: str) -> Response:
        return await self.next(Response, lambda r: r.request_id == request_id)

    async def ask(self, capability: str, payload: Any = None, **fields: Any) -> Any:
        """The data of a successful answer; fails the test for an error."""
        response = await self.response(await self.request(capability, payload, **fields))
        assert response.success, response
        return value(response.data)

    async def fail(self, capability: str, payload: Any = None, **fields: Any) -> Response:
        """The failed answer; fails the test for a success."""
        response = await self.response(await self.request(capability, payload, **fields))
        assert not response.success, response
        return response

    async def stream(self, capability: str, payload: Any = None) -> tuple[list[Chunk], Response]:
        """All chunks of a streamed answer, and its closing response."""
        request_id = await self.request(capability, payload, stream=True)
        response = await self.response(request_id)
        chunks = [c for c in self.waiting(Chunk) if c.request_id == request_id]
        return chunks, response


@asynccontextmanager
async def served(
    plugin: Plugin, settings: dict[str, Any] | None = None, welcome: bool = True
) -> AsyncIterator[FakeHost]:
    """The plug-in at work at the other end; stopped afterwards, in order."""
    host_end, plugin_end = memory_pair()
    host = FakeHost(host_end)
    task = asyncio.create_task(plugin.serve(plugin_end, settings))
    try:
        if welcome:
            await host.welcome()
        yield host
    finally:
        plugin.stop()
        plugin.stop()
        async with asyncio.timeout(5):
            await task
