"""The supervisor over scripted processes and a clock moved by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from bkg_workbench.errors import LifecycleError, PluginNotFound, StartFailed
from bkg_workbench.protocol.definition import Limits
from bkg_workbench.supervisor import proc
from bkg_workbench.supervisor.actor import SteadyTime
from tests.supervisor.fakes import Bench, Problem


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.close()


# --- wishes --------------------------------------------------------------------------------------


async def test_a_start_runs_and_a_stop_drains_and_ends(bench: Bench):
    bench.define(drain_seconds=3.0)
    process = await bench.up()
    [states] = [[m.chapter.state for _, m in bench.moved]]
    assert states == ["starting", "starting", "running"]
    assert bench.moved[-1][1].pid == process.pid
    bench.supervisor.stop("goose")
    await bench.settle()
    assert bench.drained == [("goose", 3.0)]
    assert bench.state() == "stopped"
    assert not process.is_alive
    assert bench.moved[-1][1].last_exit == "signal 15 (TERM)"


async def test_an_unknown_plugin_is_refused(bench: Bench):
    bench.define("goose")
    for verb in (bench.supervisor.start, bench.supervisor.stop, bench.supervisor.restart):
        with pytest.raises(PluginNotFound, match="goose"):
            verb("moose")
    with pytest.raises(PluginNotFound):
        await bench.supervisor.wait("moose", timeout=1)
    bench.supervisor.registered("moose", 1)
    bench.supervisor.beat("moose", 1, "up")
    bench.supervisor.disconnected("moose", 1)


@pytest.mark.row("S13")
async def test_wishes_in_any_number_leave_one_process_and_the_last_wish_wins(bench: Bench):
    bench.define()
    dice = random.Random(7)
    for _ in range(40):
        verbs = [bench.supervisor.start, bench.supervisor.stop, bench.supervisor.restart]
        wishes = [dice.choice(verbs) for _ in range(10)]
        for verb in wishes:
            verb("goose")
            if dice.random() < 0.3:
                await bench.settle()
        await bench.settle()
        last = next(v for v in reversed(wishes) if v is not None)
        alive = [p for p in bench.processes.get("goose", []) if p.is_alive]
        assert len(alive) == (0 if last == bench.supervisor.stop else 1)
        assert bench.most_alive <= 1


async def test_a_restart_takes_the_new_definition_and_a_new_generation(bench: Bench):
    bench.define()
    await bench.up()
    assert bench.supervisor.generation("goose") == 1
    bench.define(drain_seconds=0.5)
    bench.supervisor.restart("goose", "settings changed")
    await bench.settle()
    assert bench.supervisor.generation("goose") == 2
    assert bench.drained == [("goose", 0.5)]
    assert bench.reason() == "settings changed"


@pytest.mark.row("S14")
async def test_what_an_old_process_says_changes_nothing(bench: Bench):
    bench.define()
    await bench.up()
    bench.supervisor.restart("goose")
    await bench.settle()
    await bench.ready()
    told = len(bench.moved)
    bench.supervisor.disconnected("goose", 1)
    bench.supervisor.beat("goose", 1, "down")
    bench.supervisor.registered("goose", 1)
    assert len(bench.moved) == told


async def test_what_cannot_be_is_logged_with_its_story(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    bench.define()
    bench.supervisor.registered("goose", 5)
    assert "cannot take registered" in caplog.text


async def test_removing_stops_first(bench: Bench):
    bench.define()
    process = await bench.up()
    await bench.supervisor.remove("goose")
    assert not process.is_alive
    assert bench.supervisor.names() == []
    bench.processes.clear()


async def test_a_callback_may_wish_at_once(bench: Bench):
    bench.define("goose")
    bench.define("moose")
    original = bench.supervisor._outside.on_moved

    def follow(name: str, moved: object) -> None:
        original(name, moved)  # type: ignore[arg-type]
        if name == "goose" and bench.state() == "running":
            bench.supervisor.start("moose")
            raise RuntimeError("the view is broken")

    bench.supervisor._outside.on_moved = follow
    await bench.up("goose")
    await bench.settle()
    assert bench.spawns("moose") == 1


# --- wait ----------------------------------------------------------------------------------------


async def test_wait_returns_when_the_wish_is_fact(bench: Bench):
    bench.define()
    bench.supervisor.start("goose")
    waiting = asyncio.ensure_future(bench.supervisor.wait("goose", timeout=30))
    await bench.settle()
    assert not waiting.done()
    await bench.ready()
    assert (await waiting).chapter.state == "running"
    bench.supervisor.stop("goose")
    assert (await bench.supervisor.wait("goose", timeout=30)).chapter.state == "stopped"
    assert (await bench.supervisor.wait("goose", timeout=0)).chapter.state == "stopped"


async def test_wait_fails_with_the_reason_and_the_last_lines(bench: Bench):
    bench.define()
    bench.supervisor.start("goose")
    waiting = asyncio.ensure_future(bench.supervisor.wait("goose", timeout=30))
    await bench.settle()
    bench.process().print(*(f"line {n}" for n in range(30)))
    bench.process().exit(3)
    with pytest.raises(StartFailed) as failed:
        await waiting
    assert "exit 3" in failed.value.facts["reason"]
    assert failed.value.facts["log"] == [f"line {n}" for n in range(10, 30)]


@pytest.mark.parametrize("code", [0, 78])
async def test_wait_fails_when_it_ends_for_good(bench: Bench, code: int):
    bench.define()
    bench.supervisor.start("goose")
    waiting = asyncio.ensure_future(bench.supervisor.wait("goose", timeout=30))
    await bench.settle()
    bench.process().exit(code)
    with pytest.raises(StartFailed, match=f"exit {code}"):
        await waiting


async def test_wait_ends_at_its_timeout(bench: Bench):
    bench.define()
    bench.supervisor.start("goose")
    waiting = asyncio.ensure_future(bench.supervisor.wait("goose", timeout=5))
    await bench.clock.advance(6)
    with pytest.raises(StartFailed, match="still starting after 5 s"):
        await waiting
    bench.process().stubborn = True
    bench.supervisor.stop("goose")
    waiting = asyncio.ensure_future(bench.supervisor.wait("goose", timeout=5))
    await bench.clock.advance(6)
    with pytest.raises(LifecycleError, match="has not stopped within 5 s"):
        await waiting


# --- starting ------------------------------------------------------------------------------------


async def test_what_prepare_refuses_is_the_reason_and_is_not_retried(bench: Bench):
    bench.define()
    bench.problem = Problem("The settings of goose are not valid: /users: too many.")
    bench.supervisor.start("goose")
    await bench.settle()
    assert (bench.state(), bench.reason()) == ("failed", str(bench.problem))
    await bench.clock.advance(1300)
    assert bench.state() == "failed"
    bench.problem = None
    await bench.up()


async def test_a_bug_in_prepare_is_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture):
    bench.define()
    bench.problem = KeyError("x")
    bench.supervisor.start("goose")
    await bench.settle()
    assert bench.state() == "backoff"
    assert "preparing goose failed" in caplog.text
    bench.problem = None
    await bench.clock.advance(1.1)
    assert bench.spawns() == 1


async def test_a_spawn_that_the_system_refuses_is_tried_again(bench: Bench):
    bench.define()
    spawn = bench.supervisor._outside.spawn

    async def refuse(*_: object) -> object:
        raise OSError("Cannot allocate memory")

    bench.supervisor._outside.spawn = refuse  # type: ignore[assignment]
    bench.supervisor.start("goose")
    await bench.settle()
    assert bench.state() == "backoff"
    assert "Cannot allocate memory" in bench.reason()
    bench.supervisor._outside.spawn = spawn
    await bench.clock.advance(1.1)
    assert bench.spawns() == 1


@pytest.mark.row("S11")
async def test_a_stop_while_it_is_prepared_wins_at_once(bench: Bench):
    bench.define()
    bench.gate = asyncio.Event()
    bench.supervisor.start("goose")
    bench.supervisor.stop("goose")
    await bench.settle()
    assert bench.state() == "stopped"
    bench.supervisor.start("goose")
    await bench.settle()
    bench.supervisor.stop("goose")
    await bench.settle()
    assert bench.state() == "stopped"
    assert bench.spawns() == 0
    bench.supervisor.start("goose")
    await bench.settle()
    bench.supervisor.restart("goose")
    await bench.settle()
    bench.gate.set()
    await bench.settle()
    assert bench.spawns() == 1


async def test_preparing_lines_are_shown_and_hold_the_start_timeout(bench: Bench):
    bench.define()
    bench.supervisor.start("goose")
    await bench.settle()
    process = bench.process()
    for minute in range(10):
        await bench.clock.advance(28)
        process.print("preparing: 40 packages", "other line")
        assert bench.state() == "starting", minute
    assert bench.prepared == [("goose", "40 packages")] * 10
    assert ("goose", "stdout", "preparing: 40 packages") in bench.lines
    await bench.clock.advance(29)
    assert bench.state() == "starting"
    await bench.clock.advance(1.5)
    assert bench.state() == "backoff"
    assert "start timeout" in bench.reason()


@pytest.mark.row("S31")
async def test_at_most_so_many_start_at_a_time():
    bench = Bench(max_starts=2)
    names = [bench.define(f"plugin{n}") for n in range(5)]
    for name in names:
        bench.supervisor.start(name)
    await bench.settle()
    assert [bench.spawns(name) for name in names] == [1, 1, 0, 0, 0]
    await bench.ready(names[0])
    bench.supervisor.stop(names[2])  # while it waits for its turn
    await bench.settle()
    assert [bench.spawns(name) for name in names] == [1, 1, 0, 1, 0]
    bench.process(names[1]).exit(1)
    await bench.settle()
    assert bench.spawns(names[4]) == 1
    for _ in range(3):
        for name in (names[3], names[4]):
            bench.supervisor.restart(name)
        await bench.settle()
    assert bench.supervisor._outside.slots._value == 0
    await bench.close()
    assert bench.supervisor._outside.slots._value == 2


@pytest.mark.row("S32")
async def test_autostart_begins_with_those_that_others_call(bench: Bench):
    bench.define("brain", autostart=True, calls=["llm.embed"])
    bench.define("manual")
    bench.define("llm", autostart=True, capabilities=["llm.embed"], calls=["auth.validate"])
    bench.define("apikeys", autostart=True, capabilities=["auth.validate"])
    assert bench.supervisor.autostart() == ["apikeys", "llm", "brain"]
    await bench.settle()
    assert bench.spawns("manual") == 0


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.row("S4", "S8")
async def test_a_crash_loop_backs_off_then_gives_up_then_tries_each_ten_minutes(bench: Bench):
    bench.define()
    bench.supervisor.start("goose")
    await bench.settle()
    times = [bench.clock.monotonic()]
    while bench.state() != "failed":
        spawns = bench.spawns()
        bench.process().exit(1)
        while bench.spawns() == spawns and bench.state() != "failed":
            await bench.clock.advance(0.05)
        times.append(bench.clock.monotonic())
    gaps = [round(b - a) for a, b in pairwise(times)]
    assert gaps == [1, 2, 4, 8, 0]
    assert bench.spawns() == 5
    await bench.clock.advance(598)
    assert bench.spawns() == 5
    await bench.clock.advance(4)
    assert bench.spawns() == 6
    bench.process().exit(1)
    await bench.settle()
    assert bench.state() == "failed"
    bench.supervisor.stop("goose")
    await bench.clock.advance(1300)
    assert (bench.state(), bench.spawns()) == ("stopped", 6)


@pytest.mark.row("S5")
async def test_two_crash_loops_are_not_in_lock_step():
    dice = random.Random(3)
    bench = Bench(jitter=lambda: dice.uniform(0.8, 1.2))
    names = [bench.define("one"), bench.define("two")]
    for name in names:
        bench.supervisor.start(name)
    await bench.settle()
    for name in names:
        bench.process(name).exit(1)
    await bench.settle()
    delays = {bench.reason(name).rpartition("next try in ")[2] for name in names}
    assert len(delays) == 2
    await bench.close()


async def test_a_keeper_that_hangs_is_ended_by_force(bench: Bench):
    bench.define()
    process = await bench.up()
    process.stubborn = True
    bench.supervisor.stop("goose")
    await bench.clock.advance(9.9)
    assert process.is_alive
    await bench.clock.advance(0.2)
    assert bench.state() == "stopped"
    assert bench.moved[-1][1].last_exit == "signal 9 (KILL)"


async def test_a_drain_that_hangs_does_not_hold_the_stop(
    bench: Bench, caplog: pytest.LogCaptureFixture
):
    bench.define(drain_seconds=2.0)
    await bench.up()
    bench.drain_gate = asyncio.Event()
    bench.supervisor.stop("goose")
    await bench.clock.advance(2.9)
    assert bench.state() == "stopping"
    await bench.clock.advance(0.2)
    assert bench.state() == "stopped"

    async def broken(name: str, seconds: float) -> None:
        raise RuntimeError("no bus")

    bench.supervisor._outside.drain = broken
    await bench.up()
    bench.supervisor.stop("goose")
    await bench.settle()
    assert bench.state() == "stopped"
    assert "draining goose failed" in caplog.text


# --- health --------------------------------------------------------------------------------------


@pytest.mark.row("S25")
async def test_silence_degrades_loses_and_restarts(bench: Bench):
    bench.define()
    await bench.up()
    await bench.pass_time(100)
    assert bench.state() == "running"
    await bench.clock.advance(24)
    assert bench.state() == "running"
    await bench.clock.advance(2)
    assert (bench.state(), bench.reason()) == ("degraded", "no beat for 25 s")
    await bench.clock.advance(10)
    assert bench.reason() == "lost: no beat for 35 s"
    await bench.clock.advance(23)
    assert bench.spawns() == 1
    await bench.clock.advance(3)
    assert bench.spawns() == 2


@pytest.mark.row("S25")
async def test_a_silent_one_that_prints_is_lost_but_kept(bench: Bench):
    bench.define()
    process = await bench.up()
    for _ in range(12):
        await bench.clock.advance(10)
        process.print("still computing")
    assert bench.spawns() == 1
    assert bench.reason().startswith("lost")
    bench.supervisor.beat("goose", 1, "up")
    assert bench.state() == "running"


@pytest.mark.row("S26", "S27", "K12")
async def test_the_hosts_own_stall_counts_against_nobody(bench: Bench):
    bench.define("goose")
    bench.define("late")
    await bench.up("goose")
    bench.supervisor.start("late")
    await bench.settle()
    bench.clock._now += 60.0  # nothing ran meanwhile
    await bench.clock.advance(20)
    assert bench.state("goose") == "running"
    assert bench.state("late") == "starting"
    await bench.clock.advance(9.5)
    assert bench.state("goose") == "degraded"
    assert bench.state("late") == "backoff"


@pytest.mark.row("S28")
@pytest.mark.parametrize("days", [1, -1])
async def test_a_jump_of_the_wall_clock_ends_and_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, days: int
):
    bench.define("goose")
    bench.define("late")
    await bench.up("goose")
    bench.supervisor.start("late")
    await bench.settle()
    told = len(bench.moved)
    now_ms = bench.clock.now_ms
    monkeypatch.setattr(bench.clock, "now_ms", lambda: now_ms() + days * 86_400_000)
    await bench.clock.advance(20)
    assert (bench.state("goose"), bench.state("late")) == ("running", "starting")
    assert len(bench.moved) == told
    await bench.clock.advance(9.5)
    assert (bench.state("goose"), bench.state("late")) == ("degraded", "starting")


@pytest.mark.row("S26")
async def test_short_delays_of_a_tick_are_time_like_any_other():
    bench = Bench()
    time = SteadyTime(bench.clock)
    start = time.now()
    for step in (1.0, 2.9, 0.1, 63.0, 1.0):
        bench.clock._now += step
        now = time.now()
    assert now - start == pytest.approx(1.0 + 2.9 + 0.1 + 1.0 + 1.0)
    assert time.stalled == pytest.approx(62.0)


async def test_a_lost_connection_shows_and_its_return_too(bench: Bench):
    bench.define()
    await bench.up()
    bench.supervisor.disconnected("goose", 1)
    assert (bench.state(), bench.reason()) == ("degraded", "it has lost its connection")
    await bench.ready()


@pytest.mark.row("S29")
async def test_memory_is_warned_of_at_80_percent_and_limited_at_100(bench: Bench):
    bench.define(limits=Limits(memory_mb=100))
    process = await bench.up()
    process.memory = 85 << 20
    await bench.pass_time(20)
    assert bench.lines == [("goose", "host", "memory: it uses 85 MB of the 100 MB that it may")]
    process.memory = 60 << 20
    await bench.pass_time(10)
    process.memory = 81 << 20
    await bench.pass_time(10)
    assert len(bench.lines) == 2
    process.memory = 101 << 20
    await bench.clock.advance(6)
    assert not process.is_alive
    assert any(m.chapter.why.startswith("memory-limit") for _, m in bench.moved)
    assert bench.spawns() == 2


# --- what runs -----------------------------------------------------------------------------------


async def test_samples_and_connections_are_those_of_live_processes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.define("goose")
    bench.define("idle")
    process = await bench.up("goose")
    process.memory = 42
    assert {name: s.mem_bytes for name, s in bench.supervisor.samples().items()} == {"goose": 42}
    monkeypatch.setattr(proc, "socket_inode", lambda *ports: "socket:[7]")
    assert bench.supervisor.owner_of_connection(1, 2) is None
    process.socket = "socket:[7]"
    assert bench.supervisor.owner_of_connection(1, 2) == ("goose", 1)
    monkeypatch.setattr(proc, "socket_inode", lambda *ports: None)
    assert bench.supervisor.owner_of_connection(1, 2) is None


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.row("S32")
async def test_closing_stops_in_reverse_order_with_apikeys_last():
    bench = Bench()
    bench.define("apikeys", capabilities=["auth.validate"])
    bench.define("llm", capabilities=["llm.embed"])
    bench.define("brain", calls=["llm.*"])
    for name in ("apikeys", "llm", "brain"):
        await bench.up(name)
    bench.moved.clear()
    await bench.close()
    stopped = [name for name, m in bench.moved if m.chapter.state == "stopped"]
    assert stopped == ["brain", "llm", "apikeys"]
    with pytest.raises(LifecycleError, match="the Host is stopping"):
        bench.supervisor.start("llm")
    await bench.supervisor.aclose()


async def test_closing_waits_no_longer_than_asked_and_lets_go():
    bench = Bench()
    bench.define("stubborn")
    bench.define("good")
    process = await bench.up("stubborn")
    await bench.up("good")
    process.stubborn = True
    closing = asyncio.ensure_future(bench.supervisor.aclose(6.0))
    await bench.clock.advance(6.1)
    assert closing.done()
    assert process.released
    assert bench.state("good") == "stopped"
    assert ("good", 0.0) in bench.drained
    assert len(asyncio.all_tasks()) == 1


async def test_abandoning_ends_everything_and_starts_nothing_new(bench: Bench):
    bench.define("goose", restart="always")
    process = await bench.up()
    bench.supervisor.abandon()
    assert not process.is_alive
    await bench.clock.advance(5)
    assert bench.spawns() == 1
