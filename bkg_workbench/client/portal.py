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
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from bkg_workbench.errors import WorkbenchError

T = TypeVar("T")


class Portal:
    """A daemon thread that runs an event loop until `close`."""

    def __init__(self, name: str = "bkg-portal") -> None:
        self._loop = _new_loop()
        self._ready = threading.Event()
        self.pid = os.getpid()
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
            self._loop.close()

    @property
    def is_open(self) -> bool:
        """Whether the loop runs, in this process (a forked child has no thread)."""
        return self._thread.is_alive() and os.getpid() == self.pid

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the portal's own thread."""
        return threading.current_thread() is self._thread

    def start(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; returns at once."""
        if not self.is_open:
            coroutine.close()
            raise WorkbenchError("This workbench is closed; make a new one with workbench().")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result.

        Raises what the coroutine raises. An interrupt of the waiting thread cancels it.
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
        except BaseException:
            future.cancel()
            raise

    async def wrap(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await, from any loop, a coroutine that runs on the portal's loop."""
        if self.is_current:
            return await coroutine
        return await asyncio.wrap_future(self.start(coroutine))

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """A plain iterator over an asynchronous one that lives on the loop."""
        try:
            while True:
                try:
                    item = self.run(_next(items))
                except StopAsyncIteration:
                    return
                if isinstance(item, _End):
                    return
                yield item
        finally:
            self.run(_aclose(items))

    async def iterate_from(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """The same for a caller in a loop of its own."""
        try:
            while True:
                item = await self.wrap(_next(items))
                if isinstance(item, _End):
                    return
                yield item
        finally:
            await self.wrap(_aclose(items))

    def close(self, timeout: float = 10.0) -> None:
        """End the loop and its thread; a second call does nothing. `timeout` in seconds."""
        if self._thread.is_alive() and os.getpid() == self.pid:
            self._loop.call_soon_threadsafe(self._loop.stop)
            if not self.is_current:
                self._thread.join(timeout)


class _End:
    """The end of an iteration (StopAsyncIteration cannot cross a future)."""


async def _next(items: AsyncIterator[T]) -> T | _End:
    try:
        return await anext(items)
    except StopAsyncIteration:
        return _End()


async def _aclose(items: AsyncIterator[Any]) -> None:
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        await aclose()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
