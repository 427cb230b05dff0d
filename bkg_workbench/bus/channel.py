"""What a connection is to everything above it: frames in, frames out, closed once.

Owns the interface and its in-memory implementation. Nothing above this interface knows which
implementation runs (`bus.websocket` is the other one).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

REGISTERED_LIMIT = 16 * 1024 * 1024
"""Bytes a message may have once the peer is known."""
UNREGISTERED_LIMIT = 64 * 1024
"""Bytes a message may have before."""
FAIR_FRAMES = 32
"""After so many frames a channel lets the loop's other tasks run."""


class ChannelClosed(Exception):
    """The channel is closed. `code` and `reason` are those of the close, if any were given."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        self.code, self.reason = code, reason
        super().__init__(f"closed with {code} {reason}".strip())


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: the path that it asked for, its bearer token, its TCP port."""

    path: str = "/bus"
    token: str | None = None
    port: int | None = None
    local_port: int | None = None


class Channel(ABC):
    """One connection. Frames are UTF-8 JSON texts as bytes; order is kept."""

    peer: Peer = Peer()
    limit: int = UNREGISTERED_LIMIT
    """Bytes that an incoming message may have; a longer one closes the channel with 1009."""
    _turns: int = 0

    @abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send one frame; returns when there is room for the next. Raises `ChannelClosed`."""

    @abstractmethod
    async def receive(self) -> bytes:
        """The next frame. Raises `ChannelClosed`."""

    async def _be_fair(self) -> None:
        # A flood that never has to wait would keep every other task of the loop from its turn.
        self._turns += 1
        if self._turns % FAIR_FRAMES == 0:
            await asyncio.sleep(0)

    async def ping(self, timeout: float) -> bool:
        """Whether the peer answers within `timeout` seconds."""
        return True

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close; a second call does nothing."""


class MemoryChannel(Channel):
    """One end of a pair in one event loop. Make both with `memory_pair()`."""

    def __init__(self, peer: Peer, room: int = 1024) -> None:
        self.peer = peer
        self.other: MemoryChannel
        self._room = room
        self._frames: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._closed: ChannelClosed | None = None

    async def send(self, frame: bytes) -> None:
        await self._be_fair()
        other = self.other
        async with other._changed:
            while len(other._frames) >= other._room and not other._closed:
                await other._changed.wait()
            if self._closed or other._closed:
                closed = self._closed or other._closed or ChannelClosed()
                raise ChannelClosed(closed.code, closed.reason)
            if len(frame) <= other.limit:
                other._frames.append(bytes(frame))
                other._changed.notify_all()
                return
        await other.close(1009, "message too big")
        raise ChannelClosed(1009, "message too big")

    async def receive(self) -> bytes:
        await self._be_fair()
        async with self._changed:
            while not self._frames:
                if self._closed:
                    raise ChannelClosed(self._closed.code, self._closed.reason)
                await self._changed.wait()
            self._changed.notify_all()
            return self._frames.popleft()

    async def ping(self, timeout: float) -> bool:
        return self._closed is None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        for end in (self, self.other):
            async with end._changed:
                if end._closed is None:
                    end._closed = ChannelClosed(code, reason)
                    end._changed.notify_all()


def memory_pair(peer: Peer | None = None) -> tuple[MemoryChannel, MemoryChannel]:
    """Two connected ends: the Host's, which sees `peer`, and the peer's own."""
    host, client = MemoryChannel(peer or Peer()), MemoryChannel(Peer())
    host.other, client.other = client, host
    return host, client
