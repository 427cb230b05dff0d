"""The gateway's connections: uvicorn's HTTP/1.1 protocol behind a strict door with deadlines.

Owns what uvicorn does not do: strict heads and lengths before its parser sees them
(`gateway.framing`), deadlines for heads, bodies and silence, how many connections there are, one
request at a time on each, and the end of a request's work when its client goes. The cycle of a
request and its answer is uvicorn's.
"""

from __future__ import annotations

import asyncio
import http
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.gateway import errors
from bkg_workbench.gateway.framing import Framing, Head
from bkg_workbench.gateway.limits import Limits

Keep = Callable[[int], Callable[[], None]]
"""Is told a descriptor, to close it in forked children; gives what forgets it."""

LINGER_BYTES = 8 * 1024 * 1024
"""What is read and dropped at most after a refusal."""


def keep_nothing(_: int) -> Callable[[], None]:
    """Nobody forks."""
    return lambda: None


@dataclass
class Crowd:
    """Who is connected, and what was refused on the wire: shared by all connections."""

    limits: Limits
    keep: Keep = keep_nothing
    connections: int = 0
    clients: Counter[str] = field(default_factory=Counter)
    lingering: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def enter(self, client: str) -> int | None:
        """Count a connection; gives the limit that it breaks, if any (it counts all the same)."""
        self.connections += 1
        self.clients[client] += 1
        if self.connections > self.limits.connections:
            return self.limits.connections
        if self.clients[client] > self.limits.connections_per_client:
            return self.limits.connections_per_client
        return None

    def leave(self, client: str) -> None:
        """A connection has gone."""
        self.connections -= 1
        self.clients[client] -= 1
        if not self.clients[client]:
            del self.clients[client]


class Wire(HttpToolsProtocol):
    """One connection. Its methods belong to the Host's event loop."""

    def __init__(self, config: Config, state: ServerState, crowd: Crowd) -> None:
        super().__init__(config, state, {"connection": self})
        self.is_gone = False
        self.task: asyncio.Task[Any] | None = None
        """What serves the request under way; set by the application."""
        self._crowd, self._limits = crowd, crowd.limits
        self._framing = Framing(crowd.limits)
        self._peer = ""
        self._timer: asyncio.TimerHandle | None = None
        self._forget: Callable[[], None] = lambda: None
        self.is_refused = self._is_lingering = self._is_answered = False
        self._is_kept = False
        self._lingered = 0

    # -- the connection -------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is connected."""
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        broken = self._crowd.enter(self._peer)
        # A child that inherits the socket would keep the client from seeing its end.
        self._forget = self._crowd.keep(transport.get_extra_info("socket").fileno())
        super().connection_made(transport)
        if broken is not None:
            self._refuse(errors.Crowded(limit=broken))
        else:
            self._arm(self._limits.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was let go: whatever works for it ends."""
        self.is_gone = True
        self._disarm()
        self._crowd.leave(self._peer)
        self._forget()
        if self._is_lingering:
            self._crowd.lingering -= 1
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()

    # -- bytes ----------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self.is_refused:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abort()
            return
        if self._is_kept:
            self._is_kept = False
            self._arm(self._limits.head_seconds, self._head_is_late)
        self._framing.feed(data)
        if self._framing.state == "whole":
            if self._framing.waiting_bytes > self._limits.head_bytes:
                self._close()  # it asks on and on without waiting for an answer
            return
        self._read()

    def _read(self) -> None:
        try:
            while (part := self._framing.next()) is not None:
                kind, content = part
                if isinstance(content, Head):
                    self._begin(content)
                else:
                    super().data_received(content)
                    if kind == "end":
                        self._disarm()
                        if self._is_answered:
                            self._await_next()
        except WorkbenchError as error:
            self._refuse(error)

    def _begin(self, head: Head) -> None:
        self._is_answered = False
        if head.length == 0:
            self._disarm()
        else:
            self._arm(self._limits.body_seconds, self._body_is_late)
        super().data_received(head.data)

    def on_response_complete(self) -> None:
        """The answer is out; the next request may begin once this one is read to its end."""
        self.task, self._is_answered = None, True
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the deadlines are ours
        if self.transport.is_closing():
            self._arm(self._limits.write_seconds, self.transport.abort)
        elif not self.is_refused and self._framing.state == "whole":
            self._await_next()

    def _await_next(self) -> None:
        self._framing.start_next()
        if self._framing.is_empty:
            self._is_kept = True
            self._arm(self._limits.keep_alive_seconds, self._close)
        else:
            self._arm(self._limits.head_seconds, self._head_is_late)
            self.loop.call_soon(self._read_next)

    def _read_next(self) -> None:
        if not (self.transport.is_closing() or self.is_refused):
            self._read()

    def shutdown(self) -> None:
        """The server ends: an idle connection at once, another one with its answer."""
        if self._framing.state == "head" and not self.is_refused:
            self._close()
        elif not self.is_refused:
            super().shutdown()

    def _close(self) -> None:
        """Close once what was written is read; not at all read, it is dropped."""
        self.transport.close()
        self._arm(self._limits.write_seconds, self.transport.abort)

    # -- deadlines ------------------------------------------------------------------------------
    def _arm(self, seconds: float, then: Any) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self._framing.is_empty:
            self._close()  # nobody asked anything
        else:
            self._refuse(errors.TooSlow(part="head", seconds=self._limits.head_seconds))

    def _body_is_late(self) -> None:
        self._refuse(errors.TooSlow(part="body", seconds=self._limits.body_seconds))

    # -- refusals -------------------------------------------------------------------------------
    def _refuse(self, error: WorkbenchError) -> None:
        """Answer with an error, unless an answer has begun, and close."""
        self._crowd.refused[error.code] += 1
        cycle: RequestResponseCycle | None = self.cycle
        has_begun = cycle is not None and cycle.response_started and not cycle.response_complete
        has_begun |= self._is_answered and self._framing.state != "head"
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # whoever serves it may not write any more
            if self.task is not None:
                self.task.cancel()
        if not has_begun:
            self.transport.write(_answer(error))
        self._linger()

    def _linger(self) -> None:
        """Say no more, and read what still comes for a moment, or the client sees a reset only."""
        self.is_refused = True
        self._disarm()
        if self._crowd.lingering >= self._limits.connections_per_client:
            self._close()
            return
        self._crowd.lingering += 1
        self._is_lingering = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(self._limits.linger_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's parser refuses what came through our door."""
        self._refuse(errors.Malformed(reason="its parser refused it"))


def _answer(error: WorkbenchError) -> bytes:
    request_id = f"req_{secrets.token_hex(8)}"
    body = errors.body_of(error, request_id)
    fields = [
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        "connection: close",
    ]
    if isinstance(error, errors.MethodNotAllowed):
        fields.append(f"allow: {error.facts['allow']}")
    if (seconds := errors.retry_after(error)) is not None:
        fields.append(f"retry-after: {seconds}")
    return "\r\n".join([*fields, "", ""]).encode() + body
