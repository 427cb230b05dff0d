"""The hub: who is let in, and what it makes of what they send."""

from __future__ import annotations

import asyncio

import pytest

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.errors import (
    CapabilityNotFound,
    CapabilityUnavailable,
    Forbidden,
    Overloaded,
    PluginDisconnected,
    PluginFailure,
    RequestTimeout,
)
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Chunk,
    Error,
    Health,
    Log,
    Request,
    Response,
    Telemetry,
    Welcome,
    encode,
    raw,
    value,
)
from tests.bus.hubs import Peer0, bus, register
from tests.helpers import aeventually


async def closed(peer: Peer0) -> ChannelClosed:
    async def read_on() -> None:
        while True:
            await peer.read()

    with pytest.raises(ChannelClosed) as caught:
        await read_on()
    return caught.value


# -- who is let in ------------------------------------------------------------------------------
async def test_a_plugin_with_its_token_is_welcomed_and_asked() -> None:
    async with bus() as b:
        token = b.define("hello", "hello.greet")
        peer = await register(b.dial(token), "hello", "hello.greet")
        assert isinstance(await peer.read(), Welcome)
        asking = asyncio.create_task(b.call("hello.greet", {"name": "Ada"}))
        request = await peer.read_until(Request)
        assert value(request.payload) == {"name": "Ada"}
        await peer.send(Response(request_id=request.request_id, success=True, data=raw("hi")))
        assert await asking == "hi"
        assert b.witness.calls[-1].outcome == "ok"


async def test_a_plugin_of_the_seeds_contract_gets_no_additive_envelope_or_field() -> None:
    async with bus() as b:
        token = b.define("old", "old.echo")
        peer = await register(b.dial(token), "old", "old.echo", protocol=0)
        asking = asyncio.create_task(b.call("old.echo", 1, stream=True, on_chunk=print))
        frame = await peer.channel.receive()
        assert b'"type":"request"' in frame
        assert b"stream" not in frame
        assert b"deadlineMs" not in frame
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await peer.send(Health(plugin="old", status="up"))
        await aeventually(lambda: b.witness.beats)


@pytest.mark.parametrize(
    ("token", "frame", "code"),
    [
        (None, b'{"type":"register","plugin":"a","port":"internal","capabilities":[]}', 4401),
        ("nonsense", b'{"type":"register","plugin":"a","port":"internal","capabilities":[]}', 4401),
        ("a", b'{"type":"register","plugin":"b","port":"internal","capabilities":[]}', 4403),
        ("a", b'{"type":"health","plugin":"a","status":"up"}', 4400),
        ("a", b"[]", 4400),
        ("a", b"not json", 4400),
        ("a", b'{"type":"register","plugin":"a","port":"internal","capabilities":["../x"]}', 4400),
        ("a", b'{"type":"register","plugin":"__proto__","port":1,"capabilities":[]}', 4400),
    ],
)
@pytest.mark.row("B3", "B6", "B16", "J7")
async def test_a_refused_peer_hears_why_and_is_closed(
    token: str | None, frame: bytes, code: int
) -> None:
    async with bus() as b:
        tokens = {"a": b.define("a", "a.x"), "b": b.define("b", "b.x")}
        peer = Peer0(b.dial(tokens.get(token or "", token)))
        await peer.channel.send(frame)
        assert isinstance(await peer.read(), Error)
        assert (await closed(peer)).code == code
        assert not b.witness.registrations


@pytest.mark.row("B7")
async def test_the_second_live_plugin_of_a_name_is_refused_and_the_first_keeps_serving() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        first = await register(b.dial(token), "a", "a.x")
        await first.read()
        second = await register(b.dial(token), "a", "a.x")
        assert (await second.read()).code == "already_registered"  # type: ignore[union-attr]
        assert (await closed(second)).code == 4409
        asking = asyncio.create_task(b.call("a.x"))
        request = await first.read_until(Request)
        await first.send(Response(request_id=request.request_id, success=True))
        assert await asking is None


@pytest.mark.row("B3")
async def test_a_token_of_an_earlier_process_is_refused() -> None:
    async with bus() as b:
        old = b.define("a", "a.x")
        b.tokens.issue("a", 2)
        peer = await register(b.dial(old), "a", "a.x")
        assert (await closed(peer)).code == 4401


# -- what is routed -----------------------------------------------------------------------------
@pytest.mark.row("B10")
async def test_undeclared_and_reserved_capabilities_are_not_routed() -> None:
    async with bus() as b:
        token = b.define("goose", "goose.run", "auth.login")
        peer = await register(b.dial(token), "goose", "goose.run", "auth.login", "llm.chat")
        await peer.read()
        assert b.witness.registrations == [("goose", ("goose.run",), ("auth.login", "llm.chat"))]
        with pytest.raises(CapabilityNotFound):
            await b.call("llm.chat")
        with pytest.raises(CapabilityUnavailable):
            await b.call("auth.login")


async def test_nobody_declares_it_differs_from_nobody_is_up() -> None:
    async with bus() as b:
        b.define("a", "a.x")
        with pytest.raises(CapabilityNotFound):
            await b.call("b.y")
        with pytest.raises(CapabilityUnavailable) as caught:
            await b.call("a.x")
        assert caught.value.facts["plugins"] == ["a"]


async def test_a_request_waits_for_a_plugin_that_is_coming() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        b.router.expect("a", True)
        asking = asyncio.create_task(b.call("a.x"))
        peer = await register(b.dial(token), "a", "a.x")
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=True, data=raw(1)))
        assert await asking == 1


async def test_a_waiting_request_fails_when_the_plugin_will_not_come() -> None:
    async with bus() as b:
        b.define("a", "a.x")
        b.router.expect("a", True)
        asking = asyncio.create_task(b.call("a.x"))
        await asyncio.sleep(0)
        b.router.expect("a", False)
        with pytest.raises(CapabilityUnavailable):
            await asking


@pytest.mark.row("B14")
async def test_requests_of_a_plugin_that_dies_fail_at_once() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        asking = [asyncio.create_task(b.call("a.x")) for _ in range(200)]
        await peer.read_until(Request)
        await peer.channel.close()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(one) for one in done} == {PluginDisconnected}
        assert b.witness.losses == [("a", "connection lost")]


async def test_an_idempotent_request_goes_on_to_the_next_provider() -> None:
    async with bus() as b:
        meta = {"schemas": {"x.y": {"idempotent": True}}}
        peers = {}
        for name in ("a", "b"):
            token = b.define(name, "x.y")
            peers[name] = await register(b.dial(token), name, "x.y", **meta)
            await peers[name].read()
        asking = asyncio.create_task(b.call("x.y"))
        await peers["a"].read_until(Request)
        await peers["a"].channel.close()
        request = await peers["b"].read_until(Request)
        await peers["b"].send(Response(request_id=request.request_id, success=True, data=raw(2)))
        assert await asking == 2


@pytest.mark.row("B15")
async def test_the_257th_request_in_flight_is_refused() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        await peer.read()
        asking = [asyncio.create_task(b.call("a.x")) for _ in range(256)]
        await aeventually(lambda: len(b.router.entries["a"].connection.session.asked) == 256)
        with pytest.raises(Overloaded):
            await b.call("a.x")
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_deadline_ends_the_request_and_tells_the_plugin() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        asking = asyncio.create_task(b.call("a.x", timeout=0.05))
        request = await peer.read_until(Request)
        assert request.deadline_ms <= 50
        with pytest.raises(RequestTimeout):
            await asking
        assert (await peer.read_until(Cancel)).request_id == request.request_id
        await peer.send(Response(request_id=request.request_id, success=True))
        session = b.router.entries["a"].connection.session
        await aeventually(lambda: session.ignored == 1)


async def test_a_plugin_that_fails_gives_its_error() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        asking = asyncio.create_task(b.call("a.x"))
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=False, error="no disk"))
        with pytest.raises(PluginFailure, match="no disk"):
            await asking


async def test_drain_sends_nothing_more_and_waits_for_what_is_in_flight() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        asking = asyncio.create_task(b.call("a.x"))
        request = await peer.read_until(Request)
        draining = asyncio.create_task(b.router.drain("a", 5.0))
        await asyncio.sleep(0)
        with pytest.raises(CapabilityUnavailable):
            await b.call("a.x")
        assert not draining.done()
        await peer.send(Response(request_id=request.request_id, success=True, data=raw(3)))
        assert await asking == 3
        assert await draining is True


# -- streams ------------------------------------------------------------------------------------
async def test_chunks_come_in_order_and_the_answer_closes_the_stream() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        schemas = {"a.x": {"stream": True}}
        peer = await register(b.dial(token), "a", "a.x", schemas=schemas)
        pieces: list[object] = []
        asking = asyncio.create_task(
            b.call("a.x", stream=True, on_chunk=lambda data: pieces.append(value(data)))
        )
        request = await peer.read_until(Request)
        assert request.stream
        for seq in range(100):
            await peer.send(Chunk(request_id=request.request_id, seq=seq, data=raw(seq)))
        await peer.send(
            Response(request_id=request.request_id, success=True, data=raw({"count": 100}))
        )
        assert await asking == {"count": 100}
        assert pieces == list(range(100))


async def test_a_plain_provider_gives_its_answer_as_one_chunk() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        pieces: list[object] = []
        asking = asyncio.create_task(
            b.call("a.x", stream=True, on_chunk=lambda data: pieces.append(value(data)))
        )
        request = await peer.read_until(Request)
        assert not request.stream
        await peer.send(Response(request_id=request.request_id, success=True, data=raw("all")))
        assert await asking is None
        assert pieces == ["all"]


# -- plug-in to plug-in -------------------------------------------------------------------------
@pytest.mark.row("B30")
async def test_a_plugin_asks_another_within_its_calls_only() -> None:
    async with bus() as b:
        asker_token = b.define("asker", "asker.x", calls=("other.*",))
        other_token = b.define("other", "other.y")
        secret_token = b.define("secret", "secret.z")
        asker = await register(b.dial(asker_token), "asker", "asker.x")
        other = await register(b.dial(other_token), "other", "other.y")
        await register(b.dial(secret_token), "secret", "secret.z")
        await asker.send(Request(request_id="1", capability="other.y", payload=raw({"n": 1})))
        request = await other.read_until(Request)
        await other.send(Response(request_id=request.request_id, success=True, data=raw(7)))
        answer = await asker.read_until(Response)
        assert (answer.request_id, value(answer.data)) == ("1", 7)
        await asker.send(Request(request_id="2", capability="secret.z"))
        assert (await asker.read_until(Response)).code == "forbidden"
        await asker.send(Request(request_id="3", capability="host.stop"))
        assert (await asker.read_until(Response)).code == "forbidden"


@pytest.mark.row("B30")
async def test_an_echoed_token_acts_for_the_caller_and_dies_with_the_request() -> None:
    async with bus() as b:
        asker_token = b.define("asker", "asker.x", calls=("other.y",))
        other_token = b.define("other", "other.y")
        asker = await register(b.dial(asker_token), "asker", "asker.x")
        other = await register(b.dial(other_token), "other", "other.y")
        asking = asyncio.create_task(b.call("asker.x"))
        outer = await asker.read_until(Request)
        await asker.send(Request(request_id="1", capability="other.y", token=outer.token))
        inner = await other.read_until(Request)
        await other.send(Response(request_id=inner.request_id, success=True, data=raw(1)))
        assert (await asker.read_until(Response)).success
        assert b.witness.calls[-1].caller == "owner"
        await asker.send(Response(request_id=outer.request_id, success=True))
        await asking
        await asker.send(Request(request_id="2", capability="other.y", token=outer.token))
        assert (await asker.read_until(Response)).code == "unauthenticated"


async def test_a_caller_without_the_scope_is_refused_before_the_plugin_hears_of_it() -> None:
    from bkg_workbench.bus.identity import Caller

    async with bus() as b:
        b.define("a", "a.x")
        with pytest.raises(Forbidden):
            await b.router.call("a.x", raw({}), Caller("key", ("b.*",)))


# -- bad messages -------------------------------------------------------------------------------
@pytest.mark.row("J1", "J14")
async def test_one_bad_message_never_ends_the_reader() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        await peer.read()
        for bad in (b"[" * 100_000, b'{"type":"log"}', b'{"type":"nope"}'):
            await peer.channel.send(bad)
        await peer.send(Log(plugin="a", level="info", message="still here"))
        await aeventually(lambda: b.witness.logs)
        assert (await peer.read_until(Error)).code == "protocol_error"


async def test_five_bad_messages_in_a_minute_end_the_connection() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        for _ in range(5):
            await peer.channel.send(b"{}")
        assert (await closed(peer)).code == 4400


@pytest.mark.row("L12")
async def test_a_foreign_plugin_name_in_a_log_is_of_no_use() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        await peer.send(Log(plugin="victim", level="error", message="x"))
        await peer.send(Telemetry(plugin="a", cpu=1.5, mem_bytes=10, numbers={"models_loaded": 2}))
        sample = (await aeventually(lambda: b.witness.samples))[0]
        assert sample.numbers == {"models_loaded": 2}
        assert b.hub.mismatches == 1


@pytest.mark.row("B22")
async def test_a_flood_of_log_lines_is_cut_and_counted() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        frame = encode(Log(plugin="a", level="info", message="x"))
        connection = await aeventually(lambda: b.router.entries["a"].connection)
        connection._bucket = 10.0
        connection._refilled = float("inf")
        for _ in range(50):
            await peer.channel.send(frame)
        await aeventually(lambda: len(b.witness.logs) + connection.flood_dropped == 50)
        assert len(b.witness.logs) <= 11


async def test_a_capability_that_is_declared_again_is_routed_again() -> None:
    async with bus() as b:
        token = b.define("a", "a.x")
        peer = await register(b.dial(token), "a", "a.x")
        await peer.read()
        b.router.define("a", [], [])
        with pytest.raises(CapabilityNotFound):
            await b.call("a.x")
        b.router.define("a", ["a.x"], [])
        asking = asyncio.create_task(b.call("a.x"))
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=True, data=raw(4)))
        assert await asking == 4
