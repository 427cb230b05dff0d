"""One request of the Host's, from envelope to its one response.

Owns running the handler (on the loop or in a thread), streaming its chunks, collecting them for an
asker that does not stream, and turning whatever ends it into an answer. Does not own the
connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.bus.channel import REGISTERED_LIMIT
from bkg_workbench.errors import (
    PluginFailure,
    ProtocolError,
    RequestCancelled,
    RequestTimeout,
    WorkbenchError,
)
from bkg_workbench.protocol.envelopes import NULL, raw
from bkg_workbench.protocol.session import Served
from bkg_workbench.sdk.context import Closing, Context
from bkg_workbench.sdk.handlers import Handler

if TYPE_CHECKING:
    from bkg_workbench.sdk.link import Link


class Serving:
    """One request being served; `task` runs it."""

    def __init__(self, link: Link, handler: Handler, served: Served) -> None:
        request = served.request
        seconds = None if request.deadline_ms is None else request.deadline_ms / 1000
        self.deadline = None if seconds is None else served.received + seconds
        self._seconds = seconds
        self._link, self._handler, self._request = link, handler, request
        self._context = Context(link, request, self.deadline, link.plugin.settings)
        self._ended: WorkbenchError | None = None
        self._answering = False
        self._started = False
        self.task = asyncio.create_task(self._run(), name=f"serve {request.capability}")

    def cancel(self) -> None:
        """The asker does not want the answer any more."""
        self.end(RequestCancelled(capability=self._request.capability))

    def expire(self) -> None:
        """The deadline has passed."""
        self.end(RequestTimeout(capability=self._request.capability, seconds=self._seconds))

    def end(self, error: WorkbenchError | None) -> None:
        """Stop the handler and answer with `error`; None where nobody is left to answer."""
        self._context._cancel()
        if not self._answering:
            self._ended = self._ended or error
            if self._started:  # a task cancelled before its first step would never answer
                self.task.cancel()

    async def _run(self) -> None:
        data: Any = NULL
        error: WorkbenchError | None = None
        self._started = True
        try:
            if self._context.is_cancelled:
                raise asyncio.CancelledError
            try:
                data = raw(await self._produce())
            finally:
                self._answering = self._ended is None and not self._context.is_cancelled
                await self._context._close()
        except (asyncio.CancelledError, FutureCancelled) as cancelled:
            if self._context.is_cancelled and self._ended is None:
                raise asyncio.CancelledError from None
            error = self._ended or self._failure(cancelled)
        except ProtocolError as failure:  # what the handler gave is no JSON
            error = self._failure(failure)
        except WorkbenchError as failure:
            error = failure
        except (Exception, SystemExit) as failure:
            error = self._failure(failure)
        self._answering = True
        await self._link.answer(self._request, data, self._ended or error)

    def _failure(self, error: BaseException) -> WorkbenchError:
        """A foreign exception: its text stays in the log, the asker gets a sentence."""
        link, capability = self._link, self._request.capability
        link.plugin.log.error("%s failed.", capability, exc_info=error)
        return PluginFailure(plugin=link.plugin.name, capability=capability)

    async def _produce(self) -> Any:
        handler = self._handler
        arguments = handler.bind(self._request.payload, self._context)
        if handler.thread:
            if handler.kind == "generator":
                return await self._deliver(self._threaded(handler.function, arguments))
            result = await self._in_thread(handler.function, *arguments)
        elif handler.kind == "generator":
            return await self._deliver(handler.function(*arguments))
        else:
            result = await handler.function(*arguments)
        if hasattr(result, "__aiter__"):
            return await self._deliver(result)
        if not self._request.stream:
            return result
        await self._link.chunk(self._request, result)
        return None

    async def _deliver(self, items: Any) -> Any:
        """Send the items as chunks, or collect them; the data of the response."""
        chunks: list[Any] = []
        size = 0
        closing: Closing | None = None
        async with aclosing(_closable(items)) as generator:
            async for item in generator:
                if closing is not None:
                    raise TypeError("a handler yielded something after Closing")
                if isinstance(item, Closing):
                    closing = item
                elif self._request.stream:
                    await self._link.chunk(self._request, item)
                else:
                    chunks.append(chunk := raw(item))
                    size += len(bytes(chunk))
                    self._check_size(size)
        data = closing.data if closing else None
        if self._request.stream:
            return data
        if self._handler.collect:
            return self._handler.collect([msgspec.json.decode(chunk) for chunk in chunks], data)
        return {"chunks": chunks, "closing": data}

    def _check_size(self, size: int) -> None:
        if size > REGISTERED_LIMIT:
            raise PluginFailure(
                f"The whole answer of {self._request.capability} is larger than the bus carries "
                f"({REGISTERED_LIMIT >> 20} MiB); ask for a stream.",
                capability=self._request.capability,
            )

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        scope, busy = contextvars.copy_context(), self._link.plugin.busy_threads

        def work() -> tuple[Any, BaseException | None]:
            # Exceptions travel as values: a StopIteration cannot be set on a future.
            busy.add(threading.get_ident())
            try:
                return scope.run(function, *arguments), None
            except BaseException as error:
                return None, error
            finally:
                busy.discard(threading.get_ident())

        loop = asyncio.get_running_loop()
        result, error = await loop.run_in_executor(self._link.plugin.executor, work)
        if error is not None:
            raise error
        return result

    async def _threaded(
        self, function: Callable[..., Any], arguments: list[Any]
    ) -> AsyncIterator[Any]:
        """The items of a blocking generator, all made by one thread, one at a time."""
        room: asyncio.Queue[Any] = asyncio.Queue(1)
        left = threading.Event()

        def work() -> None:
            generator = function(*arguments)
            try:
                for item in generator:
                    if left.is_set():
                        return
                    self._context.wait(room.put(item))
            finally:
                generator.close()

        runner = asyncio.create_task(self._in_thread(work))
        getter: asyncio.Future[Any] | None = None
        try:
            while not (runner.done() and room.empty()):
                getter = asyncio.ensure_future(room.get())
                await asyncio.wait({getter, runner}, return_when=asyncio.FIRST_COMPLETED)
                if not getter.done() and room.empty():
                    break
                yield await getter
            await runner
        finally:
            left.set()
            if getter is not None:
                getter.cancel()
            while not room.empty():
                room.get_nowait()  # lets a thread go that waits for room, to see that we left
            runner.cancel()


def _closable(items: Any) -> Any:
    """`items` with an `aclose`, as async generators have and other async iterators may not."""
    if hasattr(items, "aclose"):
        return items

    async def generator() -> AsyncIterator[Any]:
        async for item in items:
            yield item

    return generator()
