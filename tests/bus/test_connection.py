"""A peer of the hub: its way out, when it does not read, and how much nonsense it may send."""

from __future__ import annotations

import asyncio

import pytest

from bkg_workbench.bus.channel import REGISTERED_LIMIT, ChannelClosed, MemoryChannel, memory_pair
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.bus.connection import (
    FLOOD_BURST,
    FLOOD_RATE,
    STRIKE_SECONDS,
    STRIKES,
    WRITE_SECONDS,
    Connection,
)
from bkg_workbench.errors import ProtocolError
from bkg_workbench.protocol.envelopes import Cancel, Log, Request, Response, decode, raw
from tests.bus.hubs import bus, register
from tests.helpers import aeventually


def connection(clock: ManualClock) -> tuple[Connection, MemoryChannel]:
    host, peer = memory_pair()
    return Connection(host, "demo", clock=clock), peer


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- the way out ----------------------------------------------------------------------------------
async def test_what_is_posted_goes_out_in_order() -> None:
    one, peer = connection(ManualClock())
    one.start()
    for number in range(50):
        one.post(Cancel(request_id=str(number)))
    got = [decode(await peer.receive()) for _ in range(50)]
    assert got == [Cancel(request_id=str(n)) for n in range(50)]
    await turns()
    assert one.backlog == 0
    await one.close()


async def test_closing_sends_what_is_queued_first() -> None:
    one, peer = connection(ManualClock())
    one.start()
    for number in range(200):
        one.post(Cancel(request_id=str(number)))
    await one.close(1001, "the Host stops")
    got = [decode(await peer.receive()) for _ in range(200)]
    assert got[-1] == Cancel(request_id="199")
    with pytest.raises(ChannelClosed) as caught:
        await peer.receive()
    assert (caught.value.code, caught.value.reason) == (1001, "the Host stops")
    await one.close()


async def test_closing_without_flush_drops_what_is_queued() -> None:
    one, peer = connection(ManualClock())
    one.start()
    one.post(Cancel(request_id="1"))
    await one.close(flush=False)
    with pytest.raises(ChannelClosed):
        await peer.receive()


async def test_what_is_posted_after_the_end_is_dropped_and_not_kept() -> None:
    one, peer = connection(ManualClock())
    one.start()
    await peer.close()
    one.post(Cancel(request_id="1"))
    await turns()
    for _ in range(1_000):
        one.post(Cancel(request_id="1"))
    assert one.backlog == 0
    await one.close()
    one.post(Cancel(request_id="1"))
    assert one.backlog == 0


async def test_what_is_posted_before_the_start_waits_for_it() -> None:
    one, peer = connection(ManualClock())
    one.post(Cancel(request_id="1"))
    one.start()
    assert decode(await peer.receive()) == Cancel(request_id="1")
    await one.close()


async def test_a_message_that_no_peer_would_take_is_refused_and_the_rest_goes_on() -> None:
    one, peer = connection(ManualClock())
    one.start()
    with pytest.raises(ProtocolError):
        one.post(Response(request_id="1", success=True, data=raw("x" * REGISTERED_LIMIT)))
    one.post(Cancel(request_id="1"))
    assert decode(await peer.receive()) == Cancel(request_id="1")
    await one.close()


async def test_a_connection_that_was_never_started_can_be_closed() -> None:
    one, peer = connection(ManualClock())
    await one.close()
    with pytest.raises(ChannelClosed):
        await peer.receive()


async def test_the_backlog_is_what_the_peer_has_not_read() -> None:
    one, peer = connection(ManualClock())
    peer._room = 1
    one.start()
    size = len(b'{"type":"cancel","requestId":"1"}')
    for _ in range(4):
        one.post(Cancel(request_id="1"))
    await turns()
    assert one.backlog == 3 * size
    await peer.receive()
    await turns()
    assert one.backlog == 2 * size
    await one.close(flush=False)


# -- a peer that does not read --------------------------------------------------------------------
async def test_a_peer_is_stuck_once_a_frame_has_waited_too_long() -> None:
    clock = ManualClock()
    one, peer = connection(clock)
    peer._room = 1
    one.start()
    one.post(Cancel(request_id="1"))
    await clock.advance(100.0)
    assert not one.is_stuck  # nothing waits for it
    one.post(Cancel(request_id="2"))
    await clock.advance(WRITE_SECONDS)
    assert not one.is_stuck
    await clock.advance(0.1)
    assert one.is_stuck
    await peer.receive()
    await turns()
    assert not one.is_stuck
    await one.close(flush=False)


async def test_a_slow_reader_that_reads_on_is_not_stuck() -> None:
    clock = ManualClock()
    one, peer = connection(clock)
    peer._room = 1
    one.start()
    for number in range(20):
        one.post(Cancel(request_id=str(number)))
    for _ in range(10):
        await clock.advance(WRITE_SECONDS - 0.5)
        assert not one.is_stuck
        await peer.receive()
        await turns()
    await one.close(flush=False)


async def test_the_hub_drops_a_peer_that_does_not_read_and_no_other() -> None:
    clock = ManualClock()
    async with bus(clock) as b:
        peers = {}
        for name in ("stuck", "fine"):
            token = b.define(name, f"{name}.x")
            channel = b.dial(token)
            assert isinstance(channel, MemoryChannel)
            channel._room = 4
            peers[name] = await register(channel, name, f"{name}.x")
            await peers[name].read()
        asking = [asyncio.create_task(b.call("stuck.x", timeout=None)) for _ in range(9)]
        await clock.advance(WRITE_SECONDS + 1)
        assert b.router.entries["stuck"].connection is None
        assert [text for code, text in b.witness.refusals if code == "slow_reader"] == [
            "stuck does not read; dropped"
        ]
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert {getattr(error, "code", error) for error in done} == {"plugin_disconnected"}
        assert [name for name, _ in b.witness.losses] == ["stuck"]
        fine = asyncio.create_task(b.call("fine.x"))
        request = await peers["fine"].read_until(Request)
        await peers["fine"].send(Response(request_id=request.request_id, success=True, data=raw(1)))
        assert await fine == 1


# -- strikes and floods ---------------------------------------------------------------------------
async def test_strikes_count_within_a_minute() -> None:
    clock = ManualClock()
    one, _ = connection(clock)
    assert [one.strike() for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
    assert one.strike()
    await clock.advance(STRIKE_SECONDS)
    assert [one.strike() for _ in range(STRIKES - 1)] == [False] * (STRIKES - 1)


async def test_strikes_that_are_far_apart_never_count() -> None:
    clock = ManualClock()
    one, _ = connection(clock)
    for _ in range(100):
        assert not one.strike()
        await clock.advance(STRIKE_SECONDS / (STRIKES - 1))


async def test_a_burst_is_taken_the_rest_counted_and_the_bucket_fills_with_time() -> None:
    clock = ManualClock()
    one, _ = connection(clock)
    burst = int(FLOOD_BURST)
    assert sum(one.takes_flood() for _ in range(burst + 500)) == burst
    assert one.flood_dropped == 500
    await clock.advance(0.5)
    assert sum(one.takes_flood() for _ in range(burst)) == FLOOD_RATE / 2
    await clock.advance(3600)
    assert sum(one.takes_flood() for _ in range(burst + 500)) == burst


async def test_a_flood_of_one_peer_keeps_no_other_waiting() -> None:
    async with bus() as b:
        flooder = await register(b.dial(b.define("flooder", "flooder.x")), "flooder", "flooder.x")
        other = await register(b.dial(b.define("other", "other.x")), "other", "other.x")
        await other.read()
        at = 0

        async def flood() -> None:
            for number in range(5_000):
                await flooder.send(Log(plugin="flooder", level="info", message=str(number)))

        flooding = asyncio.create_task(flood())
        await aeventually(lambda: len(b.witness.logs) > 100)
        asking = asyncio.create_task(b.call("other.x"))
        request = await other.read_until(Request)
        await other.send(Response(request_id=request.request_id, success=True))
        await asking
        at = len(b.witness.logs)
        await flooding
        await aeventually(lambda: len(b.witness.logs) == 5_000)
        # The request went through while the flood was still coming, not after it.
        assert at < 5_000
        assert [log.message for log in b.witness.logs] == [str(n) for n in range(5_000)]
