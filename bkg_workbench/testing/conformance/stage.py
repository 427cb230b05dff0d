"""Where a plug-in under test lives: a bus of the kit's own, a process below a real keeper.

Owns the temporary workspace, the server, starting and ending processes, and what was seen of them.
Does not own what is right or wrong about it: that is the checks'.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed, Peer
from bkg_workbench.bus.websocket import Server, serve
from bkg_workbench.errors import InvalidParams
from bkg_workbench.host import launch
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.schema import merge
from bkg_workbench.supervisor.process import Exit, LaunchSpec, Process, sweep
from bkg_workbench.testing.conformance.watch import OpenWatch
from bkg_workbench.testing.conformance.wire import Problem, Wire

CONNECT_SECONDS = 30.0
PREPARE_SECONDS = 600.0
REGISTER_SECONDS = 5.0
WELCOME_DELAY_SECONDS = 0.2
"""The plug-in is left alone with its `register` so long: what it must not send yet would show."""
HEARTBEAT_SECONDS = 1.0
SEED_HEARTBEAT_SECONDS = 10.0
GRACE_SECONDS = 5.0
END_SECONDS = 10.0
LOG_LINES = 20


@dataclass(frozen=True)
class Options:
    """What to test and how.

    Parameters: `command` as a shell would run it; `name` is what the plug-in is told to be called;
    `timeout` in seconds for each answer; `samples` are payloads that a capability is asked with;
    `settings` lie over the plug-in's config.json.
    """

    command: tuple[str, ...]
    name: str
    timeout: float = 10.0
    samples: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def place(command: tuple[str, ...]) -> tuple[Path, Path]:
    """The program of a command and the directory that it runs in. Raises `InvalidParams`."""
    if not command:
        raise InvalidParams("Give the command that starts the plug-in, for example ./start.sh.")
    given = Path(command[0]).expanduser()
    if given.exists() or os.sep in command[0]:
        if not given.exists():
            raise InvalidParams(f"{given} is not there; give the plug-in's start script.")
        if given.is_dir():
            raise InvalidParams(f"{given} is a directory; give its start script.")
        # Not resolved: a link is started as the link that it is.
        program = Path(os.path.abspath(given))
        return program, program.parent
    found = shutil.which(command[0])
    if found is None:
        raise InvalidParams(f"{command[0]} is no program that can be found; give a path.")
    return Path(found), Path.cwd()


class Life:
    """One process of the plug-in, from its start to its end."""

    def __init__(self, process: Process, token: str) -> None:
        self.process, self.token = process, token
        self.started = time.monotonic()
        self.wires: list[Wire] = []
        self.peers: list[Peer] = []
        self.owned: list[bool] = []
        self.exit: Exit | None = None
        self.left: list[int] = []

    @property
    def wire(self) -> Wire | None:
        """The newest connection."""
        return self.wires[-1] if self.wires else None

    @property
    def is_usable(self) -> bool:
        """Whether it is registered, welcomed where that is due, and connected."""
        wire = self.wire
        if wire is None or wire.register is None or wire.closed is not None:
            return False
        return wire.welcomed or wire.protocol < 1


class Stage:
    """The bus and the temporary workspace; an async context manager."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.program, self.folder = place(options.command)
        self.instance = secrets.token_hex(8)
        self.problems: list[Problem] = []
        self.refused: list[str] = []
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.life: Life | None = None
        self.config: OpenWatch | None = None
        self._changed = asyncio.Event()
        self._prepared = 0.0
        self._readers: set[asyncio.Task[None]] = set()
        self._server: Server

    async def __aenter__(self) -> Self:
        self._root = Path(tempfile.mkdtemp(prefix="bkg-conformance-"))
        try:
            self.workspace = Workspace(self._root)
            self.workspace.plugins.mkdir()
            self.workspace.prepare()
            file = self.workspace.plugin_folder(self.options.name) / "config.runtime.json"
            file.write_text(json.dumps(self.settings()))
            file.chmod(0o600)
            self.config = OpenWatch.on(file)
            self._server = await serve(self._accept, admit=self._admit)
        except BaseException:
            self._clean()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # In reverse, and each step whatever became of the one before.
        async with AsyncExitStack() as steps:
            steps.callback(self._clean)
            steps.push_async_callback(self._stop_reading)
            steps.push_async_callback(self._server.close)
            if self.life is not None and self.life.exit is None:
                await self.end(self.life)

    async def _stop_reading(self) -> None:
        for reader in tuple(self._readers):
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _clean(self) -> None:
        if self.config is not None:
            self.config.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def settings(self) -> dict[str, Any]:
        """The plug-in's config.json with the given settings over it. Raises `InvalidParams`."""
        file = self.folder / "config.json"
        below: Any = {}
        if file.is_file():
            try:
                below = json.loads(file.read_bytes())
            except (OSError, ValueError) as error:
                raise InvalidParams(f"{file} cannot be used: {error}.") from None
            if not isinstance(below, dict):
                raise InvalidParams(f"{file} is no JSON object; correct it.")
        return dict(merge(below, dict(self.options.settings)))

    # -- the bus --------------------------------------------------------------------------------
    def _admit(self, peer: Peer) -> http.HTTPStatus | None:
        if peer.path == "/attach":
            self.refused.append("it asked for /attach, which is for attached workbenches")
            return http.HTTPStatus.UNAUTHORIZED
        return None

    async def _accept(self, channel: Channel) -> None:
        life = self.life
        if life is None:
            await channel.close(1001, "no plug-in is being tested")
            return
        wire = Wire(channel, self.options.name, self.problems, time.monotonic)
        if channel.peer.token is not None:
            channel.limit = REGISTERED_LIMIT
        peer = channel.peer
        owned = life.process.owns_connection(peer.port or 0, peer.local_port or 0)
        life.owned.append(owned)
        life.peers.append(peer)
        life.wires.append(wire)
        self._changed.set()
        reader = asyncio.create_task(wire.listen(), name="conformance-wire")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            if await wire.until(lambda: wire.first is not None, REGISTER_SECONDS):
                await self._welcome(wire)
            self._changed.set()
            await reader
        except ChannelClosed:
            pass
        finally:
            self._changed.set()

    async def _welcome(self, wire: Wire) -> None:
        if wire.protocol < 1:
            return
        await wire.until(lambda: False, WELCOME_DELAY_SECONDS)
        wire.welcomed = True
        await wire.send(
            {
                "type": "welcome",
                "protocol": 1,
                "heartbeatSeconds": HEARTBEAT_SECONDS,
                "settings": self.settings(),
                "future": "a field that no plug-in knows",
            }
        )

    # -- processes ------------------------------------------------------------------------------
    async def start(self) -> Life:
        """Start the plug-in and wait until it has registered, has ended, or its time is over."""
        token = secrets.token_urlsafe(24)
        env = launch.environment(
            Definition(name=self.options.name),
            self.workspace,
            port=self._server.port,
            token=token,
            instance=self.instance,
            outer=os.environ,
        )
        spec = LaunchSpec(
            argv=(str(self.program), *self.options.command[1:]),
            cwd=self.folder,
            env=env,
            grace_seconds=GRACE_SECONDS,
        )
        self._prepared = 0.0
        life = self.life = Life(await Process.spawn(spec, self._lines), token)
        await self.until(lambda: life.is_usable or self._has_failed(life), self._start_seconds)
        return life

    def _has_failed(self, life: Life) -> bool:
        wire = life.wire
        return wire is not None and (wire.first_problem is not None or wire.closed is not None)

    def _start_seconds(self) -> float:
        """Until when it has to register, in seconds from its start."""
        life = self.life
        assert life is not None
        begun = life.started
        last = max(begun, self._prepared)
        return min(last + CONNECT_SECONDS, begun + PREPARE_SECONDS) - time.monotonic()

    async def until(
        self, condition: Callable[[], bool], seconds: float | Callable[[], float]
    ) -> bool:
        """Whether `condition` came true before the time was over or the process ended.

        `seconds` gives what is left, where it is no fixed number.
        """
        if not callable(seconds):
            end = time.monotonic() + seconds
            return await self.until(condition, lambda: end - time.monotonic())
        life = self.life
        assert life is not None
        ended = asyncio.ensure_future(life.process.wait())
        try:
            while not condition() and not ended.done():
                left = seconds()
                if left <= 0:
                    break
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                # A wire tells of its own changes by itself, so this looks again now and then.
                await asyncio.wait(
                    {changed, ended}, timeout=min(left, 0.1), return_when=asyncio.FIRST_COMPLETED
                )
                changed.cancel()
            if ended.done():
                life.exit = ended.result()
            return bool(condition())
        finally:
            ended.cancel()

    def _lines(self, stream: str, lines: list[str]) -> None:
        for line in lines:
            self.log.append(line)
            if line.startswith("preparing:"):
                self._prepared = time.monotonic()
        self._changed.set()

    async def end(self, life: Life) -> Exit:
        """Ask it to end as a Host does; whatever is left of it afterwards is killed and noted."""
        if life.exit is None:
            life.process.terminate()
            try:
                async with asyncio.timeout(GRACE_SECONDS + END_SECONDS):
                    life.exit = await life.process.wait()
            except TimeoutError:
                life.process.kill()
                life.exit = await life.process.wait()
        life.left = await asyncio.to_thread(sweep, self.instance)
        for wire in life.wires:
            with contextlib.suppress(ChannelClosed):
                await wire.channel.close(1001, "the plug-in has ended")
        return life.exit
