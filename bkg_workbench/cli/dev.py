"""`bkg dev`: restarts a plug-in when its files change, and shows its log meanwhile.

Owns the order: what changed is said, what cannot work is not started, then the Host restarts the
plug-in without losing a request. What counts as a change is `cli.watching`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import warnings
from contextlib import aclosing
from pathlib import Path
from typing import Any

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.logs import show
from bkg_workbench.cli.watching import changes, scan
from bkg_workbench.cli.words import duration
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostGone, WorkbenchError
from bkg_workbench.host.launch import entrypoint
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.supervisor.entrypoint import check_entrypoint

SHOWN = 5
"""How many changed files are named."""


def dev(arguments: argparse.Namespace, console: Console) -> int:
    """Watch until Ctrl-C, which leaves the plug-in as it is."""
    with attach(arguments.workspace) as bench:
        definition = bench.plugin(arguments.name).definition
        plugins = Path(bench.workspace) / "plugins"
        one = Dev(bench, definition, plugins, console)
        try:
            asyncio.run(one.run())
        except KeyboardInterrupt:
            one.say("ended", f"No longer watched; {definition.name} goes on.")
    return codes.OK


class Dev:
    """One plug-in under watch. Raises `HostGone` when the Host has gone."""

    def __init__(
        self, bench: Workbench, definition: Definition, plugins: Path, console: Console
    ) -> None:
        self._bench, self._name, self._console = bench, definition.name, console
        self._program, self._plugins = entrypoint(definition, plugins), plugins
        self._folder = plugins / self._program.relative_to(plugins).parts[0]
        self._broken: set[str] = set()

    async def run(self) -> None:
        """Watch and show until one of the two ends."""
        tasks = [
            asyncio.create_task(self._show(), name="dev-logs"),
            asyncio.create_task(self._watch(), name="dev-watch"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self) -> None:
        async for record in self._bench.afollow_logs(self._name):
            show(self._console, [record])

    async def _watch(self) -> None:
        if self._bench.state.plugins[self._name].wanted != "up":
            await self._up("start", "started")
        known = await asyncio.to_thread(scan, self._folder)
        self.say("watching", f"Watching {self._folder}; Ctrl-C ends that.")
        async with aclosing(changes(self._folder, since=known)) as found:
            async for changed in found:
                await self._changed(changed)

    async def _changed(self, changed: list[str]) -> None:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        self.say("changed", f"Changed: {', '.join(changed[:SHOWN])}{more}", files=changed)
        problems = {
            path: problem
            for path in sorted({*changed, *self._broken})
            if (problem := _problem(self._folder / path))
        }
        self._broken = set(problems)
        if problem := check_entrypoint(self._program, self._program.parent, self._plugins):
            problems[self._program.name] = problem
        if problems:
            for path, problem in problems.items():
                self.say("refused", f"Not restarted: {path}: {problem}", "yellow", file=path)
            return
        await self._up("restart", "runs with it")

    async def _up(self, verb: str, done: str) -> None:
        begun = time.monotonic()
        call = self._bench.astart if verb == "start" else self._bench.arestart
        try:
            plugin = await call(self._name)
        except HostGone:
            raise
        except WorkbenchError as error:
            self._console.error(error, codes.exit_code(error))
            return
        taken = duration(time.monotonic() - begun)
        self.say(f"{verb}ed", f"{self._name}: {done} ({plugin.state}, {taken})", "green")

    def say(self, event: str, text: str, style: str | None = None, **data: Any) -> None:
        """One line of the result: for people, or as a JSON object."""
        if self._console.is_json:
            self._console.data({"event": event, "plugin": self._name, "text": text, **data})
        else:
            self._console.line(f"-- {text}", style or "bold")


def _problem(file: Path) -> str | None:
    """Why a file cannot work, as far as that is seen without running it."""
    if file.suffix not in (".py", ".json"):
        return None
    try:
        content = file.read_bytes()
        if file.suffix == ".json":
            json.loads(content.removeprefix(b"\xef\xbb\xbf") or b"null")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(content, file.name, "exec", dont_inherit=True)
    except OSError:
        return None
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError) as error:
        return str(error)
    return None
