"""A plug-in's connection: register, beats, samples, log lines, settings, and its stop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import jsonschema_rs
import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.protocol.envelopes import Config, Health, Log, Register, Telemetry, value
from bkg_workbench.sdk import Closing, ConfigInvalid, Meta, Plugin, Secret, Settings
from bkg_workbench.sdk.logs import MAX_RECORDS
from tests.helpers import aeventually
from tests.sdk.fake_host import FakeHost, served


class Inner(Settings):
    """A part."""

    deep_value: int = 1


class Mine(Settings):
    """What demo can be told."""

    max_files: Annotated[int, Meta(ge=1, description="How many")] = 500
    roots: tuple[str, ...] = ()
    key: Secret = ""
    inner: Inner = Inner()


# -- register -------------------------------------------------------------------------------------
async def test_register_comes_first_and_says_everything() -> None:
    plugin = Plugin(
        "demo", settings=Mine, version="1.2", engine="none", features=[{"title": "A", "text": "B"}]
    )

    @plugin.capability("demo.find", scope="demo.read", idempotent=True)
    async def find(payload: Inner) -> list[Inner]:
        """Find parts."""
        return [payload]

    @plugin.capability("demo.count", description="Counts", destructive=True)
    async def count(payload: dict[str, int]) -> AsyncIterator[int | Closing]:
        yield 1

    @plugin.on_start
    async def start() -> None:
        plugin.http_port = 8123

    async with served(plugin, welcome=False) as host:
        register = await host.next(Register)
        assert (register.plugin, register.port) == ("demo", 8123)
        assert register.capabilities == ["demo.find", "demo.count"]
        meta = register.meta or {}
        assert (meta["version"], meta["engine"], meta["protocol"]) == ("1.2", "none", 1)
        assert meta["pid"] == os.getpid()
        assert meta["features"] == [{"title": "A", "text": "B"}]
        find_schema, count_schema = meta["schemas"]["demo.find"], meta["schemas"]["demo.count"]
        assert find_schema["description"] == "Find parts."
        assert (find_schema["scope"], find_schema["idempotent"]) == ("demo.read", True)
        assert find_schema["input"]["properties"]["deepValue"]["type"] == "integer"
        assert find_schema["output"]["type"] == "array"
        assert (find_schema["stream"], count_schema["stream"]) == (False, True)
        assert (count_schema["scope"], count_schema["destructive"]) == ("demo.count", True)
        assert count_schema["chunk"] == {"type": "integer"}
        assert "output" not in count_schema


async def test_the_config_schema_is_that_of_the_settings_class() -> None:
    async with served(Plugin("demo", settings=Mine), welcome=False) as host:
        schema = (await host.next(Register)).config_schema
    assert schema is not None
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert schema["type"] == "object"
    assert schema["properties"]["maxFiles"] == {
        "type": "integer",
        "minimum": 1,
        "description": "How many",
        "default": 500,
    }
    assert schema["properties"]["key"]["writeOnly"] is True
    assert validator.is_valid({"maxFiles": 3, "inner": {"deepValue": 2}})
    assert not validator.is_valid({"maxFiles": 0})
    assert not validator.is_valid({"unknown": 1})


async def test_without_settings_and_port_register_says_internal_and_no_schema() -> None:
    async with served(Plugin("demo"), welcome=False) as host:
        register = await host.next(Register)
        assert (register.port, register.config_schema) == ("internal", None)


# -- beats ----------------------------------------------------------------------------------------
async def test_the_first_beat_is_immediate_and_the_next_ones_keep_the_hosts_interval() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock, telemetry_seconds=0)
    async with served(plugin, welcome=False) as host:
        await host.welcome(heartbeat_seconds=4.0)
        assert (await host.next(Health)).status == "up"
        await clock.advance(3.9)
        assert not host.waiting(Health)
        await clock.advance(0.2)
        assert len(host.waiting(Health)) == 1
        await clock.advance(8.0)
        assert len(host.waiting(Health)) == 2


async def test_without_a_welcome_a_beat_comes_every_ten_seconds() -> None:
    clock = ManualClock()
    async with served(Plugin("demo", clock=clock), welcome=False) as host:
        await host.next(Health)
        await clock.advance(30.0)
        assert len(host.waiting(Health)) == 3


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        ("degraded", "degraded", None),
        (("down", "no disk"), "down", "no disk"),
        (None, "up", None),
        ("rosy", "down", "its health check failed; the log has the details"),
        (ValueError("secret"), "down", "its health check failed; the log has the details"),
    ],
)
async def test_a_health_check_decides_the_beat(answer: Any, status: str, detail: Any) -> None:
    plugin = Plugin("demo")

    @plugin.health
    async def check() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with served(plugin) as host:
        beat = await host.next(Health)
        assert (beat.plugin, beat.status, beat.detail) == ("demo", status, detail)


async def test_a_health_check_may_be_a_plain_function() -> None:
    plugin = Plugin("demo")
    plugin.health(lambda: "degraded")
    async with served(plugin) as host:
        assert (await host.next(Health)).status == "degraded"


# -- telemetry ------------------------------------------------------------------------------------
async def test_samples_carry_this_process_and_the_gauges() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock)
    plugin.telemetry("entries", lambda: 7)

    @plugin.telemetry("broken")
    def broken() -> float:
        raise RuntimeError("no")

    @plugin.telemetry("infinite")
    def infinite() -> float:
        return float("inf")

    async with served(plugin) as host:
        await host.next(Health)
        await clock.advance(10.0)
        first, _second = host.waiting(Telemetry)
        assert first.numbers == {"entries": 7}
        assert first.cpu is not None
        assert first.cpu >= 0
        assert (first.mem_bytes or 0) > 1_000_000
        complaints = [log for log in host.waiting(Log) if "gauge" in log.message]
        assert len(complaints) == 2
    with pytest.raises(ValueError, match="cpu"):
        plugin.telemetry("cpu", lambda: 1)


# -- logs -----------------------------------------------------------------------------------------
async def test_log_records_become_envelopes_with_level_and_time() -> None:
    plugin = Plugin("demo")
    plugin.log.setLevel(logging.DEBUG)
    async with served(plugin) as host:
        plugin.log.debug("a")
        plugin.log.info("b %s", 1)
        plugin.log.warning("c")
        plugin.log.critical("d\ud800")
        await asyncio.to_thread(plugin.log.info, "from a thread")
        logs = [await host.next(Log) for _ in range(5)]
        assert [(log.level, log.message) for log in logs] == [
            ("debug", "a"),
            ("info", "b 1"),
            ("warn", "c"),
            ("error", "d?"),
            ("info", "from a thread"),
        ]
        assert all(isinstance(log.timestamp, int) and log.timestamp > 1e12 for log in logs)
        plugin.log.info("x" * 100_000)
        assert "[+83616 characters]" in (await host.next(Log)).message


async def test_lines_of_before_the_connection_are_kept_and_the_oldest_go_first() -> None:
    plugin = Plugin("demo")
    plugin.log.setLevel(logging.INFO)

    @plugin.on_start
    def start() -> None:
        for number in range(MAX_RECORDS + 10):
            plugin.log.info("line %d", number)

    async with served(plugin) as host:
        first = await host.next(Log)
        assert first.level == "warn"
        assert first.message.startswith("10 log lines were dropped")
        assert (await host.next(Log)).message == "line 10"
        last = f"line {MAX_RECORDS + 9}"
        assert (await host.next(Log, lambda log: log.message == last)).level == "info"


async def test_what_could_not_be_sent_is_spilled_once(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    plugin = Plugin("demo")
    record = logging.LogRecord("other", logging.WARNING, "", 0, "lost %d", (1,), None)
    plugin.bus_log.handle(record)
    plugin.bus_log.spill(sys.stderr)
    plugin.bus_log.spill(sys.stderr)
    assert capsys.readouterr().err == "warn: other: lost 1\n"


# -- settings -------------------------------------------------------------------------------------
async def configure(host: FakeHost, settings: dict[str, Any]) -> Any:
    host._ids += 1
    request_id = f"c{host._ids}"
    await host.send(Config(request_id=request_id, settings=settings, version=2))
    return await host.response(request_id)


async def test_new_settings_are_applied_live_or_refused_with_a_pointer() -> None:
    plugin = Plugin("demo", settings=Mine)
    seen: list[tuple[int, int]] = []

    @plugin.on_config
    async def apply(new: Mine, old: Mine) -> None:
        if new.max_files == 13:
            raise ConfigInvalid(plugin="demo", errors={"/maxFiles": "13 is unlucky"})
        if new.max_files == 14:
            raise RuntimeError("secret")
        seen.append((new.max_files, old.max_files))

    async with served(plugin, {"maxFiles": 1}) as host:
        response = await configure(host, {"maxFiles": 2})
        assert response.success
        assert value(response.data) == {"applied": "live"}
        assert seen == [(2, 1)]
        assert plugin.settings.max_files == 2
        for bad, pointer in (({"maxFiles": 0}, "/maxFiles"), ({"max": 1}, "/max")):
            response = await configure(host, bad)
            assert (response.code, list(response.detail["errors"])) == ("config_invalid", [pointer])
        assert (await configure(host, {"maxFiles": 13})).code == "config_invalid"
        response = await configure(host, {"maxFiles": 14})
        assert response.code == "plugin_failure"
        assert "secret" not in response.error
        assert plugin.settings.max_files == 2


async def test_without_a_hook_or_by_its_word_new_settings_need_a_restart() -> None:
    plugin = Plugin("demo", settings=Mine)
    async with served(plugin) as host:
        assert value((await configure(host, {"maxFiles": 2})).data) == {"applied": "restart"}
        plugin.on_config(lambda new, old: False)
        assert value((await configure(host, {"maxFiles": 3})).data) == {"applied": "restart"}
        assert plugin.settings.max_files == 500


async def test_the_settings_of_a_welcome_are_taken_where_they_differ() -> None:
    plugin = Plugin("demo", settings=Mine)
    plugin.on_config(lambda new, old: None)
    async with served(plugin, {"maxFiles": 1}, welcome=False) as host:
        await host.welcome(settings={"maxFiles": 9})
        await aeventually(lambda: plugin.settings.max_files == 9)
    async with served(plugin, {"maxFiles": 1}, welcome=False) as host:
        await host.welcome(settings={"maxFiles": 0})
        assert "/maxFiles" in (await host.next(Log)).message
        assert plugin.settings.max_files == 1


async def test_settings_that_do_not_fit_at_the_start_name_the_pointer() -> None:
    plugin = Plugin("demo", settings=Mine)
    with pytest.raises(ConfigInvalid) as caught:
        async with served(plugin, {"inner": {"deepValue": "x"}}, welcome=False):
            pass
    assert list(caught.value.facts["errors"]) == ["/inner/deepValue"]


# -- the stop -------------------------------------------------------------------------------------
async def test_a_stop_finishes_what_is_in_flight_and_refuses_the_rest() -> None:
    plugin = Plugin("demo")
    order: list[str] = []
    gate, began = asyncio.Event(), asyncio.Event()

    @plugin.capability("demo.slow")
    async def slow() -> str:
        began.set()
        await gate.wait()
        order.append("answered")
        return "done"

    plugin.on_stop(lambda: order.append("first hook"))
    plugin.on_stop(lambda: order.append("second hook"))

    async with served(plugin) as host:
        request_id = await host.request("demo.slow")
        await began.wait()
        plugin.stop()
        assert (await host.fail("demo.slow")).code == "capability_unavailable"
        gate.set()
        assert value((await host.response(request_id)).data) == "done"
        assert await host.end() == 1000
    assert order == ["answered", "second hook", "first hook"]


async def test_a_stop_waits_no_longer_than_its_grace() -> None:
    clock = ManualClock()
    plugin = Plugin("demo", clock=clock, grace_seconds=4.0)
    began = asyncio.Event()

    @plugin.capability("demo.hang")
    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    async with served(plugin) as host:
        request_id = await host.request("demo.hang")
        await began.wait()
        plugin.stop()
        await clock.advance(3.9)
        assert plugin.link is not None
        await clock.advance(0.2)
        assert (await host.response(request_id)).code == "capability_unavailable"


async def test_a_lost_connection_ends_its_requests_without_an_answer() -> None:
    plugin = Plugin("demo")
    ended, began = asyncio.Event(), asyncio.Event()

    @plugin.capability("demo.hang")
    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with served(plugin) as host:
        await host.request("demo.hang")
        await began.wait()
        await host.channel.close(1006)
        await asyncio.wait_for(ended.wait(), 5)


async def test_messages_that_are_not_valid_end_nothing() -> None:
    plugin = Plugin("demo")

    @plugin.capability("demo.echo")
    async def echo(payload: Any) -> Any:
        return payload

    async with served(plugin) as host:
        for frame in (b"", b"{", b"[]", b'{"type":"request"}', b'{"type":"news"}', b"[" * 5000):
            await host.channel.send(frame)
        await host.channel.send(b'{"type":"response","requestId":"x","success":true}')
        assert await host.ask("demo.echo", 1) == 1
