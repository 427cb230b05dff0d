"""Answers in pieces: server-sent events, from whatever makes them to a client that may be slow.

Owns the bound on what a client has not read, comments into a silence, and the end: when the client
goes, the work is cancelled; when the work fails, the client is told so in a last event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from bkg_workbench.errors import Overloaded, WorkbenchError
from bkg_workbench.gateway.errors import as_shown
from bkg_workbench.gateway.exchange import Exchange

EVENTS = "text/event-stream; charset=utf-8"
COMMENT = b": still here\n\n"


def event(kind: str | None, data: bytes, key: int | None = None) -> bytes:
    """One event. JSON has no line feed of its own unless a foreign plug-in put one there."""
    lines = b"\ndata: ".join(data.replace(b"\r", b"\n").split(b"\n"))
    head = b"" if key is None else b"id: %d\n" % key
    if kind is not None:
        head += b"event: %b\n" % kind.encode()
    return head + b"data: " + lines + b"\n\n"


def error_event(error: WorkbenchError, exchange: Exchange) -> bytes:
    """The last event of a stream that failed."""
    return event("error", msgspec.json.encode(as_shown(error, exchange.id)))


class Pipe:
    """Bytes on their way to one client."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit, self._what = limit, what
        self._unread = bytearray()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        return not self._unread

    def add(self, data: bytes) -> None:
        """Take bytes now. Raises `Overloaded` where the client is too far behind."""
        if self._unread and len(self._unread) + len(data) > self._limit:
            raise Overloaded(
                f"The stream of {self._what} ended: more than {self._limit // 1024} KiB of it was "
                "not read.",
                capability=self._what,
            )
        self._unread += data
        self._changed.set()

    async def put(self, data: bytes) -> None:
        """Take bytes once the client has read most of what was there."""
        while self._unread and len(self._unread) + len(data) > self._limit:
            self._taken.clear()
            await self._taken.wait()
        self._unread += data
        self._changed.set()

    def take(self) -> bytes:
        """Everything that is there."""
        data = bytes(self._unread)
        self._unread.clear()
        self._changed.clear()
        self._taken.set()
        return data

    async def wait(self, work: asyncio.Future[Any], seconds: float) -> None:
        """Until there is something, the work has ended, or so many seconds are over."""
        waiter = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({waiter, work}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()


async def serve(
    exchange: Exchange,
    pipe: Pipe,
    work: Coroutine[Any, Any, Any],
    *,
    last: Callable[[Any], bytes],
    failed: Callable[[WorkbenchError], bytes],
    at_once: bool = False,
) -> None:
    """Send what `work` puts into the pipe, then `last(its result)` or `failed(its error)`.

    What fails before it has said anything (for `beat_seconds`, unless `at_once`) raises its error,
    so that the client has it with its status.
    """
    limits = exchange.limits
    task = asyncio.ensure_future(work)
    try:
        if not at_once:
            await pipe.wait(task, limits.beat_seconds)
            if task.done() and pipe.is_empty and (error := task.exception()) is not None:
                raise error
        await _send(exchange, None)
        while not (task.done() and pipe.is_empty):
            if pipe.is_empty:
                await pipe.wait(task, limits.beat_seconds)
            if not pipe.is_empty:
                await _send(exchange, pipe.take())
            elif not task.done():
                await _send(exchange, COMMENT)
        try:
            final = last(task.result())
        except WorkbenchError as error:
            final = failed(error)
        await _send(exchange, final, more=False)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _send(exchange: Exchange, data: bytes | None, *, more: bool = True) -> None:
    """Send a piece (None: the head). A client that reads nothing for long is let go."""
    try:
        async with asyncio.timeout(exchange.limits.write_seconds):
            if data is None:
                await exchange.begin(200, EVENTS, {"x-accel-buffering": "no"})
            else:
                await exchange.send({"type": "http.response.body", "body": data, "more_body": more})
    except TimeoutError:
        connection = exchange.request.scope["state"]["connection"]
        connection.transport.abort()
        raise asyncio.CancelledError from None
