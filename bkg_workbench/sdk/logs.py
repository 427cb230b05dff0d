"""Standard `logging` to the bus.

Owns the handler, its bounded buffer (the oldest go first, and are counted) and the mapping of
levels. Does not own redaction or storage: the Host does that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, TextIO

from bkg_workbench.protocol.envelopes import Log

MAX_RECORDS, MAX_BYTES = 5_000, 4 * 1024 * 1024
"""How much is kept while the Host is away or slow."""
MAX_MESSAGE = 16 * 1024
"""Characters of one message; the rest is cut, and said so."""

_SILENT = ("websockets", "asyncio")
"""Loggers whose chatter about a sent log line would be a log line to send."""


class BusLog(logging.Handler):
    """Keeps records until `pump` sends them. `emit` may be called from any thread."""

    def __init__(self, plugin: str) -> None:
        super().__init__()
        self.plugin = self._own = plugin
        self.dropped = 0
        self._guard = threading.RLock()
        self._kept: deque[Log] = deque()
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._called = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what sending itself would cause."""
        noisy = record.name.partition(".")[0] in _SILENT and record.levelno < logging.WARNING
        return not noisy and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as an envelope, dropping the oldest where there is no room."""
        try:
            message = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._keep(
            Log(
                plugin=self.plugin,
                level=level_of(record.levelno),
                message=_clean(message),
                timestamp=int(record.created * 1000),
            )
        )

    def format(self, record: logging.LogRecord) -> str:
        """The message, its traceback, and in front the logger's name where it is another's."""
        text = super().format(record)
        own = record.name in ("root", self._own) or record.name.startswith(f"{self._own}.")
        return text if own else f"{record.name}: {text}"

    def _keep(self, entry: Log) -> None:
        with self._guard:
            self._kept.append(entry)
            self._bytes += len(entry.message)
            while len(self._kept) > MAX_RECORDS or self._bytes > MAX_BYTES:
                self._bytes -= len(self._kept.popleft().message)
                self.dropped += 1
            if self._called or self._loop is None or self._loop.is_closed():
                return
            self._called = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._called = False
        if self._wake is not None:
            self._wake.set()

    async def pump(self, send: Callable[[Log], Awaitable[None]]) -> None:
        """Send what is kept, and what comes, until cancelled or `send` raises."""
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._called = False
        try:
            while True:
                await self.drain(send)
                await self._wake.wait()
                self._wake.clear()
        finally:
            self._loop = self._wake = None

    async def drain(self, send: Callable[[Log], Awaitable[None]]) -> None:
        """Send what is kept. What could not be sent stays."""
        if self.dropped:
            count, self.dropped = self.dropped, 0
            text = f"{count} log lines were dropped because the Host did not take them."
            await send(Log(plugin=self.plugin, level="warn", message=text))
        while self._kept:
            with self._guard:
                entry = self._kept.popleft()
                self._bytes -= len(entry.message)
            try:
                await send(entry)
            except BaseException:
                with self._guard:
                    self._kept.appendleft(entry)
                    self._bytes += len(entry.message)
                raise

    def spill(self, stream: TextIO) -> None:
        """Write what never reached the Host to `stream`, so that nothing is lost in silence."""
        while self._kept:
            entry = self._kept.popleft()
            stream.write(f"{entry.level}: {entry.message}\n")
        self._bytes = 0


def level_of(number: int) -> Literal["debug", "info", "warn", "error"]:
    """The wire's level of a `logging` level number."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"


def _clean(message: str) -> str:
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…[+{len(message) - MAX_MESSAGE} characters]"
    return message if message.isascii() else message.encode("utf-8", "replace").decode()
