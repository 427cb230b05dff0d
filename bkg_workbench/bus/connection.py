"""A registered or attached peer of the hub: its channel, its open requests, its way out.

Owns the outgoing queue with the slow-reader rule, strikes for bad messages and the bucket that
bounds log and telemetry floods. Does not own what messages mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed
from bkg_workbench.bus.clock import Clock
from bkg_workbench.errors import ProtocolError
from bkg_workbench.protocol.envelopes import AnyEnvelope, encode
from bkg_workbench.protocol.session import Session

WRITE_SECONDS = 5.0
"""How long one frame may wait for a peer that does not read before the peer is dropped."""
BACKLOG_BYTES = 1024 * 1024
"""How much a peer may leave unread before streams and subscriptions to it are cut."""
FULL_BYTES = 4 * REGISTERED_LIMIT
"""How much may wait for a peer before nothing new is asked of it."""
STRIKES, STRIKE_SECONDS = 5, 60.0
FLOOD_RATE, FLOOD_BURST = 20_000.0, 100_000.0


class Connection:
    """One peer. `generation` is that of the plug-in's process; 0 for attached clients."""

    def __init__(
        self,
        channel: Channel,
        name: str,
        *,
        clock: Clock,
        kind: Literal["plugin", "client"] = "plugin",
        generation: int = 0,
        protocol: int = 1,
        prefix: str = "",
        limit: int = 256,
    ) -> None:
        self.channel, self.name, self.kind = channel, name, kind
        self.generation, self.protocol = generation, protocol
        self.session = Session(prefix=prefix, who=name, limit=limit)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.closing: list[Callable[[], None]] = []
        self.flood_dropped = 0
        """Log and telemetry messages dropped so far."""
        self.lines_dropped = 0
        """Log lines among them that nobody has been told of yet."""
        self.backlog = 0
        self.fenced = False
        self._clock = clock
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._sending_since: float | None = None
        self._strikes: deque[float] = deque(maxlen=STRIKES)
        self._bucket, self._refilled = FLOOD_BURST, clock.monotonic()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send what is posted."""
        self._writer = asyncio.create_task(self._write(), name=f"bus-writer-{self.name}")

    def post(self, envelope: AnyEnvelope) -> None:
        """Queue an envelope; never waits. After the end it is dropped.

        Raises `ProtocolError` for one that is too large: the peer would close the connection.
        """
        if self._writer is not None and self._writer.done():
            return
        frame = encode(envelope)
        if len(frame) > REGISTERED_LIMIT:
            raise ProtocolError(
                reason=f"it has {len(frame)} bytes and the bus carries {REGISTERED_LIMIT}"
            )
        self._frames.append(frame)
        self.backlog += len(frame)
        self._wake.set()

    @property
    def is_full(self) -> bool:
        """Whether too much waits already: the peer reads more slowly than others ask."""
        return self.backlog > FULL_BYTES

    @property
    def is_stuck(self) -> bool:
        """Whether the peer has not read for `WRITE_SECONDS` while something waits for it."""
        since = self._sending_since
        return since is not None and self._clock.monotonic() - since > WRITE_SECONDS

    def strike(self) -> bool:
        """Count a bad message; True when there were too many of them within a minute."""
        now = self._clock.monotonic()
        self._strikes.append(now)
        return len(self._strikes) == STRIKES and now - self._strikes[0] < STRIKE_SECONDS

    def takes_flood(self) -> bool:
        """Whether one more log or telemetry message fits; one that does not is counted."""
        if self._bucket < 1:
            now = self._clock.monotonic()
            refill = (now - self._refilled) * FLOOD_RATE
            self._bucket = min(FLOOD_BURST, self._bucket + refill)
            self._refilled = now
            if self._bucket < 1:
                self.flood_dropped += 1
                return False
        self._bucket -= 1
        return True

    async def close(self, code: int = 1000, reason: str = "", *, flush: bool = True) -> None:
        """Send what is queued (at most a second), then close."""
        writer = self._writer
        if writer is not None and flush and self._frames and not self.is_stuck:
            self._frames.append(b"")
            self._wake.set()
            await asyncio.wait({writer}, timeout=1.0)
        if writer is not None:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        await self.channel.close(code, reason)

    async def _write(self) -> None:
        frames, send = self._frames, self.channel.send
        while True:
            if not frames:
                self._wake.clear()
                await self._wake.wait()
            frame = frames.popleft()
            if not frame:
                return
            self._sending_since = self._clock.monotonic()
            try:
                await send(frame)
            except ChannelClosed:
                return
            finally:
                self._sending_since = None
                self.backlog -= len(frame)
