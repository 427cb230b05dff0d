"""Attacks on a real bus, each over a real socket: what it costs the attacker, and nobody else."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from bkg_workbench.bus import complaints, hub, websocket
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.bus.complaints import Complaints
from bkg_workbench.bus.connection import FULL_BYTES
from bkg_workbench.bus.websocket import connect, serve
from bkg_workbench.errors import Overloaded, PluginDisconnected, WorkspaceError
from bkg_workbench.protocol.envelopes import (
    Error,
    Log,
    Register,
    Request,
    Response,
    Welcome,
    encode,
    raw,
)
from tests.bus.hubs import Bus, Peer0, bus, register
from tests.bus.raw import CONT, TEXT, Raw, frame, handshake, resident_bytes, wire
from tests.helpers import aeventually

pytestmark = pytest.mark.timeout(60)


async def plugin(b: Bus, name: str, *capabilities: str, token: str | None = None) -> Peer0:
    """A registered plug-in over a real WebSocket."""
    token = token or b.define(name, *capabilities)
    peer = await register(await b.dial_tcp(token), name, *capabilities)
    await peer.read_until(Welcome)
    return peer


async def serves(b: Bus, peer: Peer0, capability: str) -> None:
    """The peer is asked and its answer comes back."""
    asking = asyncio.create_task(b.call(capability, {"n": 1}))
    request = await peer.read_until(Request)
    await peer.send(Response(request_id=request.request_id, success=True, data=raw({"n": 2})))
    assert await asyncio.wait_for(asking, 5) == {"n": 2}


# -- who one is -----------------------------------------------------------------------------------
@pytest.mark.row("B8")
async def test_a_name_whose_connection_went_dead_is_free_after_a_second() -> None:
    async with bus() as b:
        port = await b.listen()
        token = b.define("demo", "demo.work")
        async with wire(port) as half_open:
            url = f"ws://127.0.0.1:{half_open.port}/bus"
            first = await register(await connect(url, token=token), "demo", "demo.work")
            await first.read_until(Welcome)
            half_open.cut()
            old = b.router.entries["demo"].connection
            started = time.monotonic()
            second = await plugin(b, "demo", "demo.work", token=token)
            assert time.monotonic() - started < 5.0
            new = b.router.entries["demo"].connection
            assert new is not None
            assert new is not old
            await serves(b, second, "demo.work")
            # What the dead one still has on its way, and its close, change nothing any more.
            half_open.passing.set()
            await first.channel.close()
            await serves(b, second, "demo.work")
            assert b.router.entries["demo"].connection is new
            assert b.witness.losses == []
        await second.channel.close()


@pytest.mark.row("B9")
async def test_a_second_register_on_one_connection_changes_nothing() -> None:
    async with bus() as b:
        await b.listen()
        b.define("victim", "victim.secret")
        peer = await plugin(b, "demo", "demo.work")
        for name, capability in (("victim", "victim.secret"), ("demo", "demo.more")):
            again = Register(plugin=name, port="internal", capabilities=[capability])
            await peer.send(again)
            error = await peer.read_until(Error)
            assert error.code == "protocol_error"
            assert "register" in error.error
        assert b.router.entries["victim"].connection is None
        assert b.router.entries["demo"].routed == {"demo.work"}
        assert len(b.witness.registrations) == 1
        await serves(b, peer, "demo.work")
        await peer.channel.close()


@pytest.mark.row("B11")
async def test_who_declares_a_capability_is_asked_and_not_who_registers_it_too() -> None:
    async with bus() as b:
        await b.listen()
        honest = await plugin(b, "honest", "honest.work")
        token = b.define("thief", "thief.own")
        thief = await register(await b.dial_tcp(token), "thief", "thief.own", "honest.work")
        await thief.read_until(Welcome)
        assert b.witness.registrations[-1] == ("thief", ("thief.own",), ("honest.work",))
        for _ in range(3):
            await serves(b, honest, "honest.work")
        await honest.channel.close()
        await aeventually(lambda: b.router.entries["honest"].connection is None)
        with pytest.raises(Exception, match="honest"):
            await b.call("honest.work")
        await thief.channel.close()


@pytest.mark.row("B12", "B13")
async def test_an_answer_to_somebody_elses_request_is_counted_and_not_delivered() -> None:
    async with bus() as b:
        await b.listen()
        owner, thief = await plugin(b, "owner", "owner.work"), await plugin(b, "thief", "thief.x")
        asking = asyncio.create_task(b.call("owner.work"))
        request = await owner.read_until(Request)
        forged = Response(request_id=request.request_id, success=True, data=raw("forged"))
        await thief.send(forged)
        session = b.router.entries["thief"].connection.session  # type: ignore[union-attr]
        await aeventually(lambda: session.ignored == 1)
        true = Response(request_id=request.request_id, success=True, data=raw("true"))
        for _ in range(3):
            await owner.send(true)
        assert await asking == "true"
        session = b.router.entries["owner"].connection.session  # type: ignore[union-attr]
        await aeventually(lambda: session.ignored == 2)
        assert not session.asked
        for peer in (owner, thief):
            await peer.channel.close()


@pytest.mark.row("B14")
async def test_two_hundred_requests_fail_together_when_their_plugin_goes() -> None:
    async with bus() as b:
        await b.listen()
        peer = await plugin(b, "demo", "demo.work")
        asking = [asyncio.create_task(b.call("demo.work", timeout=None)) for _ in range(200)]
        for _ in range(200):
            await peer.read_until(Request)
        peer.channel._connection.transport.abort()  # type: ignore[attr-defined]
        started = time.monotonic()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(error) for error in done} == {PluginDisconnected}
        assert time.monotonic() - started < 1.0


@pytest.mark.row("B27")
async def test_the_bus_listens_on_this_machine_only() -> None:
    async with bus() as b:
        for host in ("0.0.0.0", "::", "192.168.0.1", "example.org", ""):
            with pytest.raises(WorkspaceError, match="this machine only"):
                await serve(b.hub.accept, host=host, admit=b.hub.admit)


# -- before one is anybody ------------------------------------------------------------------------
@pytest.mark.row("B16")
async def test_who_does_not_register_in_time_is_closed_with_4408(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "REGISTER_SECONDS", 0.2)
    async with bus() as b:
        port = await b.listen()
        raw_peer = await Raw.open(port)
        assert await raw_peer.close_code() == 4408
        await raw_peer.close()


@pytest.mark.row("B18")
async def test_a_handshake_a_byte_at_a_time_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "OPEN_SECONDS", 0.5)
    async with bus() as b:
        port = await b.listen()
        slow = await Raw.dial(port)
        ended = asyncio.create_task(slow.ended())
        started = time.monotonic()
        for byte in handshake(port):
            if ended.done():
                break
            slow.writer.write(bytes([byte]))
            await asyncio.wait({ended}, timeout=0.05)
        assert ended.done()
        assert time.monotonic() - started < 5.0
        await slow.close()


@pytest.mark.row("B17")
async def test_strangers_that_say_nothing_keep_no_plugin_out() -> None:
    async with bus() as b:
        port = await b.listen()
        idle = [await Raw.open(port) for _ in range(16)]
        await aeventually(lambda: b.hub.unregistered == 16)
        late = await Raw.dial(port)
        late.writer.write(handshake(port))
        assert await late.status() == 503
        peer = await plugin(b, "demo", "demo.work")
        await serves(b, peer, "demo.work")
        await peer.channel.close()
        for one in (*idle, late):
            await one.close()


@pytest.mark.row("B19")
async def test_wrong_tokens_in_a_row_are_answered_late_and_told_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "WRONG_TOKEN_DELAY", 0.3)
    async with bus() as b:
        port = await b.listen()

        async def wrong() -> float:
            started = time.monotonic()
            one = await Raw.dial(port)
            one.writer.write(handshake(port, "wrong"))
            assert await one.status() == 401
            await one.close()
            return time.monotonic() - started

        first = [await wrong() for _ in range(9)]
        later = await asyncio.gather(*(wrong() for _ in range(150)))
        assert min(first) < 0.3
        assert min(later) >= 0.3
        assert len(b.witness.refusals) == complaints.LINES
        # More came than strangers may connect in that time; a plug-in does all the same.
        peer = await plugin(b, "demo", "demo.work")
        await serves(b, peer, "demo.work")
        await peer.channel.close()


async def test_the_same_complaint_is_told_a_few_times_and_then_counted() -> None:
    clock, told = ManualClock(), []
    lines = Complaints(clock, lambda code, text: told.append((code, text)))
    for n in range(100):
        lines.add("bad", f"a {n}", "a")
    lines.add("bad", "b 0", "b")
    lines.add("other", "a 0", "a")
    assert len(told) == complaints.LINES + 2
    await clock.advance(complaints.SECONDS / 2)
    lines.sweep()
    assert len(told) == complaints.LINES + 2
    await clock.advance(complaints.SECONDS / 2)
    lines.sweep()
    assert told[-1] == ("bad", "a 99 (and 94 more like it)")
    assert lines._windows == {}
    lines.add("bad", "a 100", "a")
    assert told[-1] == ("bad", "a 100")


# -- frames ---------------------------------------------------------------------------------------
REGISTER = encode(Register(plugin="demo", port="internal", capabilities=["demo.work"]))
DEFLATED = bytes.fromhex("4a0400") * 10  # whatever it is: RSV1 was never agreed on

FRAMES: dict[str, tuple[list[bytes], int]] = {
    "beyond 16 MiB": ([frame(b"x" * 70_000, says=16 * 1024 * 1024 + 1)], 1009),
    "claims 2^62 bytes": ([frame(says=2**62)], 1009),
    "100,000 fragments": (
        [frame(b"{", fin=False), *[frame(b"", CONT, fin=False) * 1_000] * 100],
        1009,
    ),
    "fragments beyond 16 MiB": (
        [frame(b"{", fin=False), *[frame(b" " * 1_000_000, CONT, fin=False)] * 17],
        1009,
    ),
    "not masked": ([frame(b"{}", masked=False)], 1002),
    "opcode 3": ([frame(b"{}", 3)], 1002),
    "opcode 11": ([frame(b"", 11)], 1002),
    "ping of 126 bytes": ([frame(b"x" * 126, 9)], 1002),
    "ping in fragments": ([frame(b"x", 9, fin=False)], 1002),
    "continues nothing": ([frame(b"{}", CONT)], 1002),
    "text within text": ([frame(b"{", fin=False), frame(b"{}")], 1002),
    "compressed": ([frame(DEFLATED, reserved=0x40)], 1002),
    "reserved bits": ([frame(b"{}", reserved=0x30)], 1002),
    "binary": ([frame(b"{}", 2)], 1003),
    "no UTF-8": ([frame(b'{"type":"log\xff"}')], 1007),
    "half a character": ([frame(b'"\xc3', fin=True)], 1007),
}


@pytest.mark.parametrize("what", FRAMES)
@pytest.mark.row("B20", "B21", "J5")
async def test_a_frame_against_the_protocol_closes_with_its_code(what: str) -> None:
    frames, code = FRAMES[what]
    async with bus() as b:
        port = await b.listen()
        other = await plugin(b, "other", "other.work")
        peer = await Raw.open(port, b.define("demo", "demo.work"))
        await peer.send(frame(REGISTER))
        await aeventually(lambda: b.router.entries["demo"].connection)
        before = resident_bytes()
        closed = asyncio.create_task(peer.close_code())
        try:
            for one in frames:
                await peer.send(one)
        except ConnectionError:
            pass  # it has heard enough
        assert await closed == code
        assert resident_bytes() - before < 60_000_000
        await peer.close()
        await aeventually(lambda: b.router.entries["demo"].connection is None)
        await serves(b, other, "other.work")
        await other.channel.close()


async def test_pieces_that_make_one_message_are_one_message() -> None:
    async with bus() as b:
        port = await b.listen()
        peer = await Raw.open(port, b.define("demo", "demo.work"))
        await peer.send(frame(REGISTER[:10], TEXT, fin=False))
        await peer.send(
            b"".join(frame(REGISTER[n : n + 1], CONT, fin=False) for n in range(10, 40))
        )
        await peer.send(frame(REGISTER[40:], CONT))
        await aeventually(lambda: b.router.entries["demo"].connection)
        await peer.close()


@pytest.mark.row("B21")
async def test_no_compression_is_agreed_on() -> None:
    async with bus() as b:
        port = await b.listen()
        peer = await Raw.dial(port)
        peer.writer.write(handshake(port, Sec_WebSocket_Extensions="permessage-deflate"))
        head = await peer._head()
        assert head.startswith(b"HTTP/1.1 101")
        assert b"deflate" not in head.lower()
        await peer.close()


# -- messages -------------------------------------------------------------------------------------
@pytest.mark.row("J3")
async def test_of_two_keys_the_last_counts_and_no_peer_sees_both() -> None:
    async with bus() as b:
        await b.listen()
        asker = await plugin(b, "asker", token=b.define("asker", calls=("demo.work",)))
        peer = await plugin(b, "demo", "demo.work")
        twice = b'{"type":"request","requestId":"one","capability":"host.stop","requestId":"two",'
        await asker.channel.send(twice + b'"capability":"demo.work","payload":{"n":1}}')
        frame_in = await peer.channel.receive()
        assert frame_in.count(b'"requestId"') == frame_in.count(b'"capability"') == 1
        request = json.loads(frame_in)
        answer = Response(request_id=request["requestId"], success=True, data=raw(7))
        await peer.send(answer)
        assert (await asker.read_until(Response)).request_id == "two"
        for one in (asker, peer):
            await one.channel.close()


@pytest.mark.row("J4")
async def test_half_a_surrogate_pair_reaches_nobody() -> None:
    async with bus() as b:
        await b.listen()
        peer = await plugin(b, "demo", "demo.work")
        for field in ('"message":"\\ud800"', '"message":"x","level":"\\udfff"'):
            text = f'{{"type":"log","plugin":"demo","level":"info",{field}}}'
            await peer.channel.send(text.encode())
            assert (await peer.read_until(Error)).code == "protocol_error"
        assert b.witness.logs == []
        await serves(b, peer, "demo.work")
        await peer.channel.close()


@pytest.mark.row("J9")
async def test_a_megabyte_of_tiny_objects_stalls_nobody() -> None:
    async with bus() as b:
        await b.listen()
        peer = await plugin(b, "demo", "demo.work")
        tiny = b"[" + b",".join([b"{}"] * 350_000) + b"]"
        hostile = [
            b'{"type":"telemetry","plugin":"demo","objects":' + tiny + b"}",
            b'{"type":"register","plugin":"demo","port":1,"capabilities":[],"meta":{"a":'
            + tiny + b"}}",
            tiny,
        ]  # fmt: skip
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                started = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - started)

        watching = asyncio.create_task(watch())
        for one in hostile:
            await peer.channel.send(one)
        await peer.send(Log(plugin="demo", level="info", message="after"))
        await aeventually(lambda: b.witness.logs, timeout=20)
        watching.cancel()
        assert longest < 0.5
        assert [code for code, _ in b.witness.refusals] == ["protocol_error"] * 2
        await peer.channel.close()


@pytest.mark.row("J14")
async def test_types_of_a_later_version_are_ignored_and_told_once_in_a_while() -> None:
    async with bus() as b:
        await b.listen()
        peer = await plugin(b, "demo", "demo.work")
        for n in range(1_000):
            await peer.channel.send(b'{"type":"later-%d","n":1}' % n)
        await serves(b, peer, "demo.work")
        assert [code for code, _ in b.witness.refusals] == ["unknown_type"] * complaints.LINES
        await peer.channel.close()


# -- floods ---------------------------------------------------------------------------------------
@pytest.mark.row("B22")
async def test_what_a_flood_loses_is_told_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bus() as b:
        await b.listen()
        peer = await plugin(b, "demo", "demo.work")
        connection = b.router.entries["demo"].connection
        assert connection is not None
        connection._bucket, connection._refilled = 10.0, float("inf")
        for n in range(50):
            await peer.send(Log(plugin="demo", level="info", message=str(n)))
        await aeventually(lambda: len(b.witness.logs) + b.witness.missed == 50)
        assert b.witness.missed >= 39
        await serves(b, peer, "demo.work")  # an answer is never dropped
        await peer.channel.close()


@pytest.mark.row("B23")
async def test_nothing_more_is_asked_of_one_that_reads_nothing() -> None:
    async with bus() as b:
        port = await b.listen()
        peer = await Raw.open(port, b.define("demo", "demo.work"))
        await peer.send(frame(REGISTER))
        connection = await aeventually(lambda: b.router.entries["demo"].connection)
        large: Any = {"data": "x" * 8_000_000}
        asking = [asyncio.create_task(b.call("demo.work", large)) for _ in range(16)]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert {type(task.exception()) for task in done} == {Overloaded}
        assert FULL_BYTES < connection.backlog < FULL_BYTES + 2 * 8_000_100
        await peer.close()
        await asyncio.gather(*asking, return_exceptions=True)
