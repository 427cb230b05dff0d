"""The supervisor over real processes: what is wanted becomes fact, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bkg_workbench.errors import StartFailed
from bkg_workbench.protocol.definition import Definition, Limits
from bkg_workbench.protocol.state import Moved
from bkg_workbench.supervisor.process import LaunchSpec
from bkg_workbench.supervisor.supervisor import Supervisor
from tests.helpers import aeventually, is_alive
from tests.supervisor.trees import GRACE, NASTY, Tree, living, script

Bodies = dict[str, str]


class Shop:
    """A Supervisor of real scripts; `up` plays the hub's part."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.moved: list[Moved] = []
        self.lines: list[str] = []
        self.supervisor = Supervisor(
            prepare=self.prepare,
            on_moved=lambda name, moved: self.moved.append(moved),
            on_prepared=lambda name, text: None,
            on_lines=lambda name, stream, lines: self.lines.extend(lines),
            drain=self.drain,
            jitter=lambda: 0.8,
        )

    def define(self, body: str, name: str = "goose", **fields: object) -> str:
        directory = self.tree.directory / name
        directory.mkdir(exist_ok=True)
        script(directory, body)
        self.supervisor.define(Definition(name=name, **fields))  # type: ignore[arg-type]
        return name

    async def prepare(self, definition: Definition, generation: int) -> LaunchSpec:
        directory = self.tree.directory / definition.name
        env = {
            "PATH": os.environ["PATH"],
            "BKG_INSTANCE": self.tree.instance,
            "BKG_PLUGIN_NAME": definition.name,
            **definition.env,
        }
        path = str(directory / definition.entrypoint)
        return LaunchSpec(
            (path,), directory, env, GRACE, definition.limits, inside=self.tree.directory
        )

    async def drain(self, name: str, seconds: float) -> None:
        return

    async def up(self, name: str = "goose") -> int:
        """Start it, wait for `ready`, and say that it is up; its pid."""
        self.lines.clear()
        self.supervisor.start(name)
        await aeventually(lambda: "ready" in self.lines)
        await self.beat(name)
        return (await self.supervisor.wait(name, timeout=5)).pid or 0

    async def beat(self, name: str = "goose") -> None:
        generation = self.supervisor.generation(name)
        self.supervisor.registered(name, generation)
        self.supervisor.beat(name, generation, "up")


@pytest.fixture
async def shop(tree: Tree) -> AsyncIterator[Shop]:
    made = Shop(tree)
    yield made
    await made.supervisor.aclose()


def count(tree: Tree, command: bytes) -> int:
    found = 0
    for pid in living(tree.instance):
        try:
            found += command in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.row("S2", "S15")
async def test_a_restart_replaces_even_a_tree_that_ignores_term(shop: Shop):
    shop.define(NASTY)
    first = await shop.up()
    shop.lines.clear()
    shop.supervisor.restart("goose")
    await aeventually(lambda: shop.supervisor.generation("goose") == 2)
    left = is_alive(first)
    await aeventually(lambda: "ready" in shop.lines)
    assert not left
    assert count(shop.tree, b"1001") == 1
    ended = next(m.last_exit for m in shop.moved if m.last_exit)
    assert ended == "signal 15 (TERM); KILL was needed"


@pytest.mark.row("S13")
async def test_concurrent_wishes_leave_one_process_and_the_last_wish_wins(shop: Shop):
    shop.define("exec sleep 4242")
    for last in (shop.supervisor.start, shop.supervisor.restart, shop.supervisor.stop):
        for number in range(10):
            for verb in (shop.supervisor.start, shop.supervisor.stop, shop.supervisor.restart):
                verb("goose")
            await asyncio.sleep(0.003 * (number % 4))
        last("goose")
        expected = 0 if last == shop.supervisor.stop else 1
        if expected:
            # What is on its way down when the last wish comes is replaced, not kept.
            await aeventually(lambda: shop.moved[-1].chapter.event == "spawned")
        else:
            await shop.supervisor.wait("goose", timeout=5)
        await aeventually(lambda: count(shop.tree, b"4242") == expected)  # noqa: B023


@pytest.mark.row("S16")
async def test_a_killed_keeper_is_a_crash_and_leaves_nothing(shop: Shop):
    shop.define(NASTY)
    pid = await shop.up()
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    await aeventually(lambda: shop.moved[-1].chapter.state == "backoff")
    assert "its keeper was ended by signal 9 (KILL)" in shop.moved[-1].chapter.why
    assert living(shop.tree.instance) == []
    shop.supervisor.stop("goose")


@pytest.mark.parametrize("code", [78, 126, 127])
@pytest.mark.row("S7")
async def test_an_exit_that_no_retry_mends_fails_at_once(shop: Shop, code: int):
    shop.define(f"echo no such model >&2; exit {code}")
    shop.supervisor.start("goose")
    with pytest.raises(StartFailed) as failed:
        await shop.supervisor.wait("goose", timeout=5)
    assert failed.value.facts["log"] == ["no such model"]
    assert shop.moved[-1].chapter.state == "failed"
    assert shop.moved[-1].generation == 1


@pytest.mark.row("S7")
async def test_a_script_that_cannot_run_fails_at_once_and_says_which(shop: Shop):
    shop.define("exit 0")
    path = shop.tree.directory / "goose" / "start.sh"
    path.chmod(0o644)
    shop.supervisor.start("goose")
    with pytest.raises(StartFailed, match=f"{path} is not executable"):
        await shop.supervisor.wait("goose", timeout=5)
    shop.define("exit 0", entrypoint="../../outside.sh")
    script(shop.tree.directory.parent, "exit 0", "outside.sh")
    shop.supervisor.start("goose")
    with pytest.raises(StartFailed, match="lies outside"):
        await shop.supervisor.wait("goose", timeout=5)
    assert living(shop.tree.instance) == []


@pytest.mark.row("S33")
async def test_a_plugin_that_deletes_its_directory_still_stops(shop: Shop):
    shop.define('rm -rf "$PWD"; echo ready; exec sleep 1000')
    await shop.up()
    shop.supervisor.restart("goose")
    with pytest.raises(StartFailed, match=r"its directory .* is not there"):
        await shop.supervisor.wait("goose", timeout=5)


@pytest.mark.row("S9")
async def test_a_start_timeout_ends_the_tree(shop: Shop):
    shop.define("sleep 1000 & sleep 1000", start_timeout_seconds=0.2, restart="never")
    shop.supervisor.start("goose")
    with pytest.raises(StartFailed, match="start timeout"):
        await shop.supervisor.wait("goose", timeout=5)
    assert living(shop.tree.instance) == []


@pytest.mark.row("S29")
async def test_too_much_memory_is_seen_in_the_whole_tree(shop: Shop):
    hog = f'{sys.executable} -c \'import time; x = b"x" * (60 << 20); print("ready", flush=True); '
    shop.define(f"{hog}time.sleep(1000)' & wait", limits=Limits(memory_mb=48))
    await shop.up()
    shop.supervisor._actors["goose"].check_memory()
    assert shop.moved[-1].chapter.why.startswith("memory-limit")
    shop.supervisor.stop("goose")
    await shop.supervisor.wait("goose", timeout=5)


async def test_closing_ends_many_at_once(shop: Shop):
    names = [shop.define(NASTY, f"plugin{n}") for n in range(4)]
    for name in names:
        await shop.up(name)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await shop.supervisor.aclose()
    assert living(shop.tree.instance) == []
    # In parallel: far less than a grace for each, with room for a slow machine.
    assert loop.time() - started < 5.0


async def test_abandoning_leaves_the_end_to_the_keepers(shop: Shop):
    shop.define(NASTY)
    await shop.up()
    shop.supervisor.abandon()
    await aeventually(lambda: not living(shop.tree.instance))


@pytest.mark.row("S22", "S23")
async def test_descriptors_and_zombies_do_not_add_up(shop: Shop):
    shop.define("echo ready; exec sleep 1000")
    counts = []
    for _ in range(10):
        await shop.up()
        shop.supervisor.stop("goose")
        await shop.supervisor.wait("goose", timeout=5)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts)) == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222


async def test_variables_that_no_process_can_have_are_told_at_once(shop: Shop) -> None:
    name = shop.define("exec sleep 30", env={"A=B": "x"})
    shop.supervisor.start(name)
    with pytest.raises(StartFailed, match="illegal environment variable name"):
        await shop.supervisor.wait(name, timeout=5.0)
