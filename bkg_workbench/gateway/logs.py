"""Log lines over HTTP as they come: events numbered by the line's `seq`, resumed without a gap.

Owns the parameters of the stream. How a query and a subscription are joined is `client.tail`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec

from bkg_workbench.bus.identity import Caller
from bkg_workbench.client.records import Records
from bkg_workbench.client.tail import Tail
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import InvalidParams, PluginNotFound
from bkg_workbench.gateway.door import Door, plain
from bkg_workbench.gateway.exchange import Exchange
from bkg_workbench.gateway.streams import Pipe, error_event, event, serve
from bkg_workbench.protocol.envelopes import raw
from bkg_workbench.protocol.state import WorkbenchState

LINES = 100
"""Older lines that come first, where nobody says."""
NOT_PLUGINS = ("host", "web")


class Follow(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The query of `GET /admin/plugins/{plugin}/logs`. `after` is a `seq` that was seen last."""

    after: int | None = None
    lines: int = LINES
    level: str | None = None
    source: str | None = None
    text: str | None = None
    regex: str | None = None
    since: int | None = None
    until: int | None = None


class Reader:
    """What a `Tail` needs of a `Workbench`, asked in the caller's name."""

    connected = True

    def __init__(self, door: Door, caller: Caller) -> None:
        self._door, self._caller = door, caller
        self.workspace = door.state.workspace

    @property
    def state(self) -> WorkbenchState:
        """What everybody sees."""
        return self._door.state

    def on_change(self, _: Callable[[WorkbenchState], None]) -> Callable[[], None]:
        """The Host never loses itself."""
        return lambda: None

    async def afollow(
        self, topics: list[str], callback: Callable[[str, Any], None]
    ) -> Callable[[], None]:
        """Be told of new lines."""
        return self._door.follow(topics, lambda topic, _seq, data: callback(topic, data))

    async def alogs(self, plugin: str | None = None, **filters: Any) -> Records:
        """Log records; the caller's scopes count."""
        answer = await self._door.call(
            "host.logs.query", raw({"plugin": plugin, **filters}), self._caller, timeout=30.0
        )
        reply = plain(answer)
        return Records(
            reply["records"], int(reply["next"]), kind="logs", behind=bool(reply.get("behind"))
        )


async def follow(exchange: Exchange, door: Door, closing: asyncio.Event) -> None:
    """Answer with the plug-in's lines for as long as the client listens, until `closing`."""
    caller, plugin = exchange.caller, exchange.params["plugin"]
    assert caller is not None
    if plugin not in door.state.plugins and plugin not in NOT_PLUGINS:
        raise PluginNotFound(plugin=plugin, known=sorted(door.state.plugins))
    asked = _asked(exchange)
    filters = {
        k: v for k, v in msgspec.structs.asdict(asked).items() if k not in ("after", "lines")
    }
    reader = Reader(door, caller)
    # Wrong filters are told with their status, before the stream begins.
    await reader.alogs(plugin, limit=1, **{k: v for k, v in filters.items() if v is not None})
    tail = Tail(
        cast(Workbench, reader), plugin, after=asked.after, lines=asked.lines, filters=filters
    )
    pipe = Pipe(exchange.limits.unread_bytes, f"the log of {plugin}")

    async def lines() -> None:
        async with contextlib.aclosing(tail.batches()) as batches:
            async for records in batches:
                await pipe.put(b"".join(map(_event, records)))

    await serve(
        exchange,
        pipe,
        _until(closing, lines()),
        last=lambda _: b"",
        failed=lambda error: error_event(error, exchange),
        at_once=True,
    )


async def _until(closing: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """The work until its end or `closing`."""
    reading, ending = asyncio.ensure_future(work), asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
    finally:
        reading.cancel()
        ending.cancel()
        await asyncio.gather(reading, ending, return_exceptions=True)


def _event(record: dict[str, Any]) -> bytes:
    return event("log", msgspec.json.encode(record), int(record["seq"]))


def _asked(exchange: Exchange) -> Follow:
    found: dict[str, str] = {}
    for name, text in exchange.query:
        if name in found:
            raise _wrong(name, "it is given twice")
        found[name] = text
    resumed = exchange.fields("last-event-id")
    if resumed and resumed[-1].strip():
        found["after"] = resumed[-1].strip()
    try:
        asked = msgspec.convert(found, Follow, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        raise _wrong(place.rstrip("`"), reason) from None
    if asked.after is not None and not 0 <= asked.after < 2**53:
        raise _wrong("after", "it is no number of a line")
    if not 0 <= asked.lines <= 10_000:
        raise _wrong("lines", "it must be from 0 to 10000")
    return asked


def _wrong(name: str, why: str) -> InvalidParams:
    return InvalidParams(capability="host.logs.query", errors={f"/{name}" if name else "": why})
