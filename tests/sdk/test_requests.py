"""Requests to a plug-in: what its functions take and give, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.protocol.envelopes import Cancel, Log, Progress, Request, Response, value
from bkg_workbench.sdk import (
    Closing,
    Context,
    Forbidden,
    Meta,
    Plugin,
    Settings,
    Struct,
)
from tests.helpers import aeventually
from tests.sdk.fake_host import served


class Point(Struct, rename="camel"):
    """A place."""

    at_x: Annotated[int, Meta(ge=0)]
    names: tuple[str, ...] = ()


async def test_a_coroutine_gets_a_typed_payload_and_answers() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.move")
    async def move(payload: Point, context: Context) -> Point:
        assert context.capability == "demo.move"
        return Point(at_x=payload.at_x + 1, names=payload.names)

    async with served(plugin) as host:
        assert await host.ask("demo.move", {"atX": 1}) == {"atX": 2, "names": []}


async def test_payload_and_context_are_optional() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.nothing")
    async def nothing() -> str:
        return "n"

    @plugin.capability("demo.only")
    async def only(context: Context) -> str:
        return context.request_id

    async with served(plugin) as host:
        assert await host.ask("demo.nothing", {"ignored": 1}) == "n"
        assert await host.ask("demo.only") == "h2"


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ({"atX": -1}, "/atX"),
        ({"atX": 1, "names": ["a", 2]}, "/names/1"),
        ({}, "/atX"),
        (None, "/atX"),
        ([], ""),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused_with_its_pointer(
    payload: Any, pointer: str
) -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.move")
    async def move(payload: Point) -> None:
        raise AssertionError("not reached")

    async with served(plugin) as host:
        response = await host.fail("demo.move", payload)
        assert response.code == "invalid_params"
        assert list(response.detail["errors"]) == [pointer]
        assert "demo.move" in (response.error or "")


async def test_an_unknown_capability_names_the_known_ones() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.echo")
    async def echo(payload: Any) -> Any:
        return payload

    async with served(plugin) as host:
        response = await host.fail("demo.other")
        assert response.code == "capability_not_found"
        assert "demo.echo" in (response.error or "")


async def test_a_workbench_error_crosses_the_wire_and_a_foreign_one_only_as_a_sentence() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.mine")
    async def mine() -> None:
        raise Forbidden("You may not.", scope="demo.mine")

    @plugin.capability("demo.foreign")
    async def foreign() -> None:
        raise RuntimeError("the secret is 42")

    @plugin.capability("demo.exit")
    async def leave() -> None:
        raise SystemExit(3)

    async with served(plugin) as host:
        response = await host.fail("demo.mine")
        assert (response.error, response.code) == ("You may not.", "forbidden")
        assert response.detail == {"scope": "demo.mine"}
        response = await host.fail("demo.foreign")
        assert response.code == "plugin_failure"
        assert "42" not in (response.error or "")
        log = await host.next(Log)
        assert log.level == "error"
        assert "the secret is 42" in log.message
        assert "Traceback" in log.message
        assert (await host.fail("demo.exit")).code == "plugin_failure"


@pytest.mark.parametrize("bad", [object(), {"a": {1, object()}}, "\ud800", [[]] * 1], ids=range(4))
async def test_a_result_that_is_no_json_fails_that_request_alone(bad: Any) -> None:
    plugin = Plugin("demo")
    if isinstance(bad, list):
        for _ in range(40):
            bad = [bad]

    @plugin.capability("demo.bad")
    async def give() -> Any:
        return bad

    async with served(plugin) as host:
        assert (await host.fail("demo.bad")).code == "plugin_failure"
        assert (await host.fail("demo.bad")).code == "plugin_failure"


async def test_an_answer_larger_than_the_bus_carries_fails_that_request_alone() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.big")
    async def big() -> str:
        return "x" * (16 * 1024 * 1024)

    async with served(plugin) as host:
        response = await host.fail("demo.big")
        assert response.code == "plugin_failure"


async def test_requests_are_served_concurrently() -> None:
    plugin = Plugin("demo")
    both = asyncio.Barrier(2)

    @plugin.capability("demo.meet")
    async def meet() -> None:
        await both.wait()

    async with served(plugin) as host:
        first, second = await host.request("demo.meet"), await host.request("demo.meet")
        assert (await host.response(first)).success
        assert (await host.response(second)).success


async def test_beyond_the_limit_of_open_requests_the_answer_is_overloaded() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.hang")
    async def hang() -> None:
        await asyncio.Event().wait()

    async with served(plugin) as host:
        for _ in range(256):
            await host.request("demo.hang")
        assert (await host.fail("demo.hang")).code == "overloaded"


# -- threads --------------------------------------------------------------------------------------
async def test_a_blocking_handler_runs_in_a_thread_beside_the_loop() -> None:
    plugin = Plugin("demo")
    gate = threading.Event()

    @plugin.capability("demo.block", thread=True)
    def block(payload: int) -> str:
        gate.wait(5)
        return threading.current_thread().name

    @plugin.capability("demo.open")
    async def open_gate() -> None:
        gate.set()

    async with served(plugin) as host:
        blocked = await host.request("demo.block", 1)
        await host.ask("demo.open")
        assert value((await host.response(blocked)).data).startswith("demo")


async def test_a_thread_can_call_and_report_through_the_loop() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.block", thread=True)
    def block(context: Context) -> Any:
        context.wait(context.progress(1, 2, "half"))
        return context.wait(context.call("other.add", [1, 2]))

    async with served(plugin) as host:
        request_id = await host.request("demo.block")
        progress = await host.next(Progress)
        assert (progress.request_id, progress.value, progress.total) == (request_id, 1, 2)
        nested = await host.next(Request)
        await host.send(Response(request_id=nested.request_id, success=True, data=nested.payload))
        assert value((await host.response(request_id)).data) == [1, 2]


async def test_a_stop_iteration_in_a_thread_is_a_failure_and_not_a_hang() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.stop", thread=True)
    def stop() -> None:
        raise StopIteration

    async with served(plugin) as host:
        assert (await host.fail("demo.stop")).code == "plugin_failure"


async def test_a_cancelled_thread_sees_it_and_its_asker_is_answered_at_once() -> None:
    plugin = Plugin("demo")
    running, seen = threading.Event(), threading.Event()

    @plugin.capability("demo.block", thread=True)
    def block(context: Context) -> None:
        running.set()
        while not context.is_cancelled:
            seen.wait(0.001)
        seen.set()

    async with served(plugin) as host:
        request_id = await host.request("demo.block")
        await aeventually(running.is_set)
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"
        await aeventually(seen.is_set)


async def test_a_cancelled_thread_that_waits_for_a_call_is_let_go() -> None:
    plugin = Plugin("demo")
    ended = threading.Event()

    @plugin.capability("demo.block", thread=True)
    def block(context: Context) -> None:
        try:
            context.wait(context.call("other.hang"))
        finally:
            ended.set()

    async with served(plugin) as host:
        request_id = await host.request("demo.block")
        nested = await host.next(Request)
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"
        await aeventually(ended.is_set)
        assert (await host.next(Cancel)).request_id == nested.request_id


# -- the end of a request -------------------------------------------------------------------------
async def test_a_cancelled_request_is_answered_exactly_once() -> None:
    plugin = Plugin("demo")
    began, cleaned = asyncio.Event(), asyncio.Event()

    @plugin.capability("demo.hang")
    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async with served(plugin) as host:
        request_id = await host.request("demo.hang")
        await began.wait()
        await host.send(Cancel(request_id=request_id))
        await host.send(Cancel(request_id=request_id))
        response = await host.response(request_id)
        assert (response.success, response.code) == (False, "request_cancelled")
        assert cleaned.is_set()
        await host.fail("demo.unknown")
        assert not host.waiting(Response)


async def test_a_request_cancelled_before_its_handler_began_is_answered_too() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.never")
    async def never() -> None:
        raise AssertionError("not reached")

    async with served(plugin) as host:
        request_id = await host.request("demo.never")
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"


async def test_a_handler_that_swallows_its_cancellation_changes_nothing() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.hang")
    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as if nothing had been"
        return ""

    async with served(plugin) as host:
        request_id = await host.request("demo.hang")
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"


async def test_at_its_deadline_a_request_ends() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock)
    left: list[float | None] = []

    @plugin.capability("demo.hang")
    async def hang(context: Context) -> None:
        left.append(context.remaining_seconds)
        await asyncio.Event().wait()

    async with served(plugin) as host:
        request_id = await host.request("demo.hang", deadline_ms=1500)
        await aeventually(lambda: left)
        await clock.advance(1.4)
        assert not host.waiting(Response)
        await clock.advance(0.2)
        response = await host.response(request_id)
        assert response.code == "request_timeout"
        assert "1.5 s" in (response.error or "")
        assert left == [1.5]


async def test_progress_reaches_the_asker() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.work")
    async def work(context: Context) -> None:
        await context.progress(3, 10, "third")

    async with served(plugin) as host:
        await host.ask("demo.work")
        (progress,) = host.waiting(Progress)
        assert (progress.value, progress.total, progress.message) == (3, 10, "third")


async def test_the_settings_of_a_request_are_those_in_force_when_it_came() -> None:
    class Mine(Settings):
        word: str = "hello"

    plugin = Plugin("demo", settings=Mine)

    @plugin.capability("demo.word")
    async def word(context: Context) -> str:
        return str(context.settings.word)

    async with served(plugin, {"word": "hi"}) as host:
        assert await host.ask("demo.word") == "hi"


# -- streams --------------------------------------------------------------------------------------
def streaming() -> Plugin:
    plugin = Plugin("demo")

    @plugin.capability("demo.count")
    async def count(payload: int) -> AsyncIterator[int | Closing]:
        for number in range(payload):
            yield number
        yield Closing({"counted": payload})

    @plugin.capability("demo.plain")
    async def plain(payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number

    @plugin.capability("demo.blocking", thread=True)
    def blocking(payload: int) -> Iterator[int]:
        yield from range(payload)

    @plugin.capability("demo.sum", collect=lambda chunks, closing: sum(chunks))
    async def total(payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number

    @plugin.capability("demo.both", stream=True)
    async def both(payload: int, context: Context) -> Any:
        return plain(payload) if context.wants_stream else {"whole": payload}

    @plugin.capability("demo.value")
    async def single() -> str:
        return "one"

    return plugin


@pytest.mark.parametrize(
    ("capability", "closing"),
    [
        ("demo.count", {"counted": 3}),
        ("demo.plain", None),
        ("demo.blocking", None),
        ("demo.sum", None),
        ("demo.both", None),
    ],
)
async def test_a_generator_streams_chunks_from_seq_0_and_a_closing_response(
    capability: str, closing: Any
) -> None:
    async with served(streaming()) as host:
        chunks, response = await host.stream(capability, 3)
        assert [chunk.seq for chunk in chunks] == [0, 1, 2]
        assert [value(chunk.data) for chunk in chunks] == [0, 1, 2]
        assert response.success
        assert value(response.data) == closing


async def test_asked_without_streaming_a_generator_answers_whole() -> None:
    async with served(streaming()) as host:
        whole = {"chunks": [0, 1], "closing": {"counted": 2}}
        assert await host.ask("demo.count", 2) == whole
        assert await host.ask("demo.blocking", 2) == {"chunks": [0, 1], "closing": None}
        assert await host.ask("demo.sum", 4) == 6
        assert await host.ask("demo.both", 4) == {"whole": 4}


async def test_a_plain_answer_to_a_streaming_asker_is_one_chunk() -> None:
    async with served(streaming()) as host:
        chunks, response = await host.stream("demo.value")
        assert [value(chunk.data) for chunk in chunks] == ["one"]
        assert value(response.data) is None


async def test_a_stream_waits_while_its_way_is_full() -> None:
    plugin = Plugin("demo")
    sent: list[int] = []

    @plugin.capability("demo.flood")
    async def flood() -> AsyncIterator[int]:
        for number in range(100_000):
            sent.append(number)
            yield number

    async with served(plugin) as host:
        request_id = await host.request("demo.flood", stream=True)
        await aeventually(lambda: len(host.channel._frames) >= 1024)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(sent) <= 1100
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"


@pytest.mark.parametrize("capability", ["demo.endless", "demo.blocking"])
async def test_a_cancelled_stream_closes_its_generator(capability: str) -> None:
    plugin = Plugin("demo")
    closed = threading.Event()

    @plugin.capability("demo.endless")
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    @plugin.capability("demo.blocking", thread=True)
    def blocking() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    async with served(plugin) as host:
        request_id = await host.request(capability, stream=True)
        await aeventually(lambda: len(host.channel._frames) > 10)
        await host.send(Cancel(request_id=request_id))
        assert (await host.response(request_id)).code == "request_cancelled"
        await aeventually(closed.is_set)


async def test_a_failure_in_mid_stream_ends_it_with_an_error() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.break")
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise RuntimeError("no")

    @plugin.capability("demo.after")
    async def after() -> AsyncIterator[Any]:
        yield Closing(None)
        yield 1

    @plugin.capability("demo.thread", thread=True)
    def thread() -> Iterator[int]:
        yield 1
        raise RuntimeError("no")

    async with served(plugin) as host:
        for capability, count in (("demo.break", 1), ("demo.after", 0), ("demo.thread", 1)):
            chunks, response = await host.stream(capability)
            assert len(chunks) == count
            assert response.code == "plugin_failure"


# -- declaring ------------------------------------------------------------------------------------
def test_a_declaration_that_cannot_work_says_so_at_once() -> None:
    plugin = Plugin("demo")
    with pytest.raises(TypeError, match="thread=True"):

        @plugin.capability("demo.plain")
        def plain() -> None: ...

    with pytest.raises(TypeError, match="drop async"):

        @plugin.capability("demo.mixed", thread=True)
        async def mixed() -> None: ...

    with pytest.raises(ValueError, match=r"area\.verb"):

        @plugin.capability("demo")
        async def unnamed() -> None: ...

    with pytest.raises(TypeError, match="takes"):

        @plugin.capability("demo.three")
        async def three(a: int, b: int) -> None: ...

    with pytest.raises(TypeError, match="no JSON form"):

        @plugin.capability("demo.type")
        async def typed(payload: threading.Thread) -> None: ...

    @plugin.capability("demo.twice")
    async def once() -> None: ...

    with pytest.raises(ValueError, match="twice"):

        @plugin.capability("demo.twice")
        async def again() -> None: ...
