"""Logging in: the same answer for every failure, a wait that grows, and a hash of today's cost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from apikeys import passwords, users
from apikeys.logins import Door
from apikeys.registry import Registry, Rules
from bkg_workbench.sdk import InvalidParams, Overloaded, Unauthenticated
from plugins.apikeys.tests.lives import ADMIN, COST, OWNER, PASSWORD, Clock, actor, add_user
from tests.helpers import aeventually


async def fails(door: Door, name: str = "admin", password: str = "wrong", source: str = "") -> Any:
    with pytest.raises((Unauthenticated, Overloaded, InvalidParams)) as refusal:
        await door.login(name, password, source)
    return refusal.value


async def test_a_login_gives_a_session_of_a_day(door: Door, clock: Clock) -> None:
    user, issued = await door.login("admin", PASSWORD, "127.0.0.1")
    found = door.registry.sessions(ADMIN, None)
    assert [(s.id, s.user, s.source) for s in found] == [(issued.id, "admin", "127.0.0.1")]
    assert found[0].expires_at == clock.now_ms() + 24 * 3_600_000
    assert user.scopes == ("admin",)


@pytest.mark.row("A2")
async def test_unknown_wrong_and_disabled_are_answered_alike_after_one_check_of_one_cost(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_user(door.registry, "ada", "repo.*")
    add_user(door.registry, "bob", "repo.*")
    door.registry.update_user(OWNER, "bob", None, True)
    costs: list[int] = []
    check = passwords.check

    def counted(password: str, kept: str) -> bool:
        costs.append(passwords.cost_of(kept))
        return check(password, kept)

    monkeypatch.setattr(passwords, "check", counted)
    told = [
        (await fails(door, name, password)).to_wire()
        for name, password in (
            ("ada", "wrong"), ("nobody", "wrong"), ("bob", PASSWORD), ("' OR 1=1", "wrong"),
            ("A" * 100_000, "wrong"), ("", ""),
        )
    ]  # fmt: skip
    assert all(answer == told[0] for answer in told)
    assert told[0]["code"] == "unauthenticated"
    assert costs == [COST] * 6


@pytest.mark.row("A3")
async def test_six_wrong_passwords_cost_half_a_minute_and_each_further_twice_as_much(
    door: Door, clock: Clock, open_registry: Callable[[], Registry]
) -> None:
    for _ in range(5):
        assert isinstance(await fails(door), Unauthenticated)
    refusal = await fails(door)
    assert (refusal.code, refusal.facts["retryAfterSeconds"]) == ("overloaded", 30)
    assert isinstance(await fails(door, password=PASSWORD), Overloaded), "not even the right one"
    waits = []
    for _ in range(6):
        wait = (await fails(door)).facts["retryAfterSeconds"]
        waits.append(wait)
        clock.move(wait)
        assert isinstance(await fails(door), Unauthenticated)
    assert waits == [30, 60, 120, 240, 480, 900]
    door.close()
    again = Door(open_registry())
    try:
        assert (await fails(again)).facts["retryAfterSeconds"] == 900, "a restart forgets nothing"
        clock.move(900)
        await again.login("admin", PASSWORD, "")
        assert isinstance(await fails(again), Unauthenticated), "and success clears the count"
    finally:
        again.close()


@pytest.mark.row("A3")
async def test_an_address_has_twenty_attempts_a_minute_whomever_it_tries(
    door: Door, clock: Clock
) -> None:
    for number in range(20):
        assert isinstance(await fails(door, f"user{number}", source="10.0.0.9"), Unauthenticated)
    refusal = await fails(door, "user99", source="10.0.0.9")
    assert (refusal.code, refusal.facts["retryAfterSeconds"]) == ("overloaded", 60)
    await door.login("admin", PASSWORD, "10.0.0.8")
    clock.move(60)
    await door.login("admin", PASSWORD, "10.0.0.9")


@pytest.mark.row("A4")
async def test_two_hundred_logins_at_once_leave_the_check_of_tokens_free(door: Door) -> None:
    for number in range(40):
        add_user(door.registry, f"user{number}", "repo.*")
    logins = [asyncio.create_task(door.login(f"user{n % 40}", PASSWORD, "")) for n in range(200)]
    await asyncio.gather(*logins, return_exceptions=True)
    outcomes = Counter(type(task.exception()).__name__ for task in logins)
    assert outcomes["NoneType"] >= 1
    assert outcomes["NoneType"] + outcomes["Overloaded"] + outcomes["Throttled"] == 200
    assert outcomes["Overloaded"] >= 100
    await aeventually(lambda: door.bench.waiting == 0)


async def test_a_burst_for_one_user_has_no_more_tries_than_the_queue_has_room(door: Door) -> None:
    told = [asyncio.create_task(fails(door)) for _ in range(100)]
    kinds = Counter(error.code for error in await asyncio.gather(*told))
    assert kinds["unauthenticated"] <= 8
    assert kinds["unauthenticated"] + kinds["overloaded"] == 100


@pytest.mark.row("A18")
async def test_a_hash_of_another_cost_is_brought_to_todays_at_the_next_login(door: Door) -> None:
    registry = door.registry
    before = users.get(registry.store.reader, "admin").password
    registry.rules = Rules(cost=COST + 1)
    await door.login("admin", PASSWORD, "")
    after = users.get(registry.store.reader, "admin").password
    assert (passwords.cost_of(before), passwords.cost_of(after)) == (COST, COST + 1)
    await door.login("admin", PASSWORD, "")
    assert users.get(registry.store.reader, "admin").password == after


async def test_a_login_that_a_change_of_password_overtakes_is_refused(door: Door) -> None:
    user = users.get(door.registry.store.reader, "admin")
    await door.set_password(OWNER, "admin", None, "another long password", "")
    with pytest.raises(Unauthenticated):
        door.registry.open_session(user, "", None)


async def test_ones_own_password_takes_the_present_one_and_its_change_ends_the_sessions(
    door: Door,
) -> None:
    ada = add_user(door.registry, "ada", "repo.*")
    for _ in range(3):
        await door.login("ada", PASSWORD, "")
    with pytest.raises(InvalidParams, match="present"):
        await door.set_password(ada, None, None, "another long password", "")
    with pytest.raises(Unauthenticated):
        await door.set_password(ada, None, "wrong", "another long password", "")
    with pytest.raises(InvalidParams, match="at least 12"):
        await door.set_password(ada, None, PASSWORD, "short", "")
    assert await door.set_password(ada, None, PASSWORD, "another long password", "") == 3
    assert door.registry.sessions(ada, None) == []
    assert isinstance(await fails(door, "ada", PASSWORD), Unauthenticated)
    await door.login("ada", "another long password", "")


async def test_wrong_present_passwords_are_counted_like_wrong_logins(door: Door) -> None:
    ada = add_user(door.registry, "ada", "repo.*")
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await door.set_password(ada, None, "wrong", "another long password", "")
    assert isinstance(await fails(door, "ada", PASSWORD), Overloaded)


async def test_the_oldest_session_ends_when_one_too_many_begins(door: Door, clock: Clock) -> None:
    door.registry.rules = Rules(cost=COST, sessions_per_user=3)
    ids = []
    for _ in range(5):
        clock.move(1)
        ids.append((await door.login("admin", PASSWORD, ""))[1].id)
    assert [s.id for s in door.registry.sessions(ADMIN, None)] == ids[2:]


@pytest.mark.row("A16")
async def test_what_was_typed_in_place_of_a_name_is_not_written_down(door: Door) -> None:
    await fails(door, "My-Secret-Password!", "x")
    trail = json.dumps(door.registry.trail(OWNER, None, 100))
    assert "Secret" not in trail
    assert "(no user name)" in trail


def test_who_acts_has_a_name_that_no_user_can_have() -> None:
    assert not users.is_user_name(OWNER.name)
    assert users.is_user_name(actor("ada").name)
