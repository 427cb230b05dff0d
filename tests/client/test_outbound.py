"""The attached side of a channel: requests, streams, events, and the Host that goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.errors import (
    HostGone,
    InvalidParams,
    Overloaded,
    ProtocolError,
    RequestTimeout,
    WorkbenchError,
)
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Chunk,
    Error,
    Health,
    Progress,
    Request,
    Response,
    Welcome,
    raw,
    value,
)
from bkg_workbench.protocol.session import respond
from tests.client.fake_host import FakeHost, attached
from tests.helpers import aeventually


# -- the first frame ------------------------------------------------------------------------------
async def test_the_welcome_says_which_host_it_is() -> None:
    async with attached() as (_, outbound):
        assert outbound.instance == "i1"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Error(code="unauthenticated", error="No valid token."), "No valid token"),
        (Health(plugin="a", status="up"), "has gone"),
        (None, "has gone"),
    ],
)
async def test_whoever_does_not_welcome_is_no_host(first: Any, reason: str) -> None:
    host = FakeHost()
    outbound = ChannelOutbound(host.theirs, "/w")
    assert outbound.instance == ""
    if first is None:
        await host.channel.close()
    else:
        await host.send(first)
    with pytest.raises(HostGone, match=reason):
        await outbound.start()
    await outbound.aclose()


# -- requests -------------------------------------------------------------------------------------
async def test_a_call_gives_the_decoded_answer() -> None:
    async with attached() as (host, outbound):
        asking = asyncio.create_task(outbound.call("a.b", {"n": 1}, timeout=2.0))
        request = await host.read()
        assert (request.capability, value(request.payload)) == ("a.b", {"n": 1})
        assert request.deadline_ms == 2000
        await host.answer(request, {"text": "hi"})
        assert await asking == {"text": "hi"}


async def test_a_failed_answer_is_raised_as_the_error_that_it_was() -> None:
    async with attached() as (host, outbound):
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        request = await host.read()
        error = InvalidParams(capability="a.b", errors={"/n": "no"})
        await host.send(respond(request.request_id, error=error))
        with pytest.raises(InvalidParams) as caught:
            await asking
        assert caught.value.facts == error.facts


async def test_what_cannot_be_sent_fails_that_call_alone() -> None:
    async with attached() as (host, outbound):
        for bad in (object(), "\ud800", "x" * 17_000_000):
            with pytest.raises(ProtocolError):
                await outbound.call("a.b", {"x": bad}, timeout=5.0)
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        await host.answer(await host.read(), 1)
        assert await asking == 1


async def test_at_the_deadline_the_call_fails_and_the_host_is_told() -> None:
    clock = ManualClock()
    async with attached(clock) as (host, outbound):
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=3.0))
        request = await host.read()
        await clock.advance(2.8)
        assert not asking.done()
        await clock.advance(0.4)
        with pytest.raises(RequestTimeout, match="within 3 s"):
            await asking
        assert (await host.read(Cancel)).request_id == request.request_id
        # The late answer is counted and hurts nobody.
        await host.answer(request, 1)
        await aeventually(lambda: outbound._session.ignored == 1)


async def test_a_cancelled_call_is_withdrawn() -> None:
    async with attached() as (host, outbound):
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        request = await host.read()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await host.read(Cancel)).request_id == request.request_id
        assert not outbound._session.asked


async def test_progress_reaches_the_asker_and_one_that_fails_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attached() as (host, outbound):
        seen: list[float] = []

        def on_progress(progress: Progress) -> None:
            seen.append(progress.value)
            raise ZeroDivisionError

        asking = asyncio.create_task(
            outbound.call("a.b", {}, timeout=None, on_progress=on_progress)
        )
        request = await host.read()
        for number in (1.0, 2.0):
            await host.send(Progress(request_id=request.request_id, value=number))
        await host.answer(request, "done")
        assert await asking == "done"
        assert seen == [1.0, 2.0]
        assert "progress of a.b failed" in caplog.text


async def test_a_host_that_asks_hears_that_nothing_is_served_here() -> None:
    async with attached() as (host, _):
        await host.send(Request(request_id="h1", capability="a.b"))
        answer = await host.read(Response)
        assert (answer.request_id, answer.success) == ("h1", False)


async def test_an_envelope_of_a_later_version_is_ignored() -> None:
    async with attached() as (host, outbound):
        await host.channel.send(b'{"type":"hologram","x":1}')
        await host.send(Welcome(protocol=2, heartbeat_seconds=1))
        await host.send(Error(code="x", error="y"))
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        await host.answer(await host.read(), 1)
        assert await asking == 1


# -- streams --------------------------------------------------------------------------------------
async def test_a_stream_gives_its_pieces_then_the_closing_data() -> None:
    async with attached() as (host, outbound):
        pieces: list[Any] = []

        async def read_all() -> None:
            async for piece in outbound.stream("a.b", {}, timeout=None):
                pieces.append(piece)

        reading = asyncio.create_task(read_all())
        request = await host.read()
        assert request.stream
        for seq in range(3):
            await host.send(Chunk(request_id=request.request_id, seq=seq, data=raw({"n": seq})))
        await host.answer(request, {"count": 3})
        await reading
        assert pieces == [{"n": 0}, {"n": 1}, {"n": 2}, {"count": 3}]


async def test_a_stream_that_is_left_early_is_withdrawn() -> None:
    async with attached() as (host, outbound):
        stream = outbound.stream("a.b", {}, timeout=None)
        first = asyncio.ensure_future(anext(stream))
        request = await host.read()
        await host.send(Chunk(request_id=request.request_id, seq=0, data=raw(1)))
        assert await first == 1
        await stream.aclose()  # type: ignore[attr-defined]
        assert (await host.read(Cancel)).request_id == request.request_id


async def test_a_stream_that_nobody_reads_ends_overloaded() -> None:
    async with attached() as (host, outbound):
        stream = outbound.stream("a.b", {}, timeout=None)
        first = asyncio.ensure_future(anext(stream))
        request = await host.read()
        piece = raw("x" * 300_000)
        for seq in range(8):
            await host.send(Chunk(request_id=request.request_id, seq=seq, data=piece))
        await first
        await host.read(Cancel)
        with pytest.raises(Overloaded):
            async for _ in stream:
                pass


# -- subscriptions --------------------------------------------------------------------------------
async def test_events_that_come_before_the_reply_is_seen_are_kept_in_order() -> None:
    async with attached() as (host, outbound):
        seen: list[tuple[str, int, Any]] = []
        asking = asyncio.create_task(
            outbound.subscribe(["logs"], lambda topic, seq, data: seen.append((topic, seq, data)))
        )
        request = await host.read()
        assert request.capability == "host.subscribe"
        # As on a busy Host: the first event overtakes the reply, others follow at its heels.
        await host.tell("s1", 0, "zero", "logs")
        await host.answer(request, {"subscription": "s1", "seq": 0})
        await host.tell("s1", 1, "one", "logs")
        subscription, reply = await asking
        await host.tell("s1", 2, "two", "logs")
        await aeventually(lambda: len(seen) == 3)
        assert seen == [("logs", 0, "zero"), ("logs", 1, "one"), ("logs", 2, "two")]
        assert (subscription, reply["seq"]) == ("s1", 0)


async def test_after_unsubscribing_nothing_more_is_told_and_nothing_is_kept() -> None:
    async with attached() as (host, outbound):
        seen: list[Any] = []
        asking = asyncio.create_task(
            outbound.subscribe(["logs"], lambda _topic, _seq, data: seen.append(data))
        )
        await host.answer(await host.read(), {"subscription": "s1", "seq": 0})
        await asking
        ending = asyncio.create_task(outbound.unsubscribe("s1"))
        request = await host.read()
        await host.tell("s1", 0, "on its way", "logs")
        await host.answer(request, {})
        await ending
        await outbound.unsubscribe("s1")
        assert seen == []
        assert not outbound._early


async def test_a_follower_that_fails_costs_neither_the_next_event_nor_the_channel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with attached() as (host, outbound):
        seen: list[Any] = []

        def fail(_topic: str, _seq: int, data: Any) -> None:
            seen.append(data)
            raise ZeroDivisionError

        asking = asyncio.create_task(outbound.subscribe(["logs"], fail))
        request = await host.read()
        await host.tell("s1", 0, "early", "logs")
        await host.answer(request, {"subscription": "s1", "seq": 0})
        await asking
        await host.tell("s1", 1, "late", "logs")
        await aeventually(lambda: seen == ["early", "late"])
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        await host.answer(await host.read(), 1)
        assert await asking == 1
        assert "a callback for logs failed" in caplog.text


# -- the Host that goes ---------------------------------------------------------------------------
async def test_when_the_host_goes_everything_that_waits_fails_and_everybody_is_told_once() -> None:
    async with attached() as (host, outbound):
        told: list[str] = []
        outbound.on_lost(told.append)
        calls = [asyncio.create_task(outbound.call("a.b", {}, timeout=None)) for _ in range(20)]
        stream = outbound.stream("a.c", {}, timeout=None)
        first = asyncio.ensure_future(anext(stream))
        for _ in range(21):
            await host.read()
        await host.channel.close(1001, "the Host stops")
        done = await asyncio.gather(*calls, first, return_exceptions=True)
        assert {type(error) for error in done} == {HostGone}
        assert "/w" in str(done[0])
        assert told == ["the Host stops"]
        outbound.on_lost(told.append)
        assert told == ["the Host stops"] * 2
        with pytest.raises(HostGone):
            await outbound.call("a.b", {}, timeout=None)
        await outbound.unsubscribe("s1")


async def test_a_host_that_sends_rubbish_is_left() -> None:
    async with attached() as (host, outbound):
        told: list[str] = []
        outbound.on_lost(told.append)
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        await host.read()
        await host.channel.send(b"[1, 2")
        with pytest.raises(HostGone):
            await asking
        assert "no envelope" in told[0]


async def test_leaving_tells_nobody_and_can_be_done_twice() -> None:
    async with attached() as (_, outbound):
        told: list[str] = []
        outbound.on_lost(told.append)
        asking = asyncio.create_task(outbound.call("a.b", {}, timeout=None))
        await asyncio.sleep(0)
        await outbound.aclose()
        await outbound.aclose()
        assert told == []
        with pytest.raises(WorkbenchError):
            await asking
