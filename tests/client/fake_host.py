"""The Host's end of an attached workbench's channel, played by a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bkg_workbench.bus.channel import memory_pair
from bkg_workbench.bus.clock import Clock
from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.protocol.envelopes import (
    AnyEnvelope,
    Event,
    Request,
    Response,
    Welcome,
    decode,
    encode,
    raw,
)


class FakeHost:
    """Speaks for itself: sends envelopes, reads envelopes."""

    def __init__(self) -> None:
        self.channel, self.theirs = memory_pair()
        self.channel.limit = self.theirs.limit = 16 * 1024 * 1024

    async def send(self, envelope: AnyEnvelope) -> None:
        await self.channel.send(encode(envelope))

    async def read(self, kind: type = Request, timeout: float = 5.0) -> Any:
        """The next envelope of this kind."""
        async with asyncio.timeout(timeout):
            while not isinstance(envelope := decode(await self.channel.receive()), kind):
                pass
        return envelope

    async def answer(self, request: Request, data: Any = None) -> None:
        await self.send(Response(request_id=request.request_id, success=True, data=raw(data)))

    async def tell(self, subscription: str, seq: int, data: Any, topic: str = "state") -> None:
        await self.send(Event(subscription=subscription, seq=seq, topic=topic, data=raw(data)))


@asynccontextmanager
async def attached(
    clock: Clock | None = None,
) -> AsyncIterator[tuple[FakeHost, ChannelOutbound]]:
    """A fake host and the outbound that is attached to it."""
    host = FakeHost()
    outbound = ChannelOutbound(host.theirs, "/w", clock)
    await host.send(Welcome(protocol=1, heartbeat_seconds=10, instance="i1"))
    await outbound.start()
    try:
        yield host, outbound
    finally:
        await outbound.aclose()
