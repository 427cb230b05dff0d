"""A whole Host in memory, for the tests of plug-ins and of what calls them.

Owns plug-ins that run as tasks of the Host's loop instead of processes, over memory channels. All
else is the real thing: engine, router, schemas, settings, logs, state, lifecycle. The workspace is
a temporary folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bkg_workbench.bus.channel import Peer, memory_pair
from bkg_workbench.bus.clock import Clock
from bkg_workbench.client.portal import Portal
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.host.direct import Direct
from bkg_workbench.host.engine import Engine
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.sdk import Plugin
from bkg_workbench.supervisor.actor import OnLines
from bkg_workbench.supervisor.process import Exit, LaunchSpec, Sample


class MemoryHost(Workbench):
    """A `Workbench` whose plug-ins run in this process.

        with MemoryHost(plugin) as bench:
            assert bench.call("hello.greet", {"name": "Ada"}) == {"text": "Hello, Ada!"}

    `calls` says what each plug-in may request of the others: {plug-in: [capability]}; `settings`
    are the operator's: {plug-in: {...}}. All plug-ins are running when it is made. Raises
    `StartFailed` where one does not come up. `clock` is given to the engine.
    """

    def __init__(
        self,
        *plugins: Plugin,
        calls: Mapping[str, Sequence[str]] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="bkg-memory-"))
        self._plugins = {plugin.name: plugin for plugin in plugins}
        try:
            self._lay_out(calls or {}, settings or {})
            portal = Portal("bkg-memory")
            try:
                self._engine = portal.run(self._begin(clock))
                super().__init__(portal, Direct(self._engine), str(self._place))
                for name in self._plugins:
                    self.start(name)
            except BaseException:
                portal.close()
                raise
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise

    def _lay_out(
        self, calls: Mapping[str, Sequence[str]], settings: Mapping[str, Mapping[str, Any]]
    ) -> None:
        definitions = []
        for name, plugin in self._plugins.items():
            folder = self._place / "plugins" / name
            folder.mkdir(parents=True)
            # Never run: the engine looks whether there is something to run.
            (folder / "start.sh").write_text("#!/bin/sh\n")
            (folder / "start.sh").chmod(0o755)
            definitions.append(
                {
                    "name": name,
                    "capabilities": sorted(plugin.handlers),
                    "calls": list(calls.get(name, ())),
                    "settings": dict(settings.get(name, {})),
                    "restart": "never",
                }
            )
        (self._place / "plugins" / "plugins.json").write_text(json.dumps(definitions))

    async def _begin(self, clock: Clock | None) -> Engine:
        workspace = Workspace(self._place)
        workspace.prepare()
        engine = Engine(workspace, clock, spawn=self._spawn)
        try:
            await engine.start(listen=False)
        except BaseException:
            await engine.aclose()
            raise
        return engine

    async def _spawn(self, spec: LaunchSpec, on_lines: OnLines) -> _Task:
        return _Task(self._engine, self._plugins[spec.env["BKG_PLUGIN_NAME"]], spec)

    def close(self) -> None:
        """Stop every plug-in and remove the temporary workspace."""
        super().close()
        shutil.rmtree(self._place, ignore_errors=True)


class _Task:
    """A plug-in as a task, where the supervisor expects a process."""

    def __init__(self, engine: Engine, plugin: Plugin, spec: LaunchSpec) -> None:
        self.pid: int | None = None
        self._plugin = plugin
        if plugin.log.level == logging.NOTSET:
            plugin.log.setLevel(logging.INFO)
        token = spec.env["BKG_PLUGIN_BUS_TOKEN"]
        host_end, own_end = memory_pair(Peer(path="/bus", token=token))
        settings = json.loads(Path(spec.env["BKG_PLUGIN_CONFIG_PATH"]).read_text())
        self._accepting = asyncio.create_task(engine.hub.accept(host_end))
        self._serving = asyncio.create_task(plugin.serve(own_end, settings))

    async def wait(self) -> Exit:
        await asyncio.gather(self._serving, self._accepting, return_exceptions=True)
        if self._serving.cancelled():
            return Exit(None, 9)
        return Exit(1 if self._serving.exception() else 0)

    def terminate(self) -> None:
        self._plugin.stop()

    def kill(self) -> None:
        self._serving.cancel()

    def release(self) -> None:
        self._serving.cancel()

    def sample(self) -> Sample:
        return Sample(0.0, 0, 0)

    def mem_bytes(self) -> int:
        return 0

    def holds_socket(self, socket: str) -> bool:
        return False
