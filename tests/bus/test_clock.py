"""Time as something given: the manual clock moves by hand, and everybody wakes in order."""

from __future__ import annotations

import asyncio
import time

from bkg_workbench.bus.clock import ManualClock, SystemClock


async def test_sleepers_wake_in_the_order_of_their_time_each_at_its_own() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [
        asyncio.create_task(sleeper(name, seconds))
        for name, seconds in [("c", 3), ("a", 1), ("b", 2), ("also a", 1), ("never", 9)]
    ]
    await clock.advance(2.5)
    assert woken == [("a", 1001.0), ("also a", 1001.0), ("b", 1002.0)]
    assert clock.monotonic() == 1002.5
    await clock.advance(0.5)
    assert woken[-1] == ("c", 1003.0)
    assert clock.now_ms() == 1_003_000
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_sleeps_again_is_woken_again_within_one_advance() -> None:
    clock, ticks = ManualClock(0.0), []

    async def ticker() -> None:
        while True:
            await clock.sleep(1.0)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(5.0)
    assert ticks == [1.0, 2.0, 3.0, 4.0, 5.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # The sleeper that is gone keeps nobody from the next hour.
    await clock.advance(3600.0)
    assert len(ticks) == 5


async def test_a_sleep_of_nothing_lets_others_run_and_takes_no_time() -> None:
    clock, ran = ManualClock(), []
    task = asyncio.create_task(clock.sleep(9))
    other = asyncio.create_task(asyncio.sleep(0))
    other.add_done_callback(lambda _: ran.append("other"))
    await clock.sleep(0)
    await clock.sleep(-1)
    await asyncio.sleep(0)
    assert ran == ["other"]
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = time.monotonic()
    await clock.sleep(0)
    assert before <= clock.monotonic() <= time.monotonic()
    assert abs(clock.now_ms() / 1000 - time.time()) < 5
