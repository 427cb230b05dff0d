"""The process that owns a Host: made once, ended once, and never half."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import threading
from pathlib import Path

import msgspec
import pytest
import uvloop

from bkg_workbench import Host, attach, workbench
from bkg_workbench.errors import WorkbenchError, WorkspaceOwned
from bkg_workbench.host.engine import Engine
from bkg_workbench.host.workspace import Workspace
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def warm() -> None:
    uvloop.new_event_loop().close()  # opens what libuv keeps for the whole process


def is_locked(workspace: Path) -> bool:
    disk = Workspace(workspace)
    try:
        disk.lock()
    except WorkspaceOwned:
        return True
    disk.unlock()
    return False


def test_threads_that_ask_at_once_get_the_same_host(workspace: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        hosts = list(pool.map(lambda _: Host(workspace), range(4)))
    with hosts[0] as host:
        assert all(other is host for other in hosts)


def test_host_stop_ends_a_host_that_nobody_waits_for(workspace: Path) -> None:
    host = Host(workspace)
    with attach(workspace) as bench:
        bench.stop_host()
        eventually(lambda: bench.lost)
    eventually(lambda: not is_locked(workspace))
    eventually(lambda: "bkg-host-stop" not in [t.name for t in threading.enumerate()])
    assert not host.connected


def test_a_second_close_returns_when_the_first_is_done(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(workspace)
    ending, go_on = threading.Event(), threading.Event()
    close = Engine.aclose

    async def slow(engine: Engine) -> None:
        ending.set()
        await asyncio.to_thread(go_on.wait)
        await close(engine)

    monkeypatch.setattr(Engine, "aclose", slow)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(host.close)
        ending.wait()
        second = pool.submit(host.close)
        assert not concurrent.futures.wait([second], timeout=0.2).done
        assert is_locked(workspace)
        go_on.set()
        first.result(10)
        second.result(10)
    assert not is_locked(workspace)


def test_an_interrupted_close_leaves_nothing_and_a_new_host_starts(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(workspace, autostart=True)
    host = Host(workspace)
    eventually(lambda: host.state.plugins["demo"].state == "running", timeout=20)

    async def interrupted(engine: Engine, name: str, seconds: float) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(host.engine.router, "drain", lambda n, s: interrupted(host.engine, n, s))
    with pytest.raises(KeyboardInterrupt):
        host.close()
    assert not is_locked(workspace)
    eventually(lambda: not processes_of(workspace), timeout=10)
    with Host(workspace, autostart=False) as again:
        assert again is not host
        assert again.start("demo").state == "running"


def test_an_interrupted_start_leaves_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(workspace, autostart=True)
    start = Engine.start

    async def interrupted(engine: Engine, *, autostart: bool = True) -> None:
        await start(engine, autostart=autostart)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        await asyncio.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Host(workspace)
    assert not is_locked(workspace)
    eventually(lambda: not processes_of(workspace), timeout=10)
    with Host(workspace, autostart=False) as again:
        assert again.start("demo").state == "running"


def test_a_host_cannot_be_closed_on_its_own_thread_but_from_another_still(
    workspace: Path,
) -> None:
    host = Host(workspace)
    told: list[WorkbenchError] = []

    async def close() -> None:
        try:
            host.close()
        except WorkbenchError as error:
            told.append(error)

    host._portal.run(close())
    assert "own thread" in str(told[0])
    assert host.connected
    host.close()
    assert not is_locked(workspace)


def test_workbench_becomes_the_host_when_the_present_one_ends(workspace: Path) -> None:
    disk = Workspace(workspace)
    disk.prepare()
    disk.lock()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        becoming = pool.submit(workbench, workspace)
        assert not concurrent.futures.wait([becoming], timeout=0.3).done
        disk.unlock()
        with becoming.result(20) as bench:
            assert isinstance(bench, Host)


def test_a_forked_child_that_leaves_the_with_block_touches_nothing(workspace: Path) -> None:
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(Host(workspace))
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            # The number of the lock's descriptor is free here and may be anybody's by now.
            os.dup2(writer, host._disk._lock or -1)
            try:
                host.close()
                os.write(host._disk._lock or -1, b"open")
            finally:
                os._exit(0)
        os.close(writer)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reader, 10) == b"open"
        os.close(reader)
        assert is_locked(workspace)
        assert host.info()["pid"] == os.getpid()


def test_a_definition_that_comes_back_while_its_plugin_stops_is_kept(workspace: Path) -> None:
    write_plugin(workspace, autostart=True)
    with Host(workspace) as host:
        engine = host.engine
        eventually(lambda: host.state.plugins["demo"].state == "running", timeout=20)

        async def twice() -> None:
            loaded = await engine.configs.load()
            nothing = msgspec.structs.replace(loaded, definitions=[])
            engine._apply(nothing)
            await asyncio.sleep(0)
            engine._apply(nothing)
            engine._apply(loaded)

        host._portal.run(twice())
        eventually(lambda: not engine._leaving, timeout=20)
        assert list(host.state.plugins) == ["demo"]
        assert host.start("demo").state == "running"


def test_a_save_goes_through_though_its_asker_goes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin(workspace)
    with Host(workspace) as host:
        configurator = host.engine.configurator
        begun, go_on = threading.Event(), threading.Event()
        write = configurator.write_runtime

        async def slow(name: str) -> dict[str, object]:
            begun.set()
            await asyncio.to_thread(go_on.wait)
            return await write(name)

        monkeypatch.setattr(configurator, "write_runtime", slow)
        version = host.config("demo")["version"]
        saving = host._portal.start(host.asave_config("demo", {"times": 2}, version))
        begun.wait()
        saving.cancel()
        go_on.set()
        eventually(lambda: host.state.plugins["demo"].config_version == version + 1)
