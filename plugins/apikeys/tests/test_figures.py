"""What a check costs, and that the time of a login tells nothing: figures for the report."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apikeys import credentials, passwords
from apikeys.logins import Door
from apikeys.registry import Registry, Rules
from bkg_workbench.sdk import Unauthenticated
from plugins.apikeys.tests.lives import OWNER, PASSWORD, Clock, add_user
from tests.reliability import Record

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

TRIES = 50


@pytest.mark.row("A2")
async def test_the_time_of_a_refusal_does_not_tell_whether_the_user_exists(
    door: Door, clock: Clock, record: Record
) -> None:
    door.registry.rules = Rules(cost=10)
    hashed = passwords.make_hash(PASSWORD, 10)
    door.registry.create_user(OWNER, "ada", hashed, [])

    async def seconds(name: str) -> float:
        clock.move(3600)
        began = time.perf_counter()
        with pytest.raises(Unauthenticated):
            await door.login(name, "wrong", "")
        return time.perf_counter() - began

    # By turns, so that whatever else the machine does falls on both.
    known, unknown = [], []
    for _ in range(TRIES):
        known.append(await seconds("ada"))
        unknown.append(await seconds("nobody"))
    one, other = statistics.median(known), statistics.median(unknown)
    difference = abs(one - other) / max(one, other) * 100
    record.figure("difference of login times", round(difference, 1), "%")
    assert difference < 50  # tenfold of what it should be


@pytest.mark.row("A9")
@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_what_a_check_costs_with_so_many_keys(
    registry: Registry, record: Record, count: int
) -> None:
    with registry.store.writing() as tx:
        made = [
            credentials.create(tx, "key", "admin", registry.now(), scopes=["repo.*"])[1]
            for _ in range(count)
        ]
    reader, now = registry.store.reader, registry.now()
    taken = list(_times(lambda n: credentials.prove(reader, made[n % count].token, now), 5_000))
    p99 = statistics.quantiles(taken, n=100)[98]
    record.figure(f"check of a token among {count:,} keys, median", _us(taken), "µs")
    record.figure(f"check of a token among {count:,} keys, p99", round(p99 * 1e6), "µs")
    assert p99 < 0.05  # tenfold of what is promised


@pytest.mark.row("A4", "A5")
async def test_checks_stay_quick_while_passwords_are_checked(door: Door, record: Record) -> None:
    add_user(door.registry, "ada", "repo.*")
    _, issued = door.registry.create_key(OWNER, "ada", ["repo.*"])
    slow = passwords.make_hash("x", 11)
    works = [asyncio.create_task(door.bench.run(passwords.check, "y", slow)) for _ in range(8)]
    reader, taken, stalls = door.registry.store.reader, [], []
    while not all(work.done() for work in works):
        began = time.perf_counter()
        credentials.prove(reader, issued.token, door.registry.now())
        taken.append(time.perf_counter() - began)
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        stalls.append(time.perf_counter() - began - 0.001)
    p99 = statistics.quantiles(taken, n=100)[98]
    record.figure("check of a token while passwords are checked, p99", round(p99 * 1e3, 2), "ms")
    record.figure("stall of the loop meanwhile, most", round(max(stalls) * 1e3, 1), "ms")
    assert p99 < 0.2


def _times(work: Callable[[int], Any], count: int) -> Iterator[float]:
    for number in range(count):
        began = time.perf_counter()
        work(number)
        yield time.perf_counter() - began


def _us(taken: list[float]) -> int:
    return round(statistics.median(taken) * 1e6)
