"""What a handler is given besides its payload: who asks, how long there is, and the way back.

Owns `Context` (one per request), `Closing` and `Stream`. Does not own the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bkg_workbench.errors import Overloaded, RequestTimeout, WorkbenchError
from bkg_workbench.protocol.envelopes import Progress, Request, value

if TYPE_CHECKING:
    from concurrent.futures import Future

    from bkg_workbench.sdk.asking import Asker
    from bkg_workbench.sdk.link import Link

T = TypeVar("T")

UNREAD_BYTES = 1024 * 1024
"""How much of a stream may wait for its reader before the stream is cut."""

OnProgress = Callable[[Progress], None]


class Closing:
    """Yielded last by a streaming handler: `data` goes into the closing response.

    It holds only what the chunks do not (usage, counts). Without it the response's data is null.
    """

    def __init__(self, data: Any) -> None:
        self.data = data


class Context:
    """One request as its handler sees it.

    `settings` are those in force when the request came. `token` stands for the caller while the
    request is open; `call` and `stream` pass it on. `caller` says who that is; None where the Host
    is too old to say. `deadline` is an instant of the plug-in's clock, None where none is set.
    """

    def __init__(self, link: Link, request: Request, deadline: float | None, settings: Any) -> None:
        self.capability = request.capability
        self.request_id = request.request_id
        self.token = request.token
        self.caller = request.caller
        self.traceparent = request.traceparent
        self.wants_stream = request.stream
        self.deadline = deadline
        self.settings = settings
        self.log: logging.Logger = link.plugin.log
        self.is_cancelled = False
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._streams: list[Stream] = []
        self._waits: set[Future[Any]] = set()

    @property
    def remaining_seconds(self) -> float | None:
        """What is left until the deadline, at least 0; None where there is none."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self._link.clock.monotonic())

    async def progress(
        self, value: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell the asker how far the work is."""
        await self._link.progress(self.request_id, value, total, message)

    async def call(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Ask another plug-in for this request's caller, within this request's time.

        `timeout` is in seconds. With `result_type` the answer is decoded to it. Raises the
        answer's own error, `RequestTimeout`, and `HostGone` where the connection is lost.
        """
        return await self._link.asker.call(
            capability,
            payload,
            timeout=self._within(capability, timeout),
            token=self.token,
            traceparent=self.traceparent,
            result_type=result_type,
            on_progress=on_progress,
        )

    def stream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> Stream:
        """Ask another plug-in for a streamed reply; see `Stream`. Ends with this request."""
        stream = self._link.asker.stream(
            capability,
            payload,
            timeout=self._within(capability, timeout),
            token=self.token,
            traceparent=self.traceparent,
        )
        self._streams.append(stream)
        return stream

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """For handlers in a thread: run `work`, such as `context.call(…)`, on the plug-in's loop.

        Gives its result. Raises `concurrent.futures.CancelledError` when the request is cancelled
        meanwhile.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._waits.add(future)
        if self.is_cancelled:
            future.cancel()
        try:
            return future.result()
        finally:
            self._waits.discard(future)

    def _within(self, capability: str, timeout: float | None) -> float | None:
        remaining = self.remaining_seconds
        if remaining is None:
            return timeout
        if remaining == 0:
            raise RequestTimeout(
                f"No time is left to ask {capability}: the deadline of {self.capability} passed.",
                capability=capability,
            )
        return remaining if timeout is None else min(timeout, remaining)

    def _cancel(self) -> None:
        self.is_cancelled = True
        for future in tuple(self._waits):
            future.cancel()

    async def _close(self) -> None:
        for stream in self._streams:
            await stream.aclose()


class Ask:
    """A request of ours that is open: where its answer and its chunks go."""

    def __init__(self, on_progress: OnProgress | None = None) -> None:
        self.answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self.chunks: deque[msgspec.Raw] = deque()
        self.unread_bytes = 0
        self.on_progress = on_progress
        self.arrived = asyncio.Event()

    def fail(self, error: WorkbenchError) -> None:
        """End with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # an asker that has gone does not make asyncio complain
        self.arrived.set()

    def succeed(self, data: msgspec.Raw) -> None:
        """End with the closing data."""
        if not self.answer.done():
            self.answer.set_result(data)
        self.arrived.set()

    def add(self, data: msgspec.Raw) -> bool:
        """Keep a chunk for the reader; False when too much waits for it already."""
        self.unread_bytes += len(bytes(data))
        if self.chunks and self.unread_bytes > UNREAD_BYTES:
            return False
        self.chunks.append(data)
        self.arrived.set()
        return True


class Stream:
    """A streamed reply: iterate over the chunks; `closing` is the closing data afterwards.

    Asked on the first step. Leaving early needs `aclose()` or `async with`, which cancel it.
    Raises the answer's error at the end of what arrived, and `Overloaded` when more than 1 MiB
    waits unread.
    """

    def __init__(self, asker: Asker, capability: str, open_: Callable[[], Any]) -> None:
        self.closing: Any = None
        self._asker, self._capability, self._open = asker, capability, open_
        self._request_id: str | None = None
        self._ask: Ask | None = None
        self._done = False

    def __aiter__(self) -> Stream:
        return self

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Any:
        if self._done:
            raise StopAsyncIteration
        try:
            if self._ask is None:
                self._request_id, self._ask = await self._open()
            return await self._next(self._ask)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the stream; one that is still open is cancelled at its provider."""
        self._done = True
        if self._request_id is not None:
            self._asker.give_up(self._request_id)

    async def _next(self, ask: Ask) -> Any:
        while not ask.chunks and not ask.answer.done():
            ask.arrived.clear()
            await ask.arrived.wait()
        if ask.chunks:
            data = ask.chunks.popleft()
            ask.unread_bytes -= len(bytes(data))
            return value(data)
        self.closing = value(ask.answer.result())
        raise StopAsyncIteration


def too_slow(capability: str) -> Overloaded:
    """The error of a stream whose reader lags."""
    return Overloaded(
        f"The reader of {capability}'s stream left more than {UNREAD_BYTES >> 20} MiB unread; "
        "read it faster or ask for less.",
        capability=capability,
    )
