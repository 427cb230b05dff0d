"""The memory channel: order, room, limits and the end, as a WebSocket has them."""

from __future__ import annotations

import asyncio

import pytest

from bkg_workbench.bus.channel import (
    FAIR_FRAMES,
    REGISTERED_LIMIT,
    UNREGISTERED_LIMIT,
    ChannelClosed,
    MemoryChannel,
    Peer,
    memory_pair,
)


async def test_frames_arrive_whole_and_in_order_both_ways() -> None:
    host, peer = memory_pair(Peer(path="/attach", token="t"))
    assert (host.peer.path, host.peer.token) == ("/attach", "t")
    for number in range(100):
        await peer.send(b"%d" % number)
        await host.send(b"-%d" % number)
    assert [await host.receive() for _ in range(100)] == [b"%d" % n for n in range(100)]
    assert [await peer.receive() for _ in range(100)] == [b"-%d" % n for n in range(100)]


async def test_a_sender_waits_while_the_reader_has_no_room() -> None:
    host, peer = memory_pair()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await peer.send(b"x")
            sent += 1

    task = asyncio.create_task(flood())
    for _ in range(5_000):
        await asyncio.sleep(0)
    assert sent == 1024
    await host.receive()
    for _ in range(50):
        await asyncio.sleep(0)
    assert sent == 1025
    await host.close()
    with pytest.raises(ChannelClosed):
        await task


async def test_a_message_over_the_readers_limit_closes_with_1009() -> None:
    host, peer = memory_pair()
    assert host.limit == UNREGISTERED_LIMIT
    await peer.send(b"x" * UNREGISTERED_LIMIT)
    with pytest.raises(ChannelClosed) as caught:
        await peer.send(b"x" * (UNREGISTERED_LIMIT + 1))
    assert caught.value.code == 1009
    # What came before is still to be read.
    assert len(await host.receive()) == UNREGISTERED_LIMIT
    for end in (host, peer):
        with pytest.raises(ChannelClosed) as caught:
            await end.receive()
        assert caught.value.code == 1009


async def test_a_known_peer_may_send_more() -> None:
    host, peer = memory_pair()
    host.limit = REGISTERED_LIMIT
    await peer.send(b"x" * (UNREGISTERED_LIMIT + 1))
    assert len(await host.receive()) == UNREGISTERED_LIMIT + 1


async def test_both_ends_see_the_first_close_and_a_second_does_nothing() -> None:
    host, peer = memory_pair()
    waiting = asyncio.create_task(peer.receive())
    await asyncio.sleep(0)
    assert await peer.ping(0.0)
    await host.close(4409, "name live")
    await peer.close(1000, "later")
    with pytest.raises(ChannelClosed) as caught:
        await waiting
    assert (caught.value.code, caught.value.reason) == (4409, "name live")
    for sending in (host.send(b"x"), peer.send(b"x")):
        with pytest.raises(ChannelClosed) as caught:
            await sending
        assert caught.value.code == 4409
    assert not await peer.ping(0.0)


async def test_a_cancelled_reader_loses_no_frame() -> None:
    host, peer = memory_pair()
    reading = asyncio.create_task(host.receive())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await peer.send(b"1")
    assert await host.receive() == b"1"


async def test_a_flood_lets_everybody_else_have_a_turn() -> None:
    host, peer = memory_pair()
    order: list[str] = []

    async def flood() -> None:
        for _ in range(10 * FAIR_FRAMES):
            await peer.send(b"x")
        order.append("flood")

    async def other() -> None:
        order.append("other")

    async def drain(channel: MemoryChannel) -> None:
        for _ in range(10 * FAIR_FRAMES):
            await channel.receive()
        order.append("drained")

    await asyncio.gather(flood(), other())
    assert order == ["other", "flood"]
    await asyncio.gather(drain(host), other())
    assert order == ["other", "flood", "other", "drained"]


def test_a_close_says_its_code_and_reason() -> None:
    assert str(ChannelClosed(4400, "bad envelope")) == "closed with 4400 bad envelope"
    assert str(ChannelClosed()) == "closed with 1006"
