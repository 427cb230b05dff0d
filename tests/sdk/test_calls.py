"""A plug-in that asks others through the Host."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Chunk,
    Progress,
    Request,
    Response,
    raw,
    value,
)
from bkg_workbench.sdk import (
    Context,
    Forbidden,
    HostGone,
    Overloaded,
    Plugin,
    PluginFailure,
    RequestError,
    RequestTimeout,
    Struct,
)
from tests.helpers import aeventually
from tests.sdk.fake_host import FakeHost, served


class Sum(Struct):
    total: int


async def answer(host: FakeHost, request: Request, data: Any) -> None:
    await host.send(Response(request_id=request.request_id, success=True, data=raw(data)))


async def test_a_call_inside_a_request_passes_on_token_trace_and_time() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock)

    @plugin.capability("demo.outer")
    async def outer(context: Context) -> Any:
        await clock.sleep(1.0)
        return await context.call("other.inner", {"a": 1})

    async with served(plugin) as host:
        request_id = await host.request(
            "demo.outer", token="opaque", deadline_ms=5000, traceparent="00-1"
        )
        await aeventually(lambda: clock._sleepers)
        await clock.advance(1.0)
        nested = await host.next(Request)
        assert (nested.capability, value(nested.payload)) == ("other.inner", {"a": 1})
        assert (nested.token, nested.traceparent, nested.deadline_ms) == ("opaque", "00-1", 4000)
        await answer(host, nested, "yes")
        assert value((await host.response(request_id)).data) == "yes"


async def test_a_call_outside_a_request_is_the_plugins_own() -> None:
    plugin = Plugin("demo")
    with pytest.raises(HostGone):
        await plugin.call("other.add")
    with pytest.raises(HostGone):
        plugin.stream("other.add")
    async with served(plugin) as host:
        call = asyncio.create_task(plugin.call("other.add", [1], timeout=2, result_type=Sum))
        request = await host.next(Request)
        assert (request.token, request.deadline_ms, request.stream) == (None, 2000, False)
        await answer(host, request, {"total": 3})
        assert await call == Sum(total=3)


async def test_an_answer_of_another_type_than_asked_for_is_said() -> None:
    plugin = Plugin("demo")
    async with served(plugin) as host:
        call = asyncio.create_task(plugin.call("other.add", result_type=Sum))
        await answer(host, await host.next(Request), {"total": "x"})
        with pytest.raises(RequestError, match="total"):
            await call


async def test_the_answers_error_is_raised_as_what_it_is() -> None:
    plugin = Plugin("demo")
    async with served(plugin) as host:
        for code, kind in (("forbidden", Forbidden), (None, PluginFailure)):
            call = asyncio.create_task(plugin.call("other.add"))
            request = await host.next(Request)
            await host.send(
                Response(request_id=request.request_id, success=False, error="No.", code=code)
            )
            with pytest.raises(kind, match=r"No\."):
                await call


async def test_a_call_without_an_answer_times_out_and_is_cancelled() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock)
    async with served(plugin) as host:
        call = asyncio.create_task(plugin.call("other.hang", timeout=2.0))
        request = await host.next(Request)
        await clock.advance(2.1)
        with pytest.raises(RequestTimeout):
            await call
        assert (await host.next(Cancel)).request_id == request.request_id


async def test_without_time_left_nothing_is_asked() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock)
    caught: list[BaseException] = []

    @plugin.capability("demo.late")
    async def late(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await context.call("other.more")
            except RequestTimeout as error:
                caught.append(error)

    async with served(plugin) as host:
        request_id = await host.request("demo.late", deadline_ms=100)
        await aeventually(lambda: plugin.link and plugin.link.session.served)
        await clock.advance(0.2)
        assert (await host.response(request_id)).code == "request_timeout"
        assert caught
        assert not host.waiting(Request)


async def test_a_cancelled_request_cancels_what_it_asked() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.outer")
    async def outer(context: Context) -> Any:
        return await context.call("other.hang")

    async with served(plugin) as host:
        request_id = await host.request("demo.outer")
        nested = await host.next(Request)
        await host.send(Cancel(request_id=request_id))
        assert (await host.next(Cancel)).request_id == nested.request_id
        assert (await host.response(request_id)).code == "request_cancelled"
        await answer(host, nested, "too late")
        assert (await host.fail("demo.none")).code == "capability_not_found"


async def test_the_error_of_a_nested_call_becomes_the_answer() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.outer")
    async def outer(context: Context) -> Any:
        return await context.call("other.no")

    async with served(plugin) as host:
        request_id = await host.request("demo.outer")
        nested = await host.next(Request)
        await host.send(
            Response(
                request_id=nested.request_id, success=False, error="Not you.", code="forbidden"
            )
        )
        response = await host.response(request_id)
        assert (response.code, response.error) == ("forbidden", "Not you.")


async def test_calls_in_flight_fail_when_the_connection_goes() -> None:
    plugin = Plugin("demo")
    async with served(plugin) as host:
        call = asyncio.create_task(plugin.call("other.hang"))
        await host.next(Request)
        await host.channel.close(1006)
        with pytest.raises(HostGone):
            await call


async def test_progress_of_a_call_is_heard() -> None:
    plugin = Plugin("demo")
    heard: list[float] = []

    def listen(progress: Progress) -> None:
        heard.append(progress.value)
        raise RuntimeError("a listener's failure ends nothing")

    async with served(plugin) as host:
        call = asyncio.create_task(plugin.call("other.work", on_progress=listen))
        request = await host.next(Request)
        await host.send(Progress(request_id=request.request_id, value=0.5))
        await answer(host, request, 1)
        assert await call == 1
        assert heard == [0.5]


# -- streams --------------------------------------------------------------------------------------
async def test_a_streamed_call_gives_chunks_and_the_closing_data() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.join")
    async def join(context: Context) -> Any:
        stream = context.stream("other.words", 2)
        words = [word async for word in stream]
        return [words, stream.closing]

    async with served(plugin) as host:
        request_id = await host.request("demo.join", token="opaque")
        nested = await host.next(Request)
        assert (nested.stream, nested.token) == (True, "opaque")
        for seq, word in enumerate(("a", "b")):
            await host.send(Chunk(request_id=nested.request_id, seq=seq, data=raw(word)))
        await answer(host, nested, {"count": 2})
        assert value((await host.response(request_id)).data) == [["a", "b"], {"count": 2}]
        assert not host.waiting(Cancel)


async def test_a_stream_left_early_is_cancelled() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.first")
    async def first(context: Context) -> Any:
        async for word in context.stream("other.words"):
            return word

    async with served(plugin) as host:
        request_id = await host.request("demo.first")
        nested = await host.next(Request)
        await host.send(Chunk(request_id=nested.request_id, seq=0, data=raw("a")))
        assert value((await host.response(request_id)).data) == "a"
        assert (await host.next(Cancel)).request_id == nested.request_id


async def test_a_stream_that_fails_gives_its_chunks_first() -> None:
    plugin = Plugin("demo")
    async with served(plugin) as host:
        stream = plugin.stream("other.words")
        step = asyncio.create_task(anext(stream))
        nested = await host.next(Request)
        await host.send(Chunk(request_id=nested.request_id, seq=0, data=raw("a")))
        await host.send(
            Response(request_id=nested.request_id, success=False, error="No.", code="forbidden")
        )
        assert await step == "a"
        with pytest.raises(Forbidden):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_stream_that_nobody_reads_is_cut() -> None:
    plugin = Plugin("demo")
    async with served(plugin) as host:
        stream = plugin.stream("other.flood")
        step = asyncio.create_task(anext(stream))
        nested = await host.next(Request)
        big = raw("x" * 300_000)
        for seq in range(6):
            await host.send(Chunk(request_id=nested.request_id, seq=seq, data=big))
        assert (await host.next(Cancel)).request_id == nested.request_id
        assert len(await step) == 300_000
        with pytest.raises(Overloaded):
            assert [len(chunk) async for chunk in stream]
