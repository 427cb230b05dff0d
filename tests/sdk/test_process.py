"""A plug-in as a process: environment, settings file, signals, exit status, connecting again."""

from __future__ import annotations

import asyncio
import http
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import bkg_workbench.sdk as sdk
from bkg_workbench.bus.channel import Channel, MemoryChannel, Peer, memory_pair
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.bus.websocket import ConnectFailed, serve
from bkg_workbench.errors import Unauthenticated
from bkg_workbench.protocol.envelopes import Health, Log, Register
from bkg_workbench.sdk import Plugin
from bkg_workbench.sdk.runner import Environment, Runner, WrongSetup
from tests.helpers import aeventually
from tests.sdk.fake_host import FakeHost

SECONDS = 20.0


@dataclass
class Bus:
    """A listening bus; each connection waits in `hosts` until a test takes it."""

    port: int = 0
    hosts: asyncio.Queue[FakeHost] = field(default_factory=asyncio.Queue)
    peers: list[Peer] = field(default_factory=list)
    refuse: http.HTTPStatus | None = None

    async def host(self) -> FakeHost:
        async with asyncio.timeout(SECONDS):
            return await self.hosts.get()


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    over = asyncio.Event()

    async def accept(channel: Channel) -> None:
        bus.peers.append(channel.peer)
        bus.hosts.put_nowait(FakeHost(channel))  # type: ignore[arg-type]
        await over.wait()

    server = await serve(accept, admit=lambda peer: bus.refuse)
    bus.port = server.port
    yield bus
    over.set()
    await server.close()


@asynccontextmanager
async def process(
    folder: Path, source: str, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A plug-in that was started by hand, killed where a test leaves it running."""
    script = folder / "main.py"
    script.write_text(textwrap.dedent(source))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BKG_")}
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env={**inherited, **environ, "PYTHONPATH": str(Path(sdk.__file__).parents[2])},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def end(running: asyncio.subprocess.Process) -> tuple[int, str]:
    """Exit status and stderr."""
    async with asyncio.timeout(SECONDS):
        _, stderr = await running.communicate()
    assert running.returncode is not None
    return running.returncode, stderr.decode()


def example() -> str:
    """The plug-in in the SDK's own docstring."""
    text = sdk.__doc__ or ""
    return textwrap.dedent(text[text.index("    from ") :])


PLAIN = """
    from bkg_workbench.sdk import Plugin
    plugin = Plugin("demo")
    {body}
    plugin.run()
"""


async def test_the_plugin_in_the_docstring_works_and_ends_with_0(bus: Bus, tmp_path: Path) -> None:
    source = example()
    assert len([line for line in source.splitlines() if line.strip()]) <= 10
    (tmp_path / "config.json").write_text('{"greeting": "Moin"}')
    environ = {"BKG_PLUGIN_BUS_PORT": str(bus.port), "BKG_PLUGIN_BUS_TOKEN": "sesame"}
    async with process(tmp_path, source, **environ) as running:
        host = await bus.host()
        register = await host.welcome()
        assert (register.plugin, register.capabilities) == ("hello", ["hello.greet"])
        assert (register.meta or {})["pid"] == running.pid
        assert (await host.next(Health)).status == "up"
        assert await host.ask("hello.greet", {"name": "Ada"}) == {"text": "Moin, Ada!"}
        assert bus.peers[0].token == "sesame"
        assert bus.peers[0].path == "/bus"
        running.send_signal(signal.SIGTERM)
        assert await host.end() == 1000
        code, _ = await end(running)
        assert code == 0


@pytest.mark.parametrize("value", [None, "", "x", "0", "70000"])
async def test_without_a_bus_port_the_process_says_so_and_ends_with_78(
    tmp_path: Path, value: str | None
) -> None:
    environ = {} if value is None else {"BKG_PLUGIN_BUS_PORT": value}
    with pytest.raises(WrongSetup, match="BKG_PLUGIN_BUS_PORT"):
        Environment.read(environ)
    if value is None:
        async with process(tmp_path, PLAIN.format(body="")) as running:
            code, stderr = await end(running)
            assert code == 78
            assert stderr.startswith("demo: BKG_PLUGIN_BUS_PORT is not set.")
            assert "Traceback" not in stderr


def test_the_environment_gives_the_url() -> None:
    read = Environment.read
    assert read({"BKG_PLUGIN_BUS_PORT": "7"}).url == "ws://127.0.0.1:7/bus"
    both = {"BKG_PLUGIN_BUS_PORT": "7", "BKG_PLUGIN_BUS_HOST": "::1"}
    assert read(both).url == "ws://[::1]:7/bus"
    assert read({**both, "BKG_INSTANCE": "i"}).is_spawned
    assert not read(both).is_spawned


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"port": 0}', "/port: Expected int >= 1"),
        ('{"prt": 1}', "/prt"),
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        (None, "could not be read"),
    ],
)
async def test_settings_that_do_not_fit_end_the_process_with_78(
    tmp_path: Path, text: str | None, said: str
) -> None:
    source = """
        from typing import Annotated
        from bkg_workbench.sdk import Meta, Plugin, Settings
        class Mine(Settings):
            port: Annotated[int, Meta(ge=1)] = 1
        Plugin("demo", settings=Mine).run()
    """
    path = tmp_path / "config.runtime.json"
    if text is not None:
        path.write_text(text)
    environ = {"BKG_PLUGIN_BUS_PORT": "7", "BKG_PLUGIN_CONFIG_PATH": str(path)}
    async with process(tmp_path, source, **environ) as running:
        code, stderr = await end(running)
        assert code == 78
        assert said in stderr
        assert "Traceback" not in stderr


async def test_a_refused_token_or_name_ends_the_process_with_78(bus: Bus, tmp_path: Path) -> None:
    environ = {"BKG_PLUGIN_BUS_PORT": str(bus.port)}
    bus.refuse = http.HTTPStatus.UNAUTHORIZED
    async with process(tmp_path, PLAIN.format(body=""), **environ) as running:
        code, stderr = await end(running)
        assert code == 78
        assert "token" in stderr
    bus.refuse = None
    async with process(tmp_path, PLAIN.format(body=""), **environ) as running:
        host = await bus.host()
        await host.next(Register)
        await host.channel.close(4403, "wrong name")
        code, stderr = await end(running)
        assert code == 78
        assert "wrong name" in stderr


async def test_the_definitions_name_wins_over_the_programs(bus: Bus, tmp_path: Path) -> None:
    environ = {"BKG_PLUGIN_BUS_PORT": str(bus.port), "BKG_PLUGIN_NAME": "demo-2"}
    body = "plugin.log.info('hi')"
    async with process(tmp_path, PLAIN.format(body=body), **environ) as running:
        host = await bus.host()
        assert (await host.welcome()).plugin == "demo-2"
        assert (await host.next(Health)).plugin == "demo-2"
        running.send_signal(signal.SIGINT)
        assert (await end(running))[0] == 0


@pytest.mark.parametrize("spawned", [True, False])
async def test_log_lines_go_to_stderr_too_where_the_process_was_started_by_hand(
    bus: Bus, tmp_path: Path, spawned: bool
) -> None:
    environ = {"BKG_PLUGIN_BUS_PORT": str(bus.port)} | ({"BKG_INSTANCE": "i"} if spawned else {})
    body = "plugin.on_start(lambda: plugin.log.info('a line'))"
    async with process(tmp_path, PLAIN.format(body=body), **environ) as running:
        host = await bus.host()
        await host.welcome()
        assert (await host.next(Log)).message == "a line"
        running.terminate()
        code, stderr = await end(running)
        assert code == 0
        assert ("a line" in stderr) is not spawned


async def test_a_start_hook_that_fails_ends_the_process_with_1_and_its_traceback(
    tmp_path: Path,
) -> None:
    environ = {"BKG_PLUGIN_BUS_PORT": "7", "BKG_INSTANCE": "i"}
    body = "plugin.on_start(lambda: 1 / 0)"
    async with process(tmp_path, PLAIN.format(body=body), **environ) as running:
        code, stderr = await end(running)
        assert code == 1
        assert "ZeroDivisionError" in stderr


async def test_a_blocked_thread_does_not_keep_the_process(bus: Bus, tmp_path: Path) -> None:
    source = """
        import time
        from bkg_workbench.sdk import Plugin
        plugin = Plugin("demo", grace_seconds=0.1)
        @plugin.capability("demo.block", thread=True)
        def block():
            plugin.log.info("blocked")
            time.sleep(600)
        plugin.run()
    """
    async with process(tmp_path, source, BKG_PLUGIN_BUS_PORT=str(bus.port)) as running:
        host = await bus.host()
        await host.welcome()
        request_id = await host.request("demo.block")
        await host.next(Log, lambda log: log.message == "blocked")
        running.terminate()
        assert (await host.response(request_id)).code == "capability_unavailable"
        assert (await end(running))[0] == 0


async def test_importing_the_sdk_loads_nothing_that_a_declaration_does_not_need() -> None:
    heavy = (
        "websockets",
        "psutil",
        "uvloop",
        "jsonschema_rs",
        "IPython",
        "concurrent.futures.thread",
    )
    code = f"import sys, bkg_workbench.sdk; print([m for m in {heavy} if m in sys.modules])"
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await running.communicate()
    assert output.decode().strip() == "[]"


# -- connecting again -----------------------------------------------------------------------------
class Attempts:
    """What connecting does, try by try: an error to raise, or a Host's end to hand out."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.times: list[float] = []
        self.hosts: list[FakeHost] = []
        self.errors: list[BaseException] = []

    async def connect(self) -> MemoryChannel:
        self.times.append(self.clock.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        host_end, plugin_end = memory_pair()
        self.hosts.append(FakeHost(host_end))
        return plugin_end

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


async def running_with(
    attempts: Attempts, jitter: Callable[[], float]
) -> tuple[Plugin, asyncio.Task[Any]]:
    plugin = Plugin("demo", clock=attempts.clock, jitter=jitter)
    return plugin, asyncio.create_task(Runner(plugin).run(attempts.connect))


@pytest.mark.parametrize(
    ("jitter", "gaps"),
    [(0.0, [1, 2, 4, 8, 16, 30, 30]), (1.0, [1, 1, 2, 4, 8, 15, 15])],
)
@pytest.mark.row("B25")
async def test_tries_to_connect_grow_apart_up_to_30_seconds_with_jitter(
    jitter: float, gaps: list[float]
) -> None:
    attempts = Attempts(ManualClock())
    attempts.errors = [ConnectFailed(url="ws://x", reason="no") for _ in range(7)]
    plugin, task = await running_with(attempts, lambda: jitter)
    await attempts.clock.advance(200)
    assert attempts.gaps == pytest.approx(gaps)
    plugin.stop()
    await task


@pytest.mark.row("B25")
async def test_a_host_that_comes_back_finds_the_plugin_again() -> None:
    attempts = Attempts(ManualClock())
    plugin, task = await running_with(attempts, lambda: 0.0)
    await aeventually(lambda: attempts.hosts)
    await attempts.hosts[0].welcome()
    await attempts.hosts[0].channel.close(1006)
    await aeventually(lambda: attempts.clock._sleepers)
    attempts.errors = [OSError("no"), OSError("no")]
    await attempts.clock.advance(10)
    await aeventually(lambda: len(attempts.hosts) == 2)
    assert attempts.gaps == pytest.approx([1, 2, 4])
    await attempts.hosts[1].welcome()
    assert (await attempts.hosts[1].next(Health)).status == "up"
    await attempts.hosts[1].channel.close(1001)
    await aeventually(lambda: plugin.link is None)
    await attempts.clock.advance(1.1)
    assert attempts.gaps[-1] < 10, "a welcome starts the back-off anew"
    plugin.stop()
    await task


async def test_a_stop_ends_the_wait_for_the_next_try() -> None:
    attempts = Attempts(ManualClock())
    attempts.errors = [OSError("no")]
    plugin, task = await running_with(attempts, lambda: 0.0)
    await aeventually(lambda: attempts.clock._sleepers)
    plugin.stop()
    await asyncio.wait_for(task, 5)


async def test_a_token_that_is_refused_is_not_tried_again() -> None:
    attempts = Attempts(ManualClock())
    attempts.errors = [Unauthenticated(what="ws://x")]
    _, task = await running_with(attempts, lambda: 0.0)
    with pytest.raises(WrongSetup):
        await asyncio.wait_for(task, 5)
    assert len(attempts.times) == 1
