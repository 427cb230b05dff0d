"""What must hold when two things happen at once on the bus, or a peer goes too far."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from bkg_workbench.bus.channel import ChannelClosed, MemoryChannel
from bkg_workbench.bus.connection import BACKLOG_BYTES
from bkg_workbench.bus.identity import OWNER
from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.errors import ProtocolError, by_code, from_wire
from bkg_workbench.protocol.envelopes import (
    NULL,
    Cancel,
    Error,
    Progress,
    Register,
    Request,
    Response,
    Welcome,
    encode,
    raw,
)
from tests.bus.hubs import Peer0, bus, register
from tests.helpers import aeventually

pytestmark = pytest.mark.timeout(30)


async def test_a_request_that_is_cancelled_in_the_same_breath_has_its_one_answer() -> None:
    async with bus() as b:
        b.define("slow", "slow.work")
        peer = await register(b.dial(b.define("demo", calls=("slow.work",))), "demo")
        await peer.read_until(Welcome)
        for number in range(3):
            await peer.send(Request(request_id=f"r{number}", capability="slow.work"))
            await peer.send(Cancel(request_id=f"r{number}"))
        answers = [await peer.read_until(Response) for _ in range(3)]
        assert [a.request_id for a in answers] == ["r0", "r1", "r2"]
        connection = b.router.entries["demo"].connection
        assert connection is not None
        assert not connection.session.served
        assert not connection.tasks


async def test_a_callback_that_fails_costs_the_plugin_nothing() -> None:
    async with bus() as b:
        peer = await register(b.dial(b.define("demo", "demo.work")), "demo", "demo.work")
        await peer.read_until(Welcome)

        def fail(_: Any) -> None:
            raise ZeroDivisionError

        call = asyncio.create_task(
            b.router.call("demo.work", raw({}), OWNER, on_progress=fail, stream=True, on_chunk=None)
        )
        request = await peer.read_until(Request)
        await peer.send(Progress(request_id=request.request_id, value=1))
        await peer.send(Response(request_id=request.request_id, success=True, data=raw({"a": 1})))
        assert await asyncio.wait_for(call, 5) == raw({"a": 1})
        assert b.router.entries["demo"].connection is not None


async def test_a_plugin_that_goes_while_a_payload_is_checked_leaves_no_request_hanging() -> None:
    checking, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        checking.set()
        await go_on.wait()

    async with bus(check=lambda *_: wait()) as b:
        schemas = {"demo.work": {"input": {"type": "object"}}}
        token = b.define("demo", "demo.work")
        peer = await register(b.dial(token), "demo", "demo.work", schemas=schemas)
        await peer.read_until(Welcome)
        b.router.expect("demo", True)
        call = asyncio.create_task(b.call("demo.work", {}, timeout=20.0))
        await checking.wait()
        await peer.channel.close()
        await aeventually(lambda: b.router.entries["demo"].connection is None)
        go_on.set()
        peer = await register(b.dial(token), "demo", "demo.work")
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=True, data=raw({"a": 1})))
        assert await asyncio.wait_for(call, 5) == {"a": 1}


async def test_two_that_come_at_once_for_a_dead_one_do_not_both_get_its_name() -> None:
    async with bus() as b:
        token = b.define("demo", "demo.work")
        first = await register(b.dial(token), "demo", "demo.work")
        await first.read_until(Welcome)
        old = b.router.entries["demo"].connection
        assert old is not None
        asked, answer = [], asyncio.Event()

        async def ping(timeout: float) -> bool:
            asked.append(timeout)
            await answer.wait()
            return False

        old.channel.ping = ping  # type: ignore[method-assign]
        second = await register(b.dial(token), "demo", "demo.work")
        third = await register(b.dial(token), "demo", "demo.work")
        await aeventually(lambda: len(asked) == 2)
        answer.set()
        kinds = {type(await second.read()), type(await third.read())}
        assert kinds == {Welcome, Error}


async def test_a_message_that_the_bus_cannot_carry_is_refused_before_it_is_sent() -> None:
    async with bus() as b:
        peer = await register(b.dial(b.define("demo", "demo.work")), "demo", "demo.work")
        await peer.read_until(Welcome)
        with pytest.raises(ProtocolError, match="16"):
            await b.call("demo.work", {"text": "x" * (17 << 20)}, timeout=5.0)
        call = asyncio.create_task(b.call("demo.work", {}, timeout=5.0))
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=True))
        assert await call is None


async def test_progress_for_an_asker_that_does_not_read_is_dropped() -> None:
    async with bus() as b:
        provider = await register(b.dial(b.define("demo", "demo.work")), "demo", "demo.work")
        await provider.read_until(Welcome)
        channel = b.dial(b.tokens.issue_client("client"), "/attach")
        asker = Peer0(channel)
        await asker.read_until(Welcome)
        await asker.send(Request(request_id="r", capability="demo.work", payload=raw({})))
        request = await provider.read_until(Request)
        (client,) = b.hub.clients
        assert isinstance(client.channel, MemoryChannel)
        client.channel._room = 1
        for number in range(100):
            progress = Progress(request_id=request.request_id, value=number, message="x" * 60_000)
            await provider.send(progress)
        assert isinstance(provider.channel, MemoryChannel)
        sent = provider.channel.other._frames
        await aeventually(lambda: not sent)
        assert client.backlog <= BACKLOG_BYTES + 100_000


async def test_a_register_nested_too_deep_for_attached_clients_is_refused() -> None:
    async with bus() as b:
        deep: Any = 1
        for _ in range(29):
            deep = {"a": deep}
        peer = Peer0(b.dial(b.define("demo")))
        await peer.channel.send(
            msgspec.json.encode(
                {"type": "register", "plugin": "demo", "port": 0, "capabilities": [], "meta": deep}
            )
        )
        assert isinstance(await peer.read(), Error)


async def test_a_long_reason_in_another_alphabet_still_closes_with_its_code() -> None:
    async with bus() as b:
        await b.listen()
        channel = await b.dial_tcp(b.define("demo"))
        await channel.send(encode(Register(plugin="demo", port=0, capabilities=["日本語" * 60])))
        await channel.receive()
        with pytest.raises(ChannelClosed) as closed:
            await channel.receive()
        assert closed.value.code == 4400


async def test_a_definition_that_goes_while_its_plugin_registers_is_refused() -> None:
    async with bus() as b:
        token = b.define("demo", "demo.work")
        first = await register(b.dial(token), "demo", "demo.work")
        await first.read_until(Welcome)
        old = b.router.entries["demo"].connection
        assert old is not None
        asked = asyncio.Event()

        async def ping(timeout: float) -> bool:
            asked.set()
            await asyncio.sleep(0)
            return False

        old.channel.ping = ping  # type: ignore[method-assign]
        second = await register(b.dial(token), "demo", "demo.work")
        await asked.wait()
        b.router.remove("demo")
        answer = await second.read()
        assert isinstance(answer, Error)
        assert answer.code == "plugin_not_found"


def test_every_error_of_the_tree_comes_back_from_the_wire_as_itself() -> None:
    assert by_code()["protocol_error"] is ProtocolError
    assert type(from_wire("no", "protocol_error")) is ProtocolError


async def test_a_plugins_own_plugin_disconnected_is_passed_on_and_not_retried() -> None:
    async with bus() as b:
        schemas = {"demo.work": {"idempotent": True}}
        one = await register(b.dial(b.define("a", "demo.work")), "a", "demo.work", schemas=schemas)
        two = await register(b.dial(b.define("b", "demo.work")), "b", "demo.work", schemas=schemas)
        await one.read_until(Welcome)
        await two.read_until(Welcome)
        call = asyncio.create_task(b.call("demo.work", timeout=2.0))
        request = await one.read_until(Request)
        await one.send(
            Response(
                request_id=request.request_id, success=False, data=NULL,
                error="c went away", code="plugin_disconnected",
            )
        )  # fmt: skip
        with pytest.raises(Exception, match="c went away"):
            await call


async def test_what_is_asked_of_one_that_is_being_stopped_waits_for_the_next() -> None:
    async with bus() as b:
        token = b.define("demo", "demo.work")
        first = await register(b.dial(token), "demo", "demo.work")
        await first.read_until(Welcome)
        b.router.expect("demo", True)
        b.router.hold("demo", True)
        call = asyncio.create_task(b.call("demo.work", timeout=20.0))
        await aeventually(lambda: b.router.entries["demo"].waiting == 1)
        await first.channel.close()
        await aeventually(lambda: b.router.entries["demo"].connection is None)
        b.router.hold("demo", False)
        second = await register(b.dial(token), "demo", "demo.work")
        request = await second.read_until(Request)
        await second.send(Response(request_id=request.request_id, success=True))
        assert await call is None


@pytest.mark.parametrize("timeout", [1e30, float("inf")])
async def test_a_deadline_beyond_what_the_wire_can_say_is_none(timeout: float) -> None:
    async with bus() as b:
        peer = await register(b.dial(b.define("demo", "demo.work")), "demo", "demo.work")
        await peer.read_until(Welcome)
        call = asyncio.create_task(b.call("demo.work", timeout=timeout))
        request = await peer.read_until(Request)
        assert request.deadline_ms is None
        await peer.send(Response(request_id=request.request_id, success=True))
        assert await call is None


async def test_an_attached_asker_of_too_much_fails_that_call_alone() -> None:
    async with bus() as b:
        peer = await register(b.dial(b.define("demo", "demo.work")), "demo", "demo.work")
        await peer.read_until(Welcome)
        outbound = ChannelOutbound(b.dial(b.tokens.issue_client("client"), "/attach"), "here")
        await outbound.start()
        with pytest.raises(ProtocolError, match="bytes"):
            await outbound.call("demo.work", {"text": "x" * (17 << 20)}, timeout=5.0)
        call = asyncio.create_task(outbound.call("demo.work", {}, timeout=5.0))
        request = await peer.read_until(Request)
        await peer.send(Response(request_id=request.request_id, success=True))
        assert await call is None
        await outbound.aclose()
