"""Passwords: any text works or is refused in words, and the queue is short."""

from __future__ import annotations

import asyncio
import threading

import pytest

from apikeys import passwords
from apikeys.passwords import Bench
from bkg_workbench.sdk import InvalidParams, Overloaded
from plugins.apikeys.tests.lives import COST
from tests.helpers import aeventually

ODD = {
    "73 bytes": "y" * 73,
    "1024 characters": "é" * 1024,
    "NUL": "a\x00b" * 5,
    "emoji": "👩‍👩‍👧‍👦" * 4,
    "a lone surrogate": "\ud800" * 12,
    "right to left": "كلمة المرور السرية",
    "spaces": " " * 12,
}


@pytest.mark.row("A1")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_password_works_and_its_neighbour_does_not(name: str) -> None:
    kept = passwords.make_hash(ODD[name], COST)
    assert passwords.check(ODD[name], kept)
    assert not passwords.check("x" + ODD[name][1:], kept)
    assert not passwords.check(ODD[name][:-1], kept)


@pytest.mark.row("A1")
def test_composed_and_decomposed_letters_are_one_password() -> None:
    kept = passwords.make_hash("Caf\u00e9 au lait, svp", COST)
    assert passwords.check("Cafe\u0301 au lait, svp", kept)


@pytest.mark.row("A1")
def test_a_password_without_end_is_refused_before_it_costs_anything() -> None:
    for work in (
        lambda: passwords.make_hash("x" * 2**20, COST),
        lambda: passwords.check("x" * 2**20, passwords.decoy(COST)),
        lambda: passwords.require_strength("x" * 2**20, 12),
    ):
        with pytest.raises(InvalidParams, match="1024"):
            work()


def test_a_short_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidParams) as refusal:
        passwords.require_strength("hunter2", 12)
    assert "12" in str(refusal.value)
    assert "hunter2" not in str(refusal.value) + repr(refusal.value.facts)


@pytest.mark.row("A2")
@pytest.mark.parametrize("cost", [4, 10, 12])
def test_the_decoy_is_a_hash_of_the_same_cost_that_no_password_has(cost: int) -> None:
    decoy = passwords.decoy(cost)
    assert passwords.cost_of(decoy) == cost
    assert len(decoy) == len(passwords.make_hash("x", COST))
    if cost == COST:
        assert not passwords.check("", decoy)


@pytest.mark.row("A4")
async def test_no_more_than_eight_wait_and_the_rest_is_told_at_once() -> None:
    bench, go = Bench(threads=1), threading.Event()
    try:
        tasks = [asyncio.create_task(bench.run(go.wait)) for _ in range(200)]
        await aeventually(lambda: sum(task.done() for task in tasks) == 192)
        refused = [task.exception() for task in tasks if task.done()]
        assert all(isinstance(error, Overloaded) for error in refused)
        assert bench.waiting == 8
        go.set()
        assert sum(1 for done in await asyncio.gather(*tasks, return_exceptions=True)
                   if done is True) == 8  # fmt: skip
        await aeventually(lambda: bench.waiting == 0)
    finally:
        go.set()
        bench.close()


@pytest.mark.row("A4")
async def test_whoever_goes_away_makes_room() -> None:
    bench, go = Bench(threads=1), threading.Event()
    try:
        tasks = [asyncio.create_task(bench.run(go.wait)) for _ in range(8)]
        await aeventually(lambda: bench.waiting == 8)
        for task in tasks[1:]:
            task.cancel()
        await aeventually(lambda: bench.waiting == 1)
    finally:
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        bench.close()
