"""What plug-ins do while a command waits for them.

Owns watching the live state and showing it on stderr: on a terminal one line that is replaced,
elsewhere one line for each change.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.words import duration
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.protocol.state import PluginState, WorkbenchState

TICK_SECONDS = 1.0


class Progress:
    """An async context manager around the waiting."""

    def __init__(self, bench: Workbench, names: list[str], console: Console) -> None:
        self._bench, self._names, self._console = bench, names, console
        self._began = time.monotonic()
        self._shown: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._shown = dict(self._words(self._bench.state))

        def on_change(_: WorkbenchState) -> None:
            # The workbench's own thread; the command may be over by now.
            try:
                loop.call_soon_threadsafe(self._changed.set)
            except RuntimeError:
                pass

        self._end = self._bench.on_change(on_change)
        self._task = asyncio.create_task(self._watch(), name="progress")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self._show(self._bench.state)
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    def _words(self, state: WorkbenchState) -> dict[str, str]:
        plugins = state.plugins
        return {name: _doing(plugins[name]) for name in self._names if name in plugins}

    def _show(self, state: WorkbenchState) -> None:
        words = self._words(state)
        if self._console.is_live:
            taken = duration(time.monotonic() - self._began)
            self._console.live(f"{'; '.join(f'{n}: {w}' for n, w in words.items())} ({taken})")
        else:
            for name, word in words.items():
                if self._shown.get(name) != word:
                    self._console.note(f"{name}: {word}")
        self._shown = words


def _doing(plugin: PluginState) -> str:
    if plugin.state == "starting" and plugin.preparing:
        line = plugin.preparing.strip()
        return line if line.startswith("preparing") else f"preparing: {line}"
    if plugin.state in ("backoff", "failed") and plugin.reason:
        return f"{plugin.state} ({plugin.reason})"
    return plugin.state
