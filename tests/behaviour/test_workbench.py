"""What a Workbench does, the same over a direct call, a memory channel and a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from bkg_workbench import Host, Workbench, attach
from bkg_workbench.bus.channel import Peer, memory_pair
from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.client.portal import Portal
from bkg_workbench.errors import (
    CapabilityNotFound,
    CapabilityUnavailable,
    ConfigConflict,
    ConfigInvalid,
    InvalidParams,
    PluginDisconnected,
    PluginFailure,
    PluginNotFound,
    RequestTimeout,
    WorkbenchError,
)
from bkg_workbench.protocol.state import WorkbenchState
from tests.helpers import eventually, processes_of
from tests.leaks import Held
from tests.plugins import write_plugin

pytestmark = [pytest.mark.timeout(120), pytest.mark.shared_host]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One Host with the demo plug-in, running; nothing of it is left at its end."""
    uvloop.new_event_loop().close()  # opens what libuv keeps for the whole process
    before = Held.now()
    place = tmp_path_factory.mktemp("workspace")
    (place / "plugins").mkdir()
    (place / "plugins" / "plugins.json").write_text("[]\n")
    write_plugin(place, autostart=True)
    with Host(place) as host:
        host.start("demo")
        host.call("demo.greet", {"name": "nobody"})
        eventually(lambda: host.logs("demo"))
        yield host
    eventually(lambda: not processes_of(place))

    def nothing_left() -> bool:
        left = Held.now().more_than(before)
        assert not left
        return True

    eventually(nothing_left)


@contextlib.contextmanager
def over_memory(owner: Host) -> Iterator[Workbench]:
    """A workbench on a memory channel to the owner's hub, in the owner's loop."""
    engine = owner._engine

    async def join() -> ChannelOutbound:
        host_end, own_end = memory_pair(Peer(path="/attach", token=engine.token))
        accepting = asyncio.create_task(engine.hub.accept(host_end))
        engine._tasks.add(accepting)
        accepting.add_done_callback(engine._tasks.discard)
        outbound = ChannelOutbound(own_end, str(owner.workspace))
        await outbound.start()
        return outbound

    class Borrowed(Portal):
        def __init__(self) -> None:
            self.__dict__ = owner._portal.__dict__

        def close(self, timeout: float = 10.0) -> None:
            """It is the owner's."""

    outbound = owner._portal.run(join())
    with Workbench(Borrowed(), outbound, owner.workspace) as bench:
        yield bench


@pytest.fixture(params=["direct", "memory", "websocket"])
def bench(request: pytest.FixtureRequest, owner: Host) -> Iterator[Workbench]:
    owner.start("demo")
    if request.param == "direct":
        yield owner
    elif request.param == "memory":
        with over_memory(owner) as made:
            yield made
    else:
        with attach(owner.workspace) as made:
            yield made


def test_a_call_gives_the_plugins_result(bench: Workbench) -> None:
    assert bench.call("demo.greet", {"name": "Ada"})["text"].endswith("Ada")


async def test_the_async_twin_gives_the_same(bench: Workbench) -> None:
    assert (await bench.acall("demo.greet", {"name": "Ada"}))["text"].endswith("Ada")
    assert [c["number"] async for c in bench.astream("demo.count", {"to": 3})] == [0, 1, 2]


def test_a_stream_gives_its_pieces_in_order(bench: Workbench) -> None:
    pieces = [c["number"] for c in bench.stream("demo.count", {"to": 500})]
    assert pieces == list(range(500))


def test_a_stream_that_is_left_early_leaves_nothing_in_flight(
    bench: Workbench, owner: Host
) -> None:
    stream = bench.stream("demo.count", {"to": 1_000_000})
    assert next(stream)["number"] == 0
    stream.close()  # type: ignore[attr-defined]
    entry = owner._engine.router.entries["demo"]
    eventually(lambda: not entry.connection.session.asked)


def test_progress_reaches_the_asker(bench: Workbench) -> None:
    seen: list[Any] = []
    bench.call("demo.slow", {"seconds": 0}, on_progress=seen.append)
    assert [(p.value, p.total, p.message) for p in seen] == [(1.0, 2.0, "half")]


@pytest.mark.parametrize(
    ("capability", "payload", "error"),
    [
        ("demo.nothing", {}, CapabilityNotFound),
        ("demo.greet", {"nam": "Ada"}, InvalidParams),
        ("demo.greet", {"name": 5}, InvalidParams),
        ("demo.fail", {"how": "params"}, InvalidParams),
        ("demo.fail", {}, PluginFailure),
        ("host.plugin.get", {"name": "nobody"}, PluginNotFound),
        ("host.plugin.get", {"nam": "demo"}, InvalidParams),
    ],
)
def test_errors_are_the_same_class_everywhere(
    bench: Workbench, capability: str, payload: Any, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        bench.call(capability, payload)
    assert "secret detail" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_deadline_is_kept(bench: Workbench) -> None:
    with pytest.raises(RequestTimeout):
        bench.call("demo.slow", {"seconds": 60}, timeout=0.2)


def test_the_state_shows_the_plugin(bench: Workbench) -> None:
    plugin = bench.plugin("demo")
    assert plugin.state == "running"
    assert plugin.wanted == "up"
    assert plugin.pid
    assert set(plugin.capabilities) >= {"demo.greet", "demo.count"}
    assert plugin.meta["version"] == "1.2"
    assert [p.name for p in bench.plugins()] == ["demo"]
    eventually(lambda: bench.state.plugins["demo"] == owner_view(bench))


def owner_view(bench: Workbench) -> Any:
    return bench.plugin("demo")


def test_stop_and_start_are_seen_by_everybody(bench: Workbench, owner: Host) -> None:
    changed = threading.Event()
    unsubscribe = bench.on_change(lambda _: changed.set())
    assert bench.stop("demo").state == "stopped"
    assert owner.plugin("demo").state == "stopped"
    eventually(lambda: bench.state.plugins["demo"].state == "stopped")
    assert changed.is_set()
    with pytest.raises(CapabilityUnavailable):
        bench.call("demo.greet", {"name": "Ada"})
    assert bench.start("demo").state == "running"
    eventually(lambda: bench.state.plugins["demo"].state == "running")
    unsubscribe()


@pytest.mark.row("P1")
def test_a_restart_loses_no_request(bench: Workbench) -> None:
    before = bench.plugin("demo").generation
    answers: list[str] = []

    def ask() -> None:
        answers.extend(bench.call("demo.greet", {"name": str(n)})["text"] for n in range(40))

    thread = threading.Thread(target=ask)
    thread.start()
    bench.restart("demo")
    thread.join()
    assert [text.split()[-1] for text in answers] == [str(n) for n in range(40)]
    assert bench.plugin("demo").generation > before


def test_a_crash_is_told_at_once_and_mended(bench: Workbench) -> None:
    before = bench.plugin("demo").generation
    with pytest.raises(PluginDisconnected):
        bench.call("demo.die", {"code": 3})
    eventually(lambda: bench.plugin("demo").generation > before, timeout=10)
    eventually(lambda: bench.plugin("demo").state == "running", timeout=10)
    assert "exit 3" in (bench.plugin("demo").last_exit or "")


def test_settings_are_saved_applied_live_kept_and_restored(bench: Workbench) -> None:
    config = bench.config("demo")
    saved = bench.save_config(
        "demo", {"greeting": "Moin", "password": "s3cret"}, config["version"], reason="test"
    )
    assert saved["applied"] == "live"
    assert bench.call("demo.greet", {"name": "Ada"})["text"] == "Moin Ada"
    shown = bench.config("demo")
    assert shown["settings"]["password"] == "***"
    assert shown["effective"]["times"] == 1
    assert shown["inherited"]["times"] == 1
    assert shown["inherited"].get("greeting") != "Moin"
    with pytest.raises(ConfigConflict):
        bench.save_config("demo", {}, config["version"])
    with pytest.raises(ConfigInvalid) as caught:
        bench.save_config("demo", {"times": 99}, shown["version"])
    assert "/times" in caught.value.facts["errors"]
    history = bench.config_history("demo")
    assert "s3cret" not in repr(history)
    newest = max(history, key=lambda one: one["version"])
    assert newest["reason"] == "test"
    bench.restore_config("demo", config["version"])
    assert bench.call("demo.greet", {"name": "Ada"})["text"].startswith("Hello")


def test_log_lines_can_be_searched_and_followed(bench: Workbench) -> None:
    batches: list[Any] = []
    unsubscribe = bench.follow(["logs.demo"], lambda _topic, data: batches.append(data))
    bench.call("demo.greet", {"name": "Grace"})
    eventually(lambda: any("Grace" in r["message"] for b in batches for r in b["records"]))
    unsubscribe()
    found = eventually(lambda: bench.logs("demo", text="greeting Grace"))
    assert {r["plugin"] for r in found} == {"demo"}
    assert found[-1]["level"] == "info"
    assert list(found.df["message"])[-1] == "greeting Grace"


def test_logs_are_followed_without_a_gap(bench: Workbench) -> None:
    followed = bench.follow_logs("demo", lines=0, text="greeting")
    got: list[str] = []

    def read() -> None:
        for record in followed:
            got.append(record["message"])
            if record["message"].endswith("last"):
                return

    reader = threading.Thread(target=read)
    before = len(bench.logs("demo", text="greeting", limit=10_000))
    reader.start()
    # Whoever begins to follow says nothing of when: a first line tells.
    eventually(lambda: bench.call("demo.greet", {"name": "first"}) and got)
    for number in range(50):
        bench.call("demo.greet", {"name": str(number)})
    bench.call("demo.greet", {"name": "last"})
    reader.join(10)
    assert [m.split()[-1] for m in got if m.split()[-1] != "first"][:-1] == list(
        map(str, range(50))
    )
    records = bench.logs("demo", text="greeting", limit=10_000)
    assert [r["message"] for r in records[-len(got) :]] == got
    assert len(records) >= before + len(got)


async def test_following_goes_on_after_a_number_for_an_async_reader(bench: Workbench) -> None:
    await bench.acall("demo.greet", {"name": "Joan"})
    seen = bench.follow_logs("demo", after=0, text="greeting Joan")
    number = (await asyncio.to_thread(next, seen))["seq"]
    await asyncio.to_thread(seen.close)  # type: ignore[attr-defined]
    followed = bench.afollow_logs("demo", after=number - 1, text="greeting Joan")
    assert (await anext(followed))["seq"] == number
    await followed.aclose()  # type: ignore[attr-defined]


def test_records_are_tables_also_where_there_are_none(bench: Workbench) -> None:
    bench.call("demo.greet", {"name": "Ada"})
    eventually(lambda: bench.calls("demo.greet") and bench.logs("demo"))
    for found in (
        bench.logs("demo"),
        bench.logs("demo", text="nobody says this"),
        bench.events("demo"),
        bench.events("nobody"),
        bench.calls("demo.greet"),
        bench.calls("demo.nothing"),
        bench.telemetry("nobody"),
        bench.config_history("demo"),
    ):
        table = found.df
        assert len(table) == len(found)
        assert str(table["at"].dt.tz) == "UTC"


def test_calls_and_events_are_kept(bench: Workbench) -> None:
    bench.call("demo.greet", {"name": "Ada"})
    calls = eventually(lambda: bench.calls("demo.greet", outcome="ok"))
    assert calls[-1]["plugin"] == "demo"
    assert calls[-1]["duration_ms"] >= 0
    assert {"starting", "running"} <= {e["state"] for e in bench.events("demo", limit=10_000)}


def test_ports_and_info_say_where_the_host_is(bench: Workbench) -> None:
    assert bench.ports()[0]["name"] == "bus"
    info = bench.info()
    assert info["workspace"] == bench.workspace
    assert info["uptimeSeconds"] >= 0


async def test_watching_gives_the_first_state_for_which_a_condition_holds(bench: Workbench) -> None:
    def is_stopping(state: WorkbenchState) -> bool:
        return state.plugins["demo"].state in ("stopping", "stopped")

    watching = asyncio.create_task(bench.watch(is_stopping, timeout=60))
    await bench.astop("demo", wait=False)  # in the same loop, which the watching leaves free
    assert is_stopping(await watching)
    await bench.astart("demo")
    held = await bench.watch(lambda s: s.plugins["demo"].state == "running", timeout=60)
    assert held.plugins["demo"].wanted == "up"


async def test_watching_ends_at_its_timeout_and_leaves_nobody_listening(bench: Workbench) -> None:
    with pytest.raises(RequestTimeout, match=r"within 0\.05 s"):
        await bench.watch(lambda _: False, timeout=0.05)
    assert (await bench.watch(seconds=0.05)).instance == bench.state.instance
    with pytest.raises(ZeroDivisionError):
        await bench.watch(lambda _: 1 / 0)
    with pytest.raises(WorkbenchError, match="either"):
        await bench.watch()
    assert not bench._follower._callbacks


async def test_watching_ends_when_the_workbench_is_closed(owner: Host) -> None:
    with attach(owner.workspace) as bench:
        watching = asyncio.create_task(bench.watch(lambda _: False))
        await asyncio.sleep(0)
        await bench.aclose()
        with pytest.raises(WorkbenchError, match="closed while"):
            await watching
