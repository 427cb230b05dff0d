"""What the router works on: requests under way, and what it knows of each plug-in.

Owns these records and the interfaces to whoever checks, serves and observes requests. Decides
nothing; `bus.router` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from bkg_workbench.bus.connection import Connection
from bkg_workbench.bus.identity import Caller
from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.envelopes import Progress
from bkg_workbench.protocol.trace import Span

Local = Callable[[msgspec.Raw, Caller], Awaitable[Any]]
"""Serves a `host.*` capability in the Host itself."""

Check = Callable[[str, str, dict[str, Any], msgspec.Raw], Awaitable[None] | None]
"""Validates data against a schema: (capability, "input" or "output", schema, data)."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that has its answer. `outcome` is "ok" or the error's code.

    `at` is when it ended (ms since 1970); `span` is its place in the trace of its caller.
    """

    at: int
    capability: str
    plugin: str | None
    caller: str
    outcome: str
    duration_ms: float
    span: Span | None = None


@dataclass(slots=True)
class Call:
    """One request while it runs."""

    capability: str
    payload: msgspec.Raw
    caller: Caller
    deadline: float | None
    timeout: float | None
    stream: bool = False
    on_chunk: Callable[[msgspec.Raw], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    span: Span | None = None
    plugin: str | None = None
    chunks: int = 0
    future: asyncio.Future[msgspec.Raw] | None = None

    def fail(self, error: WorkbenchError) -> None:
        """End with an error, once."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)


@dataclass
class Entry:
    """What the router knows of one plug-in."""

    name: str
    declared: frozenset[str] = frozenset()
    calls: tuple[str, ...] = ()
    connection: Connection | None = None
    registered: tuple[str, ...] = ()
    routed: frozenset[str] = frozenset()
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    healthy: bool = True
    draining: bool = False
    held: bool = False
    coming: bool = False
    waiting: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def is_live(self, capability: str) -> bool:
        """Whether it can be asked for the capability now."""
        return self.is_open and capability in self.routed

    @property
    def is_open(self) -> bool:
        """Whether it is connected and nobody is about to stop it."""
        return self.connection is not None and not (self.draining or self.held)


class Observer(Protocol):
    """Who is told of finished requests."""

    def finished(self, record: Finished) -> None:
        """A request has its answer."""
