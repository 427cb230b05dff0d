"""The portal's end: nobody who called in is left waiting, and streams end as they should."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from bkg_workbench.client.portal import Portal
from bkg_workbench.errors import WorkbenchError

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal("bkg-test")
    yield made
    made.close()


def test_work_that_comes_while_it_ends_is_refused(portal: Portal) -> None:
    begun, ending, go_on = threading.Event(), threading.Event(), threading.Event()

    async def linger() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            await asyncio.to_thread(go_on.wait)

    portal.start(linger())
    begun.wait()
    closing = threading.Thread(target=portal.close)
    closing.start()
    ending.wait()
    try:
        with pytest.raises(WorkbenchError, match="closed"):
            portal.start(asyncio.sleep(60))
    finally:
        go_on.set()
        closing.join()


def test_whoever_waits_while_it_ends_is_told(portal: Portal) -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(60)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(portal.run, work())
        begun.wait()
        portal.close()
        with pytest.raises(WorkbenchError, match="closed"):
            waiting.result(5)


def test_an_interrupt_ends_a_stream_and_nothing_else_is_raised(portal: Portal) -> None:
    ended = threading.Event()

    async def pieces() -> AsyncIterator[int]:
        try:
            yield 1
            waiting.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    waiting = threading.Event()

    def interrupt() -> None:
        waiting.wait()
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident
    assert main is not None
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    items = portal.iterate(pieces())
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)
    interrupter.join()
    assert ended.is_set()


def test_a_stream_that_outlives_its_portal_ends_quietly() -> None:
    async def pieces() -> AsyncIterator[int]:
        while True:
            yield 1

    portal = Portal("bkg-test")
    items = portal.iterate(pieces())
    assert next(items) == 1
    portal.close()
    items.close()  # type: ignore[attr-defined]
