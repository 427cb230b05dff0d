"""How a `Workbench` reaches its Host: the interface, and the way over a channel.

Owns the attached side of the bus (requests, chunks, events). The other implementation is the
owner's engine itself (`host.engine`); a `Workbench` cannot tell which one it holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

import msgspec

from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed
from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.bus.connection import BACKLOG_BYTES
from bkg_workbench.errors import HostGone, Overloaded, ProtocolError, RequestTimeout, WorkbenchError
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Error,
    Event,
    Progress,
    Request,
    UnknownType,
    Welcome,
    decode,
    encode,
    raw,
    value,
)
from bkg_workbench.protocol.session import Answered, Progressed, Session, Streamed, respond

WELCOME_SECONDS = 5.0
SWEEP_SECONDS = 0.1

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]
OnEvent = Callable[[str, int, Any], None]
"""Called on the portal's thread with (topic, seq, data) for each event of a subscription."""


class Outbound(Protocol):
    """The way to a Host. All methods belong to the portal's loop."""

    async def call(
        self,
        capability: str,
        payload: Any,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """The result of a request; raises its error."""

    def stream(self, capability: str, payload: Any, *, timeout: float | None) -> AsyncIterator[Any]:
        """The pieces of a streamed reply, then its closing data where that is not null."""

    async def subscribe(self, topics: list[str], on_event: OnEvent) -> tuple[str, dict[str, Any]]:
        """Follow topics: (subscription, {"seq", "state"}), then events."""

    async def unsubscribe(self, subscription: str) -> None:
        """End a subscription; one that has ended already is no error."""

    @property
    def instance(self) -> str:
        """The Host's instance id."""

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Call back, once, with the reason when the Host has gone."""

    async def aclose(self) -> None:
        """Leave; a second call does nothing."""


class ChannelOutbound:
    """The outbound of an attached workbench: one channel, many requests."""

    def __init__(self, channel: Channel, workspace: str, clock: Clock | None = None) -> None:
        self._channel, self._workspace = channel, workspace
        self._channel.limit = REGISTERED_LIMIT
        self._clock: Clock = clock or SystemClock()
        self._session = Session(prefix="c", who="the Host", limit=4096)
        self._events: dict[str, OnEvent] = {}
        self._early: dict[str, list[Event]] = {}
        self._subscribing = 0
        self._lost: list[Callable[[str], None]] = []
        self._reason: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._welcome: Welcome | None = None

    @property
    def instance(self) -> str:
        return (self._welcome.instance or "") if self._welcome else ""

    async def start(self) -> None:
        """Wait for the Host's welcome, then begin to read. Raises `HostGone`."""
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                welcome = decode(await self._channel.receive())
        except (TimeoutError, ChannelClosed, ProtocolError) as error:
            raise HostGone(path=self._workspace, reason=str(error)) from None
        if isinstance(welcome, Error):
            raise HostGone(f"The Host refused: {welcome.error}", path=self._workspace)
        if not isinstance(welcome, Welcome):
            raise HostGone(path=self._workspace, reason="it sent no welcome")
        self._welcome = welcome
        self._tasks = [
            asyncio.create_task(self._read(), name="attach-reader"),
            asyncio.create_task(self._sweep(), name="attach-sweeper"),
        ]

    # -- requests -------------------------------------------------------------------------------
    async def call(
        self,
        capability: str,
        payload: Any,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        waiting = _Waiting(on_progress=on_progress)
        request = self._ask(capability, payload, timeout, False, waiting)
        return await self._answer(request, waiting)

    async def stream(
        self, capability: str, payload: Any, *, timeout: float | None
    ) -> AsyncIterator[Any]:
        pieces = Pieces(capability)
        waiting = _Waiting(on_chunk=pieces.add)
        request = self._ask(capability, payload, timeout, True, waiting)
        async for piece in pieces.follow(self._answer(request, waiting)):
            yield piece

    def _ask(
        self, capability: str, payload: Any, timeout: float | None, stream: bool, tag: _Waiting
    ) -> Request:
        if self._reason is not None:
            raise HostGone(path=self._workspace)
        tag.timeout = timeout
        tag.future = asyncio.get_running_loop().create_future()
        return self._session.ask(
            capability,
            raw(payload),
            now=self._clock.monotonic(),
            timeout=timeout,
            stream=stream,
            tag=tag,
        )

    async def _answer(self, request: Request, waiting: _Waiting) -> Any:
        assert waiting.future is not None
        try:
            await self._send(request)
            return value(await waiting.future)
        except BaseException:
            cancel = self._session.cancel(request.request_id)
            if cancel is not None and self._reason is None:
                await asyncio.shield(self._send_quietly(cancel))
            raise

    async def _send(self, envelope: Request | Cancel) -> None:
        try:
            await self._channel.send(encode(envelope))
        except ChannelClosed:
            raise HostGone(path=self._workspace) from None

    async def _send_quietly(self, envelope: Cancel) -> None:
        try:
            await self._send(envelope)
        except HostGone:
            return

    # -- subscriptions --------------------------------------------------------------------------
    async def subscribe(self, topics: list[str], on_event: OnEvent) -> tuple[str, dict[str, Any]]:
        self._subscribing += 1
        try:
            reply = await self.call("host.subscribe", {"topics": topics}, timeout=10.0)
            subscription = str(reply["subscription"])
            self._events[subscription] = on_event
        finally:
            self._subscribing -= 1
        for event in self._early.pop(subscription, []):
            self._tell(on_event, event)
        return subscription, reply

    def _keep_early(self, event: Event) -> None:
        # Events overtake the reply that names their subscription, never its request.
        if self._subscribing:
            self._early.setdefault(event.subscription, []).append(event)
        else:
            self._early.clear()

    async def unsubscribe(self, subscription: str) -> None:
        if self._events.pop(subscription, None) is None or self._reason is not None:
            return
        await self.call("host.unsubscribe", {"subscription": subscription}, timeout=10.0)
        self._early.pop(subscription, None)

    def on_lost(self, callback: Callable[[str], None]) -> None:
        if self._reason is not None:
            callback(self._reason)
        else:
            self._lost.append(callback)

    # -- reading --------------------------------------------------------------------------------
    async def _read(self) -> None:
        reason = "the Host has gone"
        try:
            while True:
                frame = await self._channel.receive()
                try:
                    await self._handle(frame)
                except UnknownType:
                    continue
        except ChannelClosed as closed:
            reason = closed.reason or reason
        except ProtocolError as error:
            reason = f"the Host sent what is no envelope: {error}"
            await self._channel.close(4400, "bad envelope")
        finally:
            self._end(reason)

    async def _handle(self, frame: bytes) -> None:
        envelope = decode(frame)
        if isinstance(envelope, Event):
            on_event = self._events.get(envelope.subscription)
            if on_event is not None:
                self._tell(on_event, envelope)
            else:
                self._keep_early(envelope)
            return
        if isinstance(envelope, (Error, Welcome)):
            return
        if isinstance(envelope, Request):
            error = WorkbenchError("An attached workbench serves no capabilities.")
            await self._channel.send(encode(respond(envelope.request_id, error=error)))
            return
        match self._session.receive(envelope, now=self._clock.monotonic()):
            case Answered(asked=asked, data=data, error=failure):
                future = asked.tag.future
                if not future.done():
                    if failure is None:
                        future.set_result(data)
                    else:
                        future.set_exception(failure)
            case Streamed(asked=asked, data=data):
                if asked.tag.on_chunk is not None:
                    try:
                        asked.tag.on_chunk(data)
                    except Overloaded as error:
                        if not asked.tag.future.done():
                            asked.tag.future.set_exception(error)
            case Progressed(asked=asked, progress=progress):
                if asked.tag.on_progress is not None:
                    try:
                        asked.tag.on_progress(progress)
                    except Exception:
                        log.exception("a callback for progress of %s failed", asked.capability)

    @staticmethod
    def _tell(on_event: OnEvent, event: Event) -> None:
        data = value(event.data)
        try:
            on_event(event.topic, event.seq, data)
        except Exception:
            # It is the asker's own; everything else that goes over this channel goes on.
            log.exception("a callback for %s failed", event.topic)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            for asked in self._session.expired(self._clock.monotonic()):
                waiting: _Waiting = asked.tag
                if waiting.future is not None and not waiting.future.done():
                    error = RequestTimeout(capability=asked.capability, seconds=waiting.timeout)
                    waiting.future.set_exception(error)

    def _end(self, reason: str) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        asked, _ = self._session.close()
        for one in asked:
            future = one.tag.future
            if future is not None and not future.done():
                future.set_exception(HostGone(path=self._workspace))
        lost, self._lost = self._lost, []
        for callback in lost:
            callback(reason)

    async def aclose(self) -> None:
        self._lost.clear()
        self._end("closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close(1000, "bye")


class Pieces:
    """The unread pieces of one streamed reply, at most `BACKLOG_BYTES` of them."""

    def __init__(self, capability: str) -> None:
        self._capability = capability
        self._unread: deque[msgspec.Raw] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def add(self, data: msgspec.Raw) -> None:
        """Keep one piece. Raises `Overloaded` where too much of the stream was not read."""
        size = len(bytes(data))
        if self._bytes + size > BACKLOG_BYTES and self._unread:
            raise Overloaded(
                f"The stream of {self._capability} ended: more than 1 MiB of it was not read.",
                capability=self._capability,
            )
        self._unread.append(data)
        self._bytes += size
        self._changed.set()

    async def follow(self, answer: Coroutine[Any, Any, Any]) -> AsyncIterator[Any]:
        """Each piece as it comes, then the answer where it is not null; leaving cancels it."""
        waiting = asyncio.ensure_future(answer)
        waiting.add_done_callback(lambda _: self._changed.set())
        try:
            while not waiting.done() or self._unread:
                if not self._unread:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                data = self._unread.popleft()
                self._bytes -= len(bytes(data))
                yield value(data)
            closing = waiting.result()
            if closing is not None:
                yield closing
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


class _Waiting(msgspec.Struct):
    """What waits for an answer."""

    future: Any = None
    timeout: float | None = None
    on_chunk: Callable[[msgspec.Raw], None] | None = None
    on_progress: OnProgress | None = None
