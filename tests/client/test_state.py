"""The followed state: a snapshot, the events after it, and a new beginning after a gap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.client.state import Follower
from bkg_workbench.errors import HostGone
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import (
    AnyStateEvent,
    Cleared,
    Defined,
    Removed,
    WorkbenchState,
    fold,
)
from tests.client.fake_host import FakeHost, attached
from tests.helpers import aeventually

EMPTY = WorkbenchState(instance="i1", version="1", workspace="/w", started_at=1)


def defined(name: str) -> Defined:
    return Defined(plugin=name, definition=Definition(name=name), config_version=0)


class Owner:
    """The Host's side of the topic `state`."""

    def __init__(self, host: FakeHost) -> None:
        self.host, self.state, self.count = host, EMPTY, 0
        self.key, self.seq = "", 0

    async def accept(self) -> None:
        """Answer the next `host.subscribe`, and whatever comes before it."""
        request = await self.host.read()
        while request.capability != "host.subscribe":
            await self.host.answer(request, {})
            request = await self.host.read()
        self.count += 1
        self.key, self.seq = f"s{self.count}", 0
        await self.host.answer(request, {"subscription": self.key, "seq": 0, "state": self.state})

    async def emit(self, event: AnyStateEvent, *, lose: bool = False) -> None:
        self.state = fold(self.state, event)
        if not lose:
            await self.host.tell(self.key, self.seq, event)
        self.seq += 1

    async def reset(self) -> None:
        await self.host.tell(self.key, self.seq, {"reason": "1 MiB"}, "reset")
        self.seq += 1


async def follow(host: FakeHost, outbound: ChannelOutbound) -> tuple[Owner, Follower]:
    owner, follower = Owner(host), Follower(outbound)
    starting = asyncio.create_task(follower.start())
    await owner.accept()
    await starting
    return owner, follower


async def test_the_state_follows_the_owners() -> None:
    async with attached() as (host, outbound):
        owner, follower = await follow(host, outbound)
        assert follower.state == owner.state
        changes: list[int] = []
        end = follower.on_change(lambda state: changes.append(state.seq))
        for event in (defined("a"), defined("b"), Removed(plugin="a"), Cleared(key="x")):
            await owner.emit(event)
        await aeventually(lambda: follower.state == owner.state)
        assert changes == [1, 2, 3, 4]
        end()
        end()
        await owner.emit(defined("c"))
        await aeventually(lambda: "c" in follower.state.plugins)
        assert changes == [1, 2, 3, 4]
        follower.close()


async def test_events_that_come_before_the_snapshot_is_read_are_folded_after_it() -> None:
    async with attached() as (host, outbound):
        owner, follower = Owner(host), Follower(outbound)
        owner.state = fold(EMPTY, defined("a"))
        starting = asyncio.create_task(follower.start())
        request = await host.read()
        snapshot = owner.state
        owner.key = "s1"
        await owner.emit(defined("b"))
        await host.answer(request, {"subscription": "s1", "seq": 0, "state": snapshot})
        await owner.emit(defined("c"))
        await starting
        await aeventually(lambda: follower.state == owner.state)
        assert list(follower.state.plugins) == ["a", "b", "c"]


async def test_a_reset_leads_to_a_new_subscription_and_the_owners_state() -> None:
    async with attached() as (host, outbound):
        owner, follower = await follow(host, outbound)
        await owner.emit(defined("a"))
        await owner.reset()
        owner.state = fold(owner.state, defined("missed"))
        await owner.accept()
        await owner.emit(defined("b"))
        await aeventually(lambda: follower.state == owner.state)
        assert list(follower.state.plugins) == ["a", "b", "missed"]
        assert owner.count == 2
        assert list(outbound._events) == ["s2"]
        follower.close()


async def test_a_gap_leads_to_a_new_subscription_too() -> None:
    async with attached() as (host, outbound):
        owner, follower = await follow(host, outbound)
        await owner.emit(defined("a"))
        await owner.emit(defined("lost"), lose=True)
        await owner.emit(defined("b"))
        await owner.emit(defined("c"))
        await owner.accept()
        await aeventually(lambda: follower.state == owner.state)
        assert list(follower.state.plugins) == ["a", "b", "c", "lost"]
        follower.close()


async def test_a_reset_that_overtakes_the_reply_is_not_lost() -> None:
    async with attached() as (host, outbound):
        owner, follower = Owner(host), Follower(outbound)
        starting = asyncio.create_task(follower.start())
        request = await host.read()
        await host.tell("s1", 0, {"reason": "1 MiB"}, "reset")
        await host.answer(request, {"subscription": "s1", "seq": 0, "state": EMPTY})
        await starting
        owner.state = fold(EMPTY, defined("a"))
        await owner.accept()
        await aeventually(lambda: follower.state == owner.state)
        follower.close()


async def test_a_callback_that_fails_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with attached() as (host, outbound):
        owner, follower = await follow(host, outbound)
        seen: list[Any] = []

        def fail(_: WorkbenchState) -> None:
            raise ZeroDivisionError

        follower.on_change(fail)
        follower.on_change(lambda state: seen.append(state.seq))
        await owner.emit(defined("a"))
        await owner.emit(defined("b"))
        await aeventually(lambda: seen == [1, 2])
        assert "a callback of on_change failed" in caplog.text


async def test_a_host_that_goes_leaves_the_last_state() -> None:
    async with attached() as (host, outbound):
        owner, follower = await follow(host, outbound)
        await owner.emit(defined("a"))
        await aeventually(lambda: follower.state == owner.state)
        await owner.reset()
        await host.channel.close()
        await aeventually(lambda: follower._again is not None and follower._again.done())
        assert follower.state == owner.state
        with pytest.raises(HostGone):
            await outbound.call("a.b", {}, timeout=1.0)
        follower.close()
