"""The background loop: callers come in from threads and loops, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from bkg_workbench.client.portal import Portal
from bkg_workbench.errors import WorkbenchError
from tests.helpers import eventually


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal("test-portal")
    yield made
    made.close()


async def name_of_thread() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise ZeroDivisionError("as it was")


class Numbers:
    """An asynchronous iterator that says when it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def upto(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
        finally:
            self.closed.set()


class Sleeper:
    """A coroutine that waits for ever and says how it ended."""

    def __init__(self) -> None:
        self.began, self.cancelled = threading.Event(), threading.Event()

    async def wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


# -- coming in ------------------------------------------------------------------------------------
def test_a_coroutine_runs_on_the_portals_thread_and_its_result_comes_back(portal: Portal) -> None:
    assert portal.run(name_of_thread()) == "test-portal"
    assert portal.start(name_of_thread()).result(5) == "test-portal"
    assert not portal.is_current


def test_what_a_coroutine_raises_is_raised(portal: Portal) -> None:
    with pytest.raises(ZeroDivisionError, match="as it was"):
        portal.run(fail())
    with pytest.raises(ZeroDivisionError):
        portal.start(fail()).result(5)


async def test_another_loop_awaits_it(portal: Portal) -> None:
    assert await portal.wrap(name_of_thread()) == "test-portal"
    with pytest.raises(ZeroDivisionError):
        await portal.wrap(fail())


async def test_a_cancelled_await_cancels_the_coroutine(portal: Portal) -> None:
    sleeper = Sleeper()
    waiting = asyncio.create_task(portal.wrap(sleeper.wait()))
    await asyncio.to_thread(sleeper.began.wait, 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(sleeper.cancelled.wait, 5)


def test_many_threads_come_in_at_once(portal: Portal) -> None:
    results: list[str] = []

    def ask() -> None:
        for _ in range(50):
            results.append(portal.run(name_of_thread()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["test-portal"] * 400
    assert not portal._waiting


def test_the_portals_own_thread_must_not_wait_for_itself(portal: Portal) -> None:
    async def inside() -> str:
        assert portal.is_current
        with pytest.raises(WorkbenchError, match="begins with an a"):
            portal.run(name_of_thread())
        return await portal.wrap(name_of_thread())

    assert portal.run(inside()) == "test-portal"


def test_an_interrupt_of_the_waiting_thread_cancels_the_coroutine(portal: Portal) -> None:
    sleeper, seen = Sleeper(), []

    class Interrupt(BaseException):
        """Stands for KeyboardInterrupt, which only the main thread gets."""

    def wait() -> None:
        try:
            portal.run(sleeper.wait())
        except Interrupt:
            seen.append("interrupted")

    thread = threading.Thread(target=wait)
    thread.start()
    assert sleeper.began.wait(5)
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interrupt))
    # It is raised once the thread runs again: a waiting one is woken by another future's end.
    pending = next(iter(portal._waiting))
    with pending._condition:  # type: ignore[attr-defined]
        pending._condition.notify_all()  # type: ignore[attr-defined]
    thread.join(5)
    assert seen == ["interrupted"]
    assert sleeper.cancelled.wait(5)


# -- iterating ------------------------------------------------------------------------------------
def test_an_asynchronous_iterator_is_read_as_a_plain_one(portal: Portal) -> None:
    numbers = Numbers()
    assert list(portal.iterate(numbers.upto(5))) == [0, 1, 2, 3, 4]
    assert numbers.closed.is_set()


def test_leaving_early_closes_the_iterator_on_its_own_loop(portal: Portal) -> None:
    numbers = Numbers()
    for number in portal.iterate(numbers.upto(1_000)):
        if number == 3:
            break
    del number
    gc.collect()
    assert numbers.closed.wait(5)


async def test_another_loop_reads_it_too(portal: Portal) -> None:
    numbers = Numbers()
    assert [n async for n in portal.iterate_from(numbers.upto(5))] == [0, 1, 2, 3, 4]
    some = Numbers()
    async with contextlib.aclosing(portal.iterate_from(some.upto(1_000))) as items:  # type: ignore[type-var]
        async for number in items:
            if number == 3:
                break
    assert some.closed.is_set()


def test_what_the_iterator_raises_is_raised(portal: Portal) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError

    items = portal.iterate(broken())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


# -- the end --------------------------------------------------------------------------------------
def test_a_closed_portal_says_so_and_can_be_closed_again(portal: Portal) -> None:
    assert portal.is_open
    portal.close()
    portal.close()
    assert not portal.is_open
    for use in (portal.run, portal.start):
        with pytest.raises(WorkbenchError, match="closed"):
            use(name_of_thread())


def test_closing_ends_what_runs_and_frees_who_waits(portal: Portal) -> None:
    sleeper, seen = Sleeper(), []

    def wait() -> None:
        try:
            portal.run(sleeper.wait())
        except WorkbenchError as error:
            seen.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert sleeper.began.wait(5)
    portal.close()
    thread.join(5)
    assert not thread.is_alive()
    assert sleeper.cancelled.is_set()
    assert "closed" in seen[0]


def test_nobody_who_comes_in_while_it_closes_waits_for_ever() -> None:
    for _ in range(30):
        portal, go = Portal("test-portal"), threading.Event()
        ends: list[str] = []

        def ask(portal: Portal = portal, go: threading.Event = go, ends: list[str] = ends) -> None:
            go.wait()
            try:
                while True:
                    portal.run(name_of_thread())
            except WorkbenchError:
                ends.append("closed")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        go.set()
        portal.close()
        for thread in threads:
            thread.join(5)
        assert ends == ["closed"] * 4


def test_it_can_be_closed_from_its_own_thread() -> None:
    portal = Portal("test-portal")

    async def end() -> None:
        portal.close()

    portal.start(end())
    eventually(lambda: not portal.is_open)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_no_open_portal_and_does_not_hang(portal: Portal) -> None:
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            refused = False
            try:
                portal.run(name_of_thread())
            except WorkbenchError:
                refused = True
            portal.close()
            code = 0 if refused and not portal.is_open else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert portal.run(name_of_thread()) == "test-portal"
