"""What each route answers: the handlers behind the door, in the caller's name.

Owns how path, query and body become a capability's payload, and how its result becomes an answer.
Who the caller is and whether the route is theirs was settled before (`gateway.app`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from bkg_workbench.client.outbound import OnProgress
from bkg_workbench.errors import (
    CapabilityNotFound,
    InvalidParams,
    Overloaded,
    PluginNotFound,
)
from bkg_workbench.gateway import docs, logs, metrics, views
from bkg_workbench.gateway.auth import GATEWAY
from bkg_workbench.gateway.door import Door, OnChunk, encoded, is_streamed, plain, schema_of
from bkg_workbench.gateway.errors import AuthUnavailable, NotFound
from bkg_workbench.gateway.exchange import Exchange
from bkg_workbench.gateway.limits import Limits
from bkg_workbench.gateway.openai import OpenAi
from bkg_workbench.gateway.payloads import from_query
from bkg_workbench.gateway.routes import Served
from bkg_workbench.gateway.streams import Pipe, error_event, event, serve
from bkg_workbench.protocol.capabilities import TABLE, Capability, covers, is_name
from bkg_workbench.protocol.envelopes import Progress, raw
from bkg_workbench.protocol.routes import ADMIN

USUAL_SECONDS = 30.0
SECONDS = {
    "host.plugin.start": 700.0,
    "host.plugin.stop": 120.0,
    "host.plugin.restart": 700.0,
    "host.plugin.rebuild": 700.0,
    "host.plugins.remove": 120.0,
    "llm.chat": 600.0,
    "llm.embed": 120.0,
}
"""How long a client waits that does not say so; as long as the work may take."""
NOT_HERE = ("host.subscribe", "host.unsubscribe")
"""They need a connection that stays; over HTTP the streams are what follows."""

EMPTY = msgspec.Raw(b"{}")

Handler = Callable[[Exchange, Served], Awaitable[None]]


class Answers:
    """The handlers of one gateway, by the name of the view."""

    def __init__(self, door: Door, limits: Limits) -> None:
        self._door, self._limits = door, limits
        self.in_flight: Counter[str] = Counter()
        self.closing = asyncio.Event()
        """Set when the gateway ends: what never ends by itself does so then."""
        self.meter = metrics.HttpMeter()
        openai = OpenAi(self)
        self.handlers: dict[str, Handler] = {
            "result": self.result,
            "status": self.view(views.status),
            "capabilities": self.view(views.capabilities),
            "summary": self.summary,
            "follow": lambda exchange, _: logs.follow(exchange, door, self.closing),
            "login": self.login,
            "health": self.health,
            "capability": self.capability,
            "metrics": self.metrics,
            "docs": self.docs,
            "chat": lambda exchange, _: openai.chat(exchange),
            "openai": lambda exchange, _: openai.embed(exchange),
            "models": lambda exchange, _: openai.models(exchange),
        }

    # -- asking ---------------------------------------------------------------------------------
    async def call(
        self,
        exchange: Exchange,
        capability: str,
        payload: msgspec.Raw,
        *,
        timeout: float,
        on_chunk: OnChunk | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Ask for a capability in the caller's name. Raises the answer's error, `Overloaded`."""
        assert exchange.caller is not None
        exchange.capability = capability
        limit = self._limits.calls_per_capability
        if self.in_flight[capability] >= limit:
            raise Overloaded(who=capability, limit=limit)
        self.in_flight[capability] += 1
        try:
            return await self._door.call(
                capability,
                payload,
                exchange.caller,
                timeout=timeout,
                on_chunk=on_chunk,
                on_progress=on_progress,
                traceparent=exchange.traceparent,
            )
        finally:
            self.in_flight[capability] -= 1
            if not self.in_flight[capability]:
                del self.in_flight[capability]

    async def _payload(self, exchange: Exchange, row: Capability) -> msgspec.Raw:
        """Path, then query or body; a field of the path stands in neither."""
        for name in ("name", "plugin"):
            plugin = exchange.params.get(name)
            known = self._door.state.plugins
            if plugin is not None and plugin not in known and plugin not in logs.NOT_PLUGINS:
                raise PluginNotFound(plugin=plugin[:80], known=sorted(known))
        if exchange.method == "GET":
            return raw(self._queried(exchange, row))
        given, undecoded = await exchange.object()
        if exchange.params or _has_author(row):
            return raw(self._signed(exchange, row.name, _joined(row.name, given, exchange.params)))
        return undecoded

    def _queried(self, exchange: Exchange, row: Capability) -> dict[str, Any]:
        if row.params is None:
            schema = (schema_of(self._door.state, row.name) or {}).get("input")
            return {**from_query(row.name, exchange.query, schema), **exchange.params}
        given: dict[str, Any] = {}
        for name, text in exchange.query:
            if name in given:
                raise InvalidParams(capability=row.name, errors={f"/{name}": "it is given twice"})
            given[name] = text
        try:
            asked = msgspec.convert(
                _joined(row.name, given, exchange.params), row.params, strict=False
            )
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$.")
            pointer = f"/{place.rstrip('`')}" if place else ""
            raise InvalidParams(capability=row.name, errors={pointer: reason}) from None
        return {
            key: value for key, value in msgspec.to_builtins(asked).items() if value is not None
        }

    def _signed(
        self, exchange: Exchange, capability: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """With the caller as its author, whatever the body says."""
        assert exchange.caller is not None
        if _has_author(TABLE.get(capability)):
            payload["author"] = exchange.caller.name
        return payload

    # -- handlers -------------------------------------------------------------------------------
    async def result(self, exchange: Exchange, served: Served) -> None:
        """The capability's result."""
        row = served.row
        assert row is not None
        payload = await self._payload(exchange, row)
        timeout = exchange.timeout(SECONDS.get(row.name, USUAL_SECONDS))
        result = await self.call(exchange, row.name, payload, timeout=timeout)
        await exchange.answer(encoded(views.masked(result)))

    def view(self, shown: Callable[[Any], Any]) -> Handler:
        """A handler that shows a part of the capability's result."""

        async def handler(exchange: Exchange, served: Served) -> None:
            row = served.row
            assert row is not None
            payload = await self._payload(exchange, row)
            result = await self.call(exchange, row.name, payload, timeout=USUAL_SECONDS)
            await exchange.answer(msgspec.json.encode(shown(result)))

        return handler

    async def summary(self, exchange: Exchange, _: Served) -> None:
        """Each plug-in's newest sample."""
        latest = {}
        for name in self._door.state.plugins:
            reply = await self.call(
                exchange,
                "host.telemetry.query",
                raw({"plugin": name, "limit": 1}),
                timeout=USUAL_SECONDS,
            )
            latest[name] = plain(reply)["records"]
        await exchange.answer(msgspec.json.encode(views.summary(self._door.state, latest)))

    async def login(self, exchange: Exchange, _: Served) -> None:
        """A session for a user; apikeys is told where from, to slow down who guesses."""
        given, _undecoded = await exchange.object()
        schema = (schema_of(self._door.state, "auth.login") or {}).get("input") or {}
        given.pop("source", None)
        if "source" in schema.get("properties", {}) and exchange.request.client is not None:
            given["source"] = exchange.request.client.host
        exchange.caller = GATEWAY
        try:
            result = await self.call(exchange, "auth.login", raw(given), timeout=USUAL_SECONDS)
        except CapabilityNotFound:
            raise AuthUnavailable(
                "Nobody can log in: this workspace has no plug-in apikeys."
            ) from None
        await exchange.answer(encoded(result))

    async def health(self, exchange: Exchange, _: Served) -> None:
        """Up; and for an admin how it is."""
        caller, shown = exchange.caller, {"status": "up"}
        if caller is not None and any(covers(grant, ADMIN) for grant in caller.scopes):
            reply = await self.call(exchange, "host.metrics", EMPTY, timeout=USUAL_SECONDS)
            shown = views.health(self._door.state, self.in_flight, plain(reply))
        await exchange.answer(msgspec.json.encode(shown))

    async def metrics(self, exchange: Exchange, _: Served) -> None:
        """The counters, for Prometheus."""
        reply = await self.call(exchange, "host.metrics", EMPTY, timeout=USUAL_SECONDS)
        accept = ", ".join(exchange.fields("accept"))
        body, kind = await asyncio.to_thread(metrics.exposed, plain(reply), self.meter, accept)
        await exchange.answer(body, kind=kind)

    async def docs(self, exchange: Exchange, _: Served) -> None:
        """The page that describes the routes, and its files."""
        name = exchange.params.get("file")
        found = docs.page() if name is None else docs.file(name)
        if found is None:
            raise NotFound(path=exchange.path[:200])
        body, headers = found
        shown = {name.lower(): value for name, value in headers.items()}
        kind = shown.pop("content-type")
        await exchange.answer(body, kind=kind, headers=shown)

    async def capability(self, exchange: Exchange, _: Served) -> None:
        """Any capability of any plug-in: its result, or events where the client asks for them."""
        name = exchange.params["capability"]
        if not is_name(name) or name in NOT_HERE:
            raise CapabilityNotFound(capability=name[:128])
        given, payload = await exchange.object()
        if _has_author(TABLE.get(name)):
            payload = raw(self._signed(exchange, name, given))
        timeout = exchange.timeout(SECONDS.get(name, USUAL_SECONDS))
        streams = given.get("stream") is True and is_streamed(self._door.state, name)
        if not (exchange.wants_events or streams):
            result = await self.call(exchange, name, payload, timeout=timeout)
            await exchange.answer(encoded(views.masked(result)))
            return
        await self._events(exchange, name, payload, timeout)

    async def _events(
        self, exchange: Exchange, name: str, payload: msgspec.Raw, timeout: float
    ) -> None:
        """Events `chunk` and `progress`, and at the end `result` or `error`."""
        pipe = Pipe(exchange.limits.unread_bytes, name)
        count = 0

        def on_chunk(data: msgspec.Raw) -> None:
            nonlocal count
            pipe.add(event("chunk", bytes(data), count))
            count += 1

        def on_progress(progress: Progress) -> None:
            if pipe.is_empty:  # the next one says more than this one
                told = {
                    "value": progress.value, "total": progress.total, "message": progress.message,
                }  # fmt: skip
                pipe.add(event("progress", msgspec.json.encode(told)))

        streams = is_streamed(self._door.state, name)
        await serve(
            exchange,
            pipe,
            self.call(
                exchange,
                name,
                payload,
                timeout=timeout,
                on_chunk=on_chunk if streams else None,
                on_progress=on_progress,
            ),
            last=lambda result: event("result", encoded(views.masked(result))),
            failed=lambda error: error_event(error, exchange),
        )


def _has_author(row: Capability | None) -> bool:
    return row is not None and row.params is not None and "author" in row.params.__struct_fields__


def _joined(capability: str, given: dict[str, Any], params: dict[str, str]) -> dict[str, Any]:
    for name, text in params.items():
        if given.get(name, text) != text:
            raise InvalidParams(
                capability=capability, errors={f"/{name}": "it stands in the path already"}
            )
    return {**given, **params}
