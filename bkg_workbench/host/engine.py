"""The Host's inside: supervisor, bus, store and state, wired together in one event loop.

Owns the order of starting and stopping, and the one place where what happens (a plug-in moved,
registered, was configured) becomes an event that everybody sees. The `host.*` capabilities are in
`host.services`; policy is in the parts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from bkg_workbench._version import __version__
from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.bus.hub import Hub
from bkg_workbench.bus.identity import Tokens
from bkg_workbench.bus.router import Router
from bkg_workbench.bus.websocket import Server
from bkg_workbench.client.attach import ConnectionFile
from bkg_workbench.errors import WorkbenchError
from bkg_workbench.host import (
    backup,
    checks,
    firststart,
    launch,
    ports,
    settings,
    tracing,
    troubles,
)
from bkg_workbench.host.canary import Canaries
from bkg_workbench.host.configurator import Configurator
from bkg_workbench.host.ear import Ear
from bkg_workbench.host.firststart import FirstStart
from bkg_workbench.host.gateway import ApiPort
from bkg_workbench.host.meter import Meter
from bkg_workbench.host.services import Services
from bkg_workbench.host.subscriptions import Subscriptions
from bkg_workbench.host.web import Web
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import (
    AnyStateEvent,
    Cleared,
    Defined,
    Moved,
    Notice,
    Noticed,
    Port,
    Ported,
    Prepared,
    Removed,
    WorkbenchState,
    fold,
)
from bkg_workbench.store.configs import MIGRATIONS, Configs, Loaded
from bkg_workbench.store.database import Database
from bkg_workbench.store.logs import Batch, Logs
from bkg_workbench.store.samples import Samples
from bkg_workbench.supervisor.actor import OnLines, Running
from bkg_workbench.supervisor.proc import sweep
from bkg_workbench.supervisor.process import LaunchSpec, Process
from bkg_workbench.supervisor.supervisor import Supervisor

_log = logging.getLogger(__name__)

RESCAN_SECONDS = 2.0
MOVE_LEVELS = {"degraded": "warn", "backoff": "warn", "failed": "error"}


class Engine:
    """One Host's engine. All methods belong to the portal's loop."""

    def __init__(
        self,
        workspace: Workspace,
        clock: Clock | None = None,
        *,
        spawn: Callable[[LaunchSpec, OnLines], Awaitable[Running]] = Process.spawn,
    ) -> None:
        self.workspace = workspace
        self.clock: Clock = clock or SystemClock()
        self.instance = secrets.token_hex(8)
        self.stopping = asyncio.Event()
        self.state = WorkbenchState(
            instance=self.instance,
            version=__version__,
            workspace=str(workspace.root),
            started_at=self.clock.now_ms(),
        )
        self.subscriptions = Subscriptions()
        self.first_start = FirstStart(workspace)
        self.database = Database(workspace.database, MIGRATIONS)
        self.configs = Configs(self.database, workspace.plugins, workspace.hidden, self.clock)
        self.configurator = Configurator(self)
        self.canaries = Canaries(self)
        kept = settings.read(workspace.root)
        self.pages = kept.pages
        self.web = Web(self)
        self.logs = Logs(workspace.logs, self.clock, files=kept.log_file)
        self.samples = Samples(workspace.hidden / "samples.db", self.clock, kept=kept.kept())
        self.supervisor = Supervisor(
            prepare=self._prepare,
            on_moved=self._moved,
            on_prepared=lambda name, line: self.emit(Prepared(plugin=name, line=line)),
            on_lines=self._lines,
            drain=self._drain,
            clock=self.clock,
            spawn=spawn,
        )
        self.tokens = Tokens(self.supervisor.owner_of_connection)
        self.meter = Meter(self, self.clock)
        self.tracer: tracing.Tracer | None = None
        self.ear = Ear(self)
        self.router = Router(self.clock, self.ear, checks.check)
        self.hub = Hub(
            clock=self.clock,
            listener=self.ear,
            tokens=self.tokens,
            router=self.router,
            instance=self.instance,
        )
        self.router.local = Services(self).handlers()
        self._server: Server | None = None
        self.api = ApiPort(self)
        self.port = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.spawn_tokens: dict[str, str] = {}
        self._closed = False
        self._ending: asyncio.Task[None] | None = None
        self._loaded: Loaded | None = None
        self._leaving: set[str] = set()
        self._loop = asyncio.get_running_loop()

    # -- start and stop -------------------------------------------------------------------------
    async def start(self, *, autostart: bool = True, listen: bool = True) -> None:
        """Bring everything up (without `listen` no port). Raises `WorkspaceError`, `StoreError`."""
        await asyncio.to_thread(backup.finish, self.workspace)
        tags = self.workspace.past_instances()
        self.workspace.remember_instances([*tags, self.instance])
        await asyncio.to_thread(_sweep, tags)
        self.workspace.remember_instances([self.instance])
        self.logs.open()
        self.samples.open()
        self.logs.listen(self._log_batch)
        self._apply(await self.configs.load())
        self.hub.start()
        if listen:
            await self._listen()
        self.spawn(self._rescan(), "host-rescan")
        self.spawn(self.ear.sample(), "host-sampler")
        self.spawn(self.meter.watch_lag(), "host-lag")
        try:
            self.tracer = tracing.tracer(self.instance)
        except WorkbenchError as error:
            self.notice("tracing", str(error))
        self.canaries.resume()
        held = firststart.hold(self, os.environ)
        if autostart:
            self.supervisor.autostart(but=held)

    async def _listen(self) -> None:
        """Open the bus, and say how to reach it."""
        self._server, self.port = await ports.listen_bus(self.hub)
        self.api.open()
        url, owner = f"ws://127.0.0.1:{self.port}/bus", f"pid {os.getpid()}"
        bus = Port(name="bus", port=self.port, url=url, owner=owner)
        self.emit(Ported(ports=(bus, self.api.row)))
        self.token = self.tokens.issue_client("client")
        self.write_connection_file()

    @property
    def file_descriptors(self) -> list[int]:
        """Of the listening sockets, to be closed in forked children."""
        bus = self._server.file_descriptors if self._server else []
        return [*bus, *self.api.file_descriptors]

    async def wait_until_stopping(self) -> None:
        """Return when somebody asked the Host to stop."""
        await self.stopping.wait()

    def write_connection_file(self) -> None:
        """Say in `.bkg/host.json` how to reach this Host."""
        urls = {port.name: port.url for port in self.state.ports}
        self.workspace.write_connection_file(
            ConnectionFile(
                bus=f"ws://127.0.0.1:{self.port}",
                gateway=urls.get("gateway"),
                web=urls.get("web"),
                pid=os.getpid(),
                started_at=self.state.started_at,
                instance=self.instance,
                token=self.token,
                version=__version__,
            )
        )

    def add_port(self, port: Port) -> None:
        """Add a row to the port table, or replace the one of its name."""
        others = tuple(p for p in self.state.ports if p.name != port.name)
        self.emit(Ported(ports=(*others, port)))
        self.write_connection_file()

    async def aclose(self) -> None:
        """Bring everything down; every caller returns when that is done."""
        if self._ending is None:
            self._closed = True
            self.stopping.set()
            self._ending = asyncio.create_task(self._end(), name="host-end")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        # Each step is gone through even where the one before it was interrupted.
        try:
            self.workspace.remove_connection_file(self.instance)
            await self.api.aclose()
            await self.canaries.close()
            await self.supervisor.aclose()
        finally:
            try:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self.configurator.close()
                await self.hub.close()
            finally:
                try:
                    if self._server is not None:
                        await self._server.close()
                finally:
                    await asyncio.to_thread(self._close_stores)
        # Only now is nothing left that the next Host would have to sweep.
        self.workspace.remember_instances([])

    def _close_stores(self) -> None:
        for part in (self.logs, self.samples, self.database):
            part.close()
        if self.tracer is not None:
            self.tracer.close()

    def abandon(self) -> None:
        """Let go of every plug-in at once (their keepers end them); for a dying kernel."""
        self.workspace.remove_connection_file(self.instance)
        self.supervisor.abandon()

    def spawn(self, coroutine: Any, name: str) -> asyncio.Task[Any]:
        """Run a coroutine until its end or the Host's."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", task.get_name(), exc_info=error)

    # -- what everybody sees --------------------------------------------------------------------
    def emit(self, event: AnyStateEvent) -> None:
        """Fold an event into the state and tell the followers."""
        self.state = fold(self.state, event)
        self.subscriptions.publish("state", event)

    def notice(self, key: str, text: str, level: Any = "warn") -> None:
        """Put up a banner; one of the same key is replaced."""
        self.logs.append("host", "host", level, text)
        self.emit(Noticed(notice=Notice(key=key, text=text, at=self.clock.now_ms(), level=level)))

    def clear(self, key: str) -> None:
        """Take a banner down."""
        if any(n.key == key for n in self.state.notices):
            self.emit(Cleared(key=key))

    def _apply(self, loaded: Loaded) -> None:
        """Make definitions that were loaded, or have changed, known to every part."""
        self._loaded = loaded
        for definition in loaded.definitions:
            known = self.state.plugins.get(definition.name)
            version = loaded.versions.get(definition.name, 0)
            if known and known.definition == definition and known.config_version == version:
                continue
            self._define(definition, version)
        present = {d.name for d in loaded.definitions}
        for name in set(self.state.plugins) - present - self._leaving:
            self._leaving.add(name)
            self.spawn(self._forget(name), f"host-forget-{name}")
        for text in loaded.notices:
            self.notice(f"config:{text[:60]}", text)

    async def refresh(self) -> None:
        """Make every part know the definitions that the store has by now."""
        self._apply(await self.configs.present())

    def _define(self, definition: Definition, version: int) -> None:
        name = definition.name
        self.router.define(name, definition.capabilities, definition.calls)
        self.supervisor.define(definition)
        self.emit(Defined(plugin=name, definition=definition, config_version=version))
        self.spawn(self.configurator.judge(name), f"host-judge-{name}")

    async def _forget(self, name: str) -> None:
        try:
            await self.supervisor.remove(name)
        finally:
            self._leaving.discard(name)
        self.router.remove(name)
        self.emit(Removed(plugin=name))
        # While it was being stopped its definition may have come back.
        loaded = self._loaded
        assert loaded is not None
        for definition in loaded.definitions:
            if definition.name == name:
                self._define(definition, loaded.versions.get(name, 0))

    async def _rescan(self) -> None:
        while True:
            await self.clock.sleep(RESCAN_SECONDS)
            troubles.tell(self)
            try:
                loaded = await self.configs.rescan()
            except (WorkbenchError, OSError) as error:
                if not any(n.key == "rescan" and n.text == str(error) for n in self.state.notices):
                    self.notice("rescan", str(error), "error")
                continue
            self.clear("rescan")
            if loaded is not None:
                self._apply(loaded)

    # -- the supervisor asks and tells ----------------------------------------------------------
    async def _prepare(self, definition: Definition, generation: int) -> LaunchSpec:
        """The supervisor asks for the next process of a plug-in."""
        name = definition.name
        await self.configurator.write_runtime(name)
        token = self.tokens.issue(name, generation)
        self.spawn_tokens[name] = token
        env = launch.environment(
            definition,
            self.workspace,
            port=self.port,
            token=token,
            instance=self.instance,
            outer=os.environ,
            first_start=self.first_start,
        )
        return launch.spec(definition, self.workspace.plugins, env)

    def _moved(self, name: str, event: Moved) -> None:
        up = event.chapter.state in ("starting", "stopping", "running", "degraded")
        self.router.expect(name, event.wanted == "up" and up)
        self.router.hold(name, event.chapter.state == "stopping")
        self.emit(event)
        chapter = event.chapter
        why = f": {chapter.why}" if chapter.why else ""
        level = MOVE_LEVELS.get(chapter.state, "info")
        self.logs.append(name, "host", level, f"{chapter.event}, now {chapter.state}{why}")
        self.canaries.moved(name, event)
        firststart.moved(self, name, chapter.state)
        self.samples.add_event(
            name, event.chapter.event, event.chapter.state, event.chapter.why, event.chapter.at
        )

    def _lines(self, name: str, stream: str, lines: list[str]) -> None:
        for line in lines:
            is_info = stream == "stdout" or line.startswith("preparing:")
            self.logs.append(name, stream, "info" if is_info else "warn", line)

    async def _drain(self, name: str, seconds: float) -> None:
        await self.router.drain(name, seconds)

    # -- logs -----------------------------------------------------------------------------------
    def _log_batch(self, batch: Batch) -> None:
        # Called on the log writer's thread.
        if not self._closed:
            self._loop.call_soon_threadsafe(self._publish_logs, batch)

    def _publish_logs(self, batch: Batch) -> None:
        topic = f"logs.{batch.plugin}"
        if self.subscriptions.wanted(topic, "logs"):
            self.subscriptions.publish(topic, batch.to_wire(), also="logs")


def _sweep(tags: list[str]) -> None:
    for tag in tags:
        sweep(tag)
