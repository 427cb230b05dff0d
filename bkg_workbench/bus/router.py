"""Requests on their way: from whoever asks to the plug-in that answers, and back.

Owns which plug-ins are there to be asked, waiting for one that is coming, deadlines, failover,
drain, and the token by which a plug-in may act for its caller. Does not own sockets or handshakes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from bkg_workbench.bus.calls import Call, Check, Entry, Finished, Local, Observer
from bkg_workbench.bus.clock import Clock
from bkg_workbench.bus.connection import Connection
from bkg_workbench.bus.identity import Caller
from bkg_workbench.errors import (
    CapabilityUnavailable,
    Overloaded,
    PluginDisconnected,
    PluginFailure,
    PluginNotFound,
    ProtocolError,
    RequestTimeout,
    WorkbenchError,
)
from bkg_workbench.protocol.envelopes import NULL, Config, Progress, raw
from bkg_workbench.protocol.routing import Provider, choose, conflicts
from bkg_workbench.protocol.session import (
    MAX_TIMEOUT,
    Answered,
    Asked,
    Outcome,
    Progressed,
    Streamed,
)
from bkg_workbench.protocol.trace import hop

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 30.0
SWEEP_SECONDS = 0.1
MAX_WAITING = 256


class Router:
    """All requests of one Host. Its methods belong to the Host's event loop."""

    def __init__(self, clock: Clock, observer: Observer, check: Check | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.local: dict[str, Local] = {}
        self.tokens: dict[str, Caller] = {}
        self._clock, self._observer, self._check = clock, observer, check
        self._changed = asyncio.Event()

    # -- what is there --------------------------------------------------------------------------
    def define(self, name: str, capabilities: list[str], calls: list[str]) -> None:
        """A plug-in may serve `capabilities` and request `calls`."""
        entry = self.entries.setdefault(name, Entry(name))
        entry.declared, entry.calls = frozenset(capabilities), tuple(calls)
        if entry.connection is not None:
            entry.routed = frozenset(conflicts(name, entry.registered, capabilities)[0])
        self._notify()

    def remove(self, name: str) -> None:
        """The plug-in's definition has gone."""
        self.entries.pop(name, None)
        self._notify()

    def expect(self, name: str, coming: bool) -> None:
        """Whether the plug-in will be there by itself: then new requests wait for it."""
        entry = self.entries.get(name)
        if entry is not None and entry.coming != coming:
            entry.coming = coming
            self._notify()

    def hold(self, name: str, held: bool) -> None:
        """Send nothing new to a plug-in that is being stopped, though it be connected still."""
        entry = self.entries.get(name)
        if entry is not None and entry.held != held:
            entry.held = held
            self._notify()

    def connected(
        self,
        connection: Connection,
        registered: tuple[str, ...],
        schemas: dict[str, dict[str, Any]],
    ) -> None:
        """A plug-in has registered; requests go to it from now on."""
        entry = self.entries[connection.name]
        entry.connection, entry.registered = connection, registered
        entry.routed = frozenset(conflicts(connection.name, registered, entry.declared)[0])
        entry.schemas, entry.healthy, entry.draining = schemas, True, False
        self._notify()

    def disconnected(self, connection: Connection) -> None:
        """The connection has gone; its requests fail now."""
        entry = self.entries.get(connection.name)
        if entry is not None and entry.connection is connection:
            entry.connection, entry.routed, entry.draining = None, frozenset(), False
        asked, _ = connection.session.close()
        for one in asked:
            self._fail_lost(one, connection.name)
        if entry is not None:
            entry.idle.set()
        self._notify()

    def healthy(self, name: str, healthy: bool) -> None:
        """Prefer, or no longer prefer, the plug-in among several providers."""
        if entry := self.entries.get(name):
            entry.healthy = healthy

    async def drain(self, name: str, seconds: float) -> bool:
        """Send nothing more to the plug-in and wait for what is in flight. True: all answered."""
        entry = self.entries.get(name)
        if entry is None or entry.connection is None:
            return True
        entry.draining = True
        self._notify()
        end = self._clock.monotonic() + seconds
        connection = entry.connection
        while connection.session.asked and entry.connection is connection:
            left = end - self._clock.monotonic()
            if left <= 0:
                return False
            entry.idle.clear()
            waiter = asyncio.ensure_future(entry.idle.wait())
            timer = asyncio.ensure_future(self._clock.sleep(left))
            await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            timer.cancel()
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- asking ---------------------------------------------------------------------------------
    async def call(
        self,
        capability: str,
        payload: msgspec.Raw,
        caller: Caller,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        stream: bool = False,
        on_chunk: Callable[[msgspec.Raw], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        traceparent: str | None = None,
    ) -> msgspec.Raw | Any:
        """Ask for a capability and give its result (undecoded; plain values from `host.*`).

        `timeout` is in seconds. With `on_chunk` the pieces of a streamed reply are handed over as
        they come, and the result is what the chunks do not hold. The request becomes a span below
        `traceparent`, and what it causes a span below its own. Raises any `RequestError`.
        """
        started = self._clock.monotonic()
        if timeout is not None and timeout > MAX_TIMEOUT:
            timeout = None
        deadline = None if timeout is None else started + timeout
        span = hop(traceparent, trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8))
        call = Call(
            capability, payload, caller, deadline, timeout, stream, on_chunk, on_progress, span
        )
        outcome = "internal_error"
        try:
            caller.require(capability)
            local = self.local.get(capability)
            result = await (self._call_local(local, call) if local else self._route(call))
            outcome = "ok"
            return result
        except WorkbenchError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "request_cancelled"
            raise
        finally:
            self._observer.finished(
                Finished(
                    at=self._clock.now_ms(),
                    capability=capability,
                    plugin="host" if capability in self.local else call.plugin,
                    caller=caller.name,
                    outcome=outcome,
                    duration_ms=(self._clock.monotonic() - started) * 1000,
                    span=span,
                )
            )

    async def _call_local(self, local: Local, call: Call) -> Any:
        result = await self._in_time(asyncio.ensure_future(local(call.payload, call.caller)), call)
        if call.stream and call.on_chunk:
            call.on_chunk(raw(result))
            return NULL
        return result

    async def _route(self, call: Call) -> msgspec.Raw:
        asked: set[str] = set()
        while True:
            provider = choose(call.capability, self._providers(call.capability, asked))
            if provider is None:
                await self._wait(call)
                continue
            entry = self.entries[provider.plugin]
            connection = entry.connection
            assert connection is not None
            call.plugin = provider.plugin
            schema = entry.schemas.get(call.capability, {})
            await self._validate(call.capability, "input", schema, call.payload)
            if entry.connection is not connection or not entry.is_live(call.capability):
                continue  # it went away, or is being stopped, while the payload was checked
            try:
                return await self._ask(entry, connection, schema, call)
            except PluginDisconnected:
                if entry.connection is connection:
                    raise  # it is there: this is its own answer, about one that it asked
                asked.add(provider.plugin)
                others = self._providers(call.capability, asked)
                if call.chunks or not schema.get("idempotent") or not any(p.live for p in others):
                    raise

    def _providers(self, capability: str, but: set[str]) -> list[Provider]:
        return [
            Provider(
                entry.name,
                live=entry.is_live(capability),
                # One that is here already and did not register it will not do so by itself.
                coming=entry.coming and not entry.is_open,
                healthy=entry.healthy,
                in_flight=len(entry.connection.session.asked) if entry.connection else 0,
            )
            for entry in self.entries.values()
            if capability in entry.declared and entry.name not in but
        ]

    async def _wait(self, call: Call) -> None:
        """Until something changes among the plug-ins, or the call's time is over."""
        coming = [e for e in self.entries.values() if call.capability in e.declared and e.coming]
        if all(e.waiting >= MAX_WAITING for e in coming):
            raise Overloaded(
                f"{MAX_WAITING} requests wait for {call.capability} already; try again in a "
                "moment.",
                limit=MAX_WAITING,
            )
        for entry in coming:
            entry.waiting += 1
        try:
            changed = self._changed
            await self._in_time(asyncio.ensure_future(changed.wait()), call)
        finally:
            for entry in coming:
                entry.waiting -= 1

    async def _in_time(self, task: asyncio.Future[Any], call: Call) -> Any:
        """The task's result, or `RequestTimeout` at the call's deadline with the task ended."""
        if call.deadline is None:
            return await task
        left = call.deadline - self._clock.monotonic()
        timer = asyncio.ensure_future(self._clock.sleep(max(0.0, left)))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise RequestTimeout(capability=call.capability, seconds=call.timeout)
        finally:
            timer.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _ask(
        self, entry: Entry, connection: Connection, schema: dict[str, Any], call: Call
    ) -> msgspec.Raw:
        if connection.is_full:
            raise Overloaded(
                f"{entry.name} does not read what it is asked; try again in a moment.",
                who=entry.name,
            )
        streams = call.stream and connection.protocol >= 1 and bool(schema.get("stream"))
        token = secrets.token_urlsafe(16)
        call.future = asyncio.get_running_loop().create_future()
        now = self._clock.monotonic()
        left = None if call.deadline is None else max(0.0, call.deadline - now)
        request = connection.session.ask(
            call.capability, call.payload, now=now, timeout=left, stream=streams, token=token,
            traceparent=str(call.span), tag=call,
        )  # fmt: skip
        if connection.protocol < 1:
            request = msgspec.structs.replace(
                request, deadline_ms=None, stream=False, traceparent=None
            )
        else:
            request = msgspec.structs.replace(request, caller=call.caller.shown())
        self.tokens[token] = call.caller
        try:
            connection.post(request)
            data = await call.future
        except BaseException:
            self._withdraw(connection, request.request_id)
            raise
        finally:
            del self.tokens[token]
            if not connection.session.asked:
                entry.idle.set()
        if not streams:
            try:
                await self._validate(call.capability, "output", schema, data)
            except WorkbenchError as error:
                raise PluginFailure(
                    f"{entry.name} answered {call.capability} with data that does not match its "
                    f"own schema: {error}",
                    plugin=entry.name,
                    capability=call.capability,
                ) from None
        if call.stream and not streams and call.on_chunk:
            call.on_chunk(data)
            return NULL
        return data

    async def _validate(
        self, capability: str, way: str, schemas: dict[str, Any], data: msgspec.Raw
    ) -> None:
        schema = schemas.get(way)
        if self._check is None or not isinstance(schema, dict) or not schema:
            return
        waiting = self._check(capability, way, schema, data)
        if waiting is not None:
            await waiting

    def _withdraw(self, connection: Connection, request_id: str) -> None:
        cancel = connection.session.cancel(request_id)
        if cancel is not None and connection.protocol >= 1:
            connection.post(cancel)

    # -- answers --------------------------------------------------------------------------------
    def deliver(self, outcome: Outcome) -> None:
        """Hand an answer, a chunk or progress to the call that waits for it."""
        match outcome:
            case Answered(asked=asked, data=data, error=error):
                future = asked.tag.future
                if future is None or future.done():
                    return
                if error is None:
                    future.set_result(data)
                else:
                    future.set_exception(error)
            case Streamed(asked=asked, data=data):
                call: Call = asked.tag
                call.chunks += 1
                if call.on_chunk is not None:
                    try:
                        call.on_chunk(data)
                    except (Overloaded, ProtocolError) as error:
                        call.fail(error)
            case Progressed(asked=asked, progress=progress):
                if asked.tag.on_progress is not None:
                    try:
                        asked.tag.on_progress(progress)
                    except Exception:
                        # It is the asker's; the plug-in that sent it must not pay for it.
                        _log.exception("a callback for progress of %s failed", asked.capability)

    def sweep(self) -> None:
        """End the requests whose deadline has passed, and peers that do not read."""
        now = self._clock.monotonic()
        for entry in self.entries.values():
            connection = entry.connection
            if connection is None:
                continue
            for asked in connection.session.expired(now):
                call: Call = asked.tag
                seconds = call.timeout
                call.fail(RequestTimeout(capability=call.capability, seconds=seconds))

    async def configure(
        self, name: str, settings: dict[str, Any], version: int, *, timeout: float = 10.0
    ) -> Any:
        """Send new settings to a plug-in that applies them live; its answer's data.

        Raises `CapabilityUnavailable` where it is not connected or speaks protocol 0.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise PluginNotFound(plugin=name, known=sorted(self.entries))
        connection = entry.connection
        if connection is None or connection.protocol < 1:
            raise CapabilityUnavailable(capability="config", plugins=[name])
        now = self._clock.monotonic()
        call = Call("config", NULL, Caller("host", ("*",)), now + timeout, timeout)
        call.future = asyncio.get_running_loop().create_future()
        request = connection.session.ask("config", None, now=now, timeout=timeout, tag=call)
        try:
            connection.post(
                Config(request_id=request.request_id, settings=settings, version=version)
            )
            return await call.future
        except BaseException:
            self._withdraw(connection, request.request_id)
            raise
        finally:
            if not connection.session.asked:
                entry.idle.set()

    @staticmethod
    def _fail_lost(asked: Asked, plugin: str) -> None:
        call: Call = asked.tag
        call.fail(PluginDisconnected(plugin=plugin, capability=asked.capability))
