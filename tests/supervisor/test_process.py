"""One keeper and its tree, as the Host sees them, with real processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from bkg_workbench.protocol.definition import Limits
from bkg_workbench.supervisor.process import (
    Exit,
    LaunchSpec,
    Process,
    close_in_forked_children,
    spawn_detached,
    sweep,
)
from tests.helpers import aeventually, eventually
from tests.supervisor.trees import NASTY, Tree, living

CLIENT = """
import socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(connection.getsockname()[1], flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (Exit(3), "exit 3"),
        (Exit(None, 9), "signal 9 (KILL)"),
        (Exit(None, 99), "signal 99"),
        (Exit(None, 9, lost=True), "its keeper was ended by signal 9 (KILL)"),
    ],
)
def test_an_exit_reads_as_a_sentence(end: Exit, text: str):
    assert str(end) == text


async def test_the_exit_code_and_all_output_arrive(tree: Tree):
    process = await tree.spawn("echo out; echo err >&2; printf last; exit 3")
    assert process.pid is not None
    assert await process.wait() == Exit(3)
    assert tree.text("stdout") == ["out", "last"]
    assert tree.text("stderr") == ["err"]
    assert process.tree() == []


@pytest.mark.row("S1", "S2")
async def test_a_nasty_tree_is_gone_after_the_grace(tree: Tree):
    process = await tree.spawn(NASTY)
    await tree.ready()
    await aeventually(lambda: len(process.tree()) >= 5)
    process.terminate()
    process.terminate()
    end = await asyncio.wait_for(process.wait(), 5)
    assert end.escalated
    assert end.signal == signal.SIGTERM
    assert living(tree.instance) == []


@pytest.mark.row("S1")
async def test_what_the_script_leaves_behind_is_ended_with_it(tree: Tree):
    process = await tree.spawn("sleep 1000 & setsid sleep 1001 & exit 4")
    end = await asyncio.wait_for(process.wait(), 5)
    assert (end.code, end.escalated) == (4, False)
    assert living(tree.instance) == []


@pytest.mark.row("S24")
async def test_a_stopped_process_is_ended(tree: Tree):
    process = await tree.spawn("echo ready; kill -STOP $$")
    await tree.ready()
    process.terminate()
    end = await asyncio.wait_for(process.wait(), 5)
    assert end.signal in (signal.SIGTERM, signal.SIGKILL)


@pytest.mark.row("S30")
async def test_a_child_that_forks_without_end_is_ended(tree: Tree):
    body = "trap '' TERM\necho ready\nwhile :; do setsid sh -c 'trap \"\" TERM; sleep 1000' & "
    process = await tree.spawn(body + "sleep 0.01; done")
    await tree.ready()
    await aeventually(lambda: len(process.tree()) > 30)
    process.terminate()
    assert (await asyncio.wait_for(process.wait(), 10)).escalated
    assert living(tree.instance) == []


@pytest.mark.row("S11")
async def test_a_stop_at_any_moment_of_the_start_leaves_nothing(tree: Tree):
    for number in range(15):
        process = await tree.spawn("sleep 1000 & sleep 1000")
        await asyncio.sleep(number * 0.002)
        process.terminate()
        await asyncio.wait_for(process.wait(), 5)
    assert living(tree.instance) == []


@pytest.mark.row("S11")
async def test_a_stop_before_the_command_started_leaves_nothing(tree: Tree):
    spawning = asyncio.ensure_future(tree.spawn("sleep 1000"))
    await asyncio.sleep(0)
    spawning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spawning
    await aeventually(lambda: not living(tree.instance))


@pytest.mark.row("S16")
async def test_a_killed_keeper_leaves_nothing(tree: Tree):
    process = await tree.spawn(NASTY)
    await tree.ready()
    process.kill()
    end = await asyncio.wait_for(process.wait(), 5)
    assert end == Exit(None, 9, lost=True)
    assert living(tree.instance) == []


@pytest.mark.row("K1")
async def test_an_interrupt_of_our_group_reaches_no_plugin(tree: Tree):
    process = await tree.spawn("trap 'echo hit' INT HUP; echo ready; while :; do sleep 0.05; done")
    await tree.ready()
    assert process.pid is not None
    ours = os.getpgrp()
    for pid in (process.keeper_pid, *process.tree()):
        assert os.getpgid(pid) != ours
        assert os.getsid(pid) != os.getsid(0)
    process.terminate()
    await process.wait()
    assert "hit" not in tree.text()


@pytest.mark.row("L2")
async def test_a_flood_loses_no_line(tree: Tree):
    process = await tree.spawn("seq 1 200000; exit 0")
    assert await asyncio.wait_for(process.wait(), 30) == Exit(0)
    assert tree.text() == [str(n) for n in range(1, 200_001)]


@pytest.mark.row("L4", "L5")
async def test_a_long_line_and_binary_bytes_do_no_harm(tree: Tree):
    body = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\xff\\x00\\x1b[1mA\\n'; echo end"
    process = await tree.spawn(body)
    await process.wait()
    long, binary, end = tree.text()
    assert long.endswith("…[+83616 bytes]")
    assert (binary, end) == ("\ufffdA", "end")


@pytest.mark.row("L8")
async def test_a_stray_that_holds_stdout_delays_the_exit_by_a_second_at_most(tree: Tree):
    # Only a killed keeper can leave one; without the tag not even the sweep finds it.
    process = await tree.spawn("(env -i setsid sleep 33 &) ; echo ready; sleep 1000")
    await tree.ready()

    def strays() -> list[int]:
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in process.tree()}
        return [pid for pid, command in commands.items() if command == b"sleep\0" + b"33\0"]

    [stray] = await aeventually(strays)
    os.kill(process.keeper_pid, signal.SIGKILL)
    end = await asyncio.wait_for(process.wait(), 2.5)
    assert end.lost
    os.kill(stray, signal.SIGKILL)


async def test_a_missing_directory_is_an_os_error(tree: Tree, tmp_path: Path):
    before = sorted(os.listdir("/proc/self/fd"))
    spec = LaunchSpec(("/bin/true",), tmp_path / "nowhere", {})
    with pytest.raises(FileNotFoundError):
        await Process.spawn(spec, tree.on_lines)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.row("S30")
async def test_limits_reach_the_command(tree: Tree):
    limits = Limits(open_files=99, processes=5000, nice=3)
    process = await tree.spawn("ulimit -n; ulimit -u; nice", limits=limits)
    await process.wait()
    assert tree.text() == ["99", "5000", "3"]


@pytest.mark.row("S23")
async def test_descriptors_are_stable_over_twenty_cycles(tree: Tree):
    async def cycle() -> int:
        process = await tree.spawn("exit 0")
        await process.wait()
        return len(os.listdir("/proc/self/fd"))

    await cycle()
    counts = {await cycle() for _ in range(20)}
    assert len(counts) == 1


@pytest.mark.row("B4")
async def test_a_connection_of_the_tree_is_told_from_any_other(tree: Tree):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = await tree.spawn(f"{sys.executable} -c '{CLIENT}' {port}")
        await aeventually(lambda: tree.text())
        inside = int(tree.text()[0])
        with socket.create_connection(("127.0.0.1", port)) as ours:
            assert process.owns_connection(inside, port)
            assert not process.owns_connection(ours.getsockname()[1], port)
            assert not process.owns_connection(1, port)
            # The Host's end of the same connection is not the plug-in's.
            assert not process.owns_connection(port, inside)
        process.terminate()
        await process.wait()


async def test_a_sample_counts_the_whole_tree(tree: Tree):
    process = await tree.spawn("echo ready; (while :; do :; done) & wait")
    await tree.ready()
    process.sample()
    load = await aeventually(lambda: next((s for s in [process.sample()] if s.cpu > 5), None))
    assert load.processes == 2
    assert load.mem_bytes > 1 << 20
    assert process.mem_bytes() > 1 << 20
    process.terminate()
    await process.wait()
    assert process.sample().processes == 0


@pytest.mark.row("S19")
async def test_a_sweep_ends_what_carries_our_tag_and_nothing_else(tree: Tree, tmp_path: Path):
    (tmp_path / "decoy").mkdir()
    decoy_tree = Tree(tmp_path / "decoy")
    process = await tree.spawn("sleep 1000 & env -i setsid sleep 1001 & echo ready; wait")
    decoy = await decoy_tree.spawn("echo ready; exec sleep 1000")
    await tree.ready()
    await decoy_tree.ready()
    assert await asyncio.to_thread(sweep, tree.instance, "another") == []
    killed = await asyncio.to_thread(sweep, tree.instance)
    assert process.keeper_pid in killed
    assert len(killed) >= 4
    assert living(tree.instance) == []
    assert decoy.tree() != []
    assert sweep("") == []
    await process.wait()
    decoy.terminate()
    await decoy.wait()


@pytest.fixture(scope="module")
def warm() -> None:
    """libuv's own pipe, opened by the first loop of the process and kept."""
    uvloop.run(asyncio.sleep(0))


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_it_works_in_a_thread_on_either_loop(tree: Tree, run):
    async def life() -> Exit:
        process = await tree.spawn("echo ready; sleep 1000")
        await tree.ready()
        process.terminate()
        return await process.wait()

    ends: list[Exit] = []
    thread = threading.Thread(target=lambda: ends.append(run(life())))
    thread.start()
    thread.join(10)
    assert ends == [Exit(None, 15)]


async def test_it_works_where_there_are_no_pidfds(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "pidfd_open")
    process = await tree.spawn("echo ready; exit 6")
    assert await asyncio.wait_for(process.wait(), 5) == Exit(6)
    assert tree.text() == ["ready"]


async def test_what_is_let_go_of_ends_by_itself_and_is_collected(tree: Tree):
    before = sorted(os.listdir("/proc/self/fd"))
    process = await tree.spawn(NASTY)
    await tree.ready()
    process.release()
    process.release()
    assert sorted(os.listdir("/proc/self/fd")) == before
    await aeventually(lambda: not living(tree.instance))
    # The next start collects it.
    assert await (await tree.spawn("exit 0")).wait() == Exit(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.keeper_pid, os.WNOHANG)  # noqa: ASYNC222


@pytest.mark.row("S21")
async def test_it_outlives_the_thread_that_spawned_it(tree: Tree):
    def spawn() -> None:
        async def life() -> None:
            process = await tree.spawn("exec sleep 1000")
            spawned.append(process)

        loop = asyncio.new_event_loop()
        loops.append(loop)
        loop.run_until_complete(life())

    spawned: list[Process] = []
    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    process = spawned[0]
    assert len(process.tree()) == 1
    process.terminate()
    assert (await asyncio.to_thread(loops[0].run_until_complete, process.wait())).signal == 15
    loops[0].close()


@pytest.mark.row("S18", "K11")
async def test_a_forked_child_does_not_hold_the_lifeline(tree: Tree):
    process = await tree.spawn("echo ready; exec sleep 1000")
    await tree.ready()
    held = multiprocessing.get_context("fork").Process(target=signal.pause)
    held.start()
    try:
        process.terminate()
        await asyncio.wait_for(process.wait(), 5)
    finally:
        held.kill()
        held.join()
        held.close()


@pytest.mark.row("K11")
def test_a_descriptor_is_closed_in_forked_children_until_forgotten():
    def is_open_in_child(fd: int) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                os.fstat(fd)
            except OSError:
                os._exit(0)
            os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

    reader, writer = os.pipe()
    forget = close_in_forked_children(writer)
    assert not is_open_in_child(writer)
    assert is_open_in_child(reader)
    forget()
    assert is_open_in_child(writer)
    os.close(reader)
    os.close(writer)


async def test_a_detached_program_is_nobodys_child_and_logs(tree: Tree, tmp_path: Path):
    log = tmp_path / "host.log"
    spec = tree.spec("echo hello; exec sleep 1000")
    pid = await spawn_detached(spec.argv, spec.cwd, spec.env, log)
    await aeventually(lambda: log.read_text() == "hello\n")
    assert log.stat().st_mode & 0o777 == 0o600
    assert os.getsid(pid) == pid
    stat = Path(f"/proc/{pid}/stat").read_text()
    assert int(stat.rpartition(")")[2].split()[1]) != os.getpid()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not living(tree.instance))
