"""The background event loop, and the only bridge into it.

Owns one thread with one loop. Everything asynchronous of a workbench runs there, so that it lives
while a notebook cell computes; callers come in through `run` (waits), `start` (does not) and
`wrap` (awaits from a loop of their own).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from typing import Any, TypeVar

from bkg_workbench.errors import WorkbenchError

T = TypeVar("T")

CLOSED = "This workbench is closed; make a new one with workbench()."


class Portal:
    """A daemon thread that runs an event loop until `close`."""

    def __init__(self, name: str = "bkg-portal") -> None:
        self._loop = _new_loop()
        self._lock = threading.Lock()
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._ready = threading.Event()
        self.pid = os.getpid()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._ready.set)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            with self._lock:
                self._loop.close()
                left = list(self._waiting)
            # What came in while the loop was ending never ran: nobody may wait for it for ever.
            for future in left:
                future.cancel()

    @property
    def is_open(self) -> bool:
        """Whether the loop runs, in this process (a forked child has no thread)."""
        return self._thread.is_alive() and os.getpid() == self.pid and not self._is_closing

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the portal's own thread."""
        return threading.current_thread() is self._thread

    def start(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; returns at once."""
        with self._lock:
            if not self.is_open or self._loop.is_closed():
                coroutine.close()
                raise WorkbenchError(CLOSED)
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result.

        Raises what the coroutine raises, and `WorkbenchError` where the portal is closed meanwhile.
        An interrupt of the waiting thread cancels it.
        """
        if self.is_current:
            coroutine.close()
            raise WorkbenchError(
                "This is the workbench's own thread, which must not wait for itself; "
                "use the method's twin that begins with an a, and await it."
            )
        future = self.start(coroutine)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise WorkbenchError(CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    async def wrap(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await, from any loop, a coroutine that runs on the portal's loop."""
        if self.is_current:
            return await coroutine
        return await asyncio.wrap_future(self.start(coroutine))

    def iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """A plain iterator over an asynchronous one that lives on the loop."""
        turn = asyncio.Lock()
        try:
            while True:
                item = self.run(_next(items, turn))
                if isinstance(item, _End):
                    return
                yield item
        finally:
            if self.is_open:  # else the end of the loop has ended it
                self.run(_aclose(items, turn))

    async def iterate_from(self, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        """The same for a caller in a loop of its own."""
        turn = asyncio.Lock()
        try:
            while True:
                item = await self.wrap(_next(items, turn))
                if isinstance(item, _End):
                    return
                yield item
        finally:
            if self.is_open:
                await self.wrap(_aclose(items, turn))

    def close(self, timeout: float = 10.0) -> None:
        """End the loop and its thread; a second call does nothing. `timeout` in seconds."""
        if self.is_open:
            self._is_closing = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            if not self.is_current:
                self._thread.join(timeout)


class _End:
    """The end of an iteration (StopAsyncIteration cannot cross a future)."""


async def _next(items: AsyncIterator[T], turn: asyncio.Lock) -> T | _End:
    async with turn:
        try:
            return await anext(items)
        except StopAsyncIteration:
            return _End()


async def _aclose(items: AsyncIterator[Any], turn: asyncio.Lock) -> None:
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        # A step that was interrupted may still be on its way to its end.
        async with turn:
            await aclose()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
