"""`bkg logs`: search log records, and follow them without a gap.

Following asks for records by number (`after`), plug-in by plug-in, whenever the subscription says
that there are new ones: so the Host's filters count, nothing is shown twice, and a batch that did
not come is no loss. One plug-in's numbers only rise; across plug-ins they may not.
"""

from __future__ import annotations

import argparse
import queue
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bkg_workbench.cli import tables
from bkg_workbench.cli.console import Console, encoded
from bkg_workbench.cli.words import LEVEL_STYLES, moment
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostGone, PluginNotFound

PIECE = 2_000
"""Records asked for at once."""
NOT_PLUGINS = ("host", "web")
"""Names of logs that no plug-in writes."""


def logs(arguments: argparse.Namespace, console: Console) -> int:
    """Print the newest records that match; with `--follow` go on until Ctrl-C."""
    filters = {
        "level": arguments.level,
        "text": arguments.text,
        "regex": arguments.regex,
    }
    with attach(arguments.workspace) as bench:
        _check_name(bench, arguments.name)
        if arguments.follow:
            Tail(bench, arguments.name, filters, console).run(arguments.lines)
        elif arguments.lines:
            show(console, bench.logs(arguments.name, limit=arguments.lines, **filters))
    return 0


def _check_name(bench: Workbench, name: str | None) -> None:
    """Raises `PluginNotFound`; a plug-in that was removed still has its records."""
    known = bench.state.plugins
    if name and name not in known and name not in NOT_PLUGINS and not bench.logs(name, limit=1):
        raise PluginNotFound(plugin=name, known=[*known, *NOT_PLUGINS])


def show(console: Console, records: Iterable[dict[str, Any]]) -> None:
    """Records as lines: time, level, plug-in, message; with `--json` as JSON lines."""
    if console.is_json:
        console.write(*(encoded(record, compact=True) for record in records))
        return
    today = datetime.now()
    console.write(*(_line(record, today, console.colours) for record in records))


def _line(record: dict[str, Any], today: datetime, colours: bool) -> str:
    level = str(record.get("level", ""))
    style = LEVEL_STYLES.get(level)
    time = tables.paint(moment(record.get("at"), today=today), "dim", colours)
    name = tables.paint(f"{record.get('plugin', '')!s:<12}", "cyan", colours)
    message = tables.paint(tables.clean(str(record.get("message", ""))), style, colours)
    return f"{time}  {tables.paint(f'{level:<5}', style, colours)}  {name}  {message}"


class Tail:
    """Follows the records of one plug-in (`name`) or of all."""

    def __init__(
        self, bench: Workbench, name: str | None, filters: dict[str, Any], console: Console
    ) -> None:
        self._bench, self._name, self._filters, self._console = bench, name, filters, console
        self._wakes = _Wakes()
        self._floors: dict[str, int] = {}
        self._floor = 0

    def run(self, lines: int) -> None:
        """Show the newest `lines`, then what comes. Raises `HostGone` when the Host has gone."""
        topics = [f"logs.{self._name}" if self._name else "logs"]
        end_changes = self._bench.on_change(self._on_change)
        end = self._bench.follow(topics, self._on_batch)
        try:
            self._begin(lines)
            while True:
                match self._wakes.wait():
                    case _Wakes.LOST:
                        raise HostGone(path=self._bench.workspace)
                    case _Wakes.RESET:
                        end()
                        end = self._bench.follow(topics, self._on_batch)
                        for name in self._names():
                            self._catch_up(name)
                    case name:
                        self._catch_up(name)
        finally:
            end_changes()
            end()

    def _on_change(self, _: object) -> None:
        if not self._bench.connected:
            self._wakes.add(_Wakes.LOST)

    def _on_batch(self, topic: str, data: Any) -> None:
        name = data.get("plugin") if isinstance(data, dict) else None
        if topic == "reset":
            self._wakes.add(_Wakes.RESET)
        elif isinstance(name, str):
            self._wakes.add(name)

    def _names(self) -> list[str]:
        if self._name:
            return [self._name]
        return sorted({*self._bench.state.plugins, *self._floors, *NOT_PLUGINS})

    def _begin(self, lines: int) -> None:
        # Subscribed already: whatever is said from here on wakes the loop.
        records = self._bench.logs(self._name, limit=max(1, lines), **self._filters)
        if lines:
            show(self._console, records)
            for record in records:
                self._floors[record["plugin"]] = record["seq"]
        if records and len(records) >= max(1, lines):
            # Older ones were left out; of plug-ins that are not among the newest, too.
            self._floor = records[0]["seq"] - (1 if lines else 0)

    def _catch_up(self, name: str) -> None:
        while True:
            floor = self._floors.get(name, self._floor)
            records = self._bench.logs(name, after=floor, limit=PIECE, **self._filters)
            if not records:
                return
            show(self._console, records)
            self._floors[name] = records[-1]["seq"]
            if len(records) < PIECE:
                return


class _Wakes:
    """Names of logs that have something new, each once however often it was said."""

    LOST, RESET = "\0lost", "\0reset"

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._waiting: set[str] = set()
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        """From any thread."""
        with self._lock:
            if name not in self._waiting:
                self._waiting.add(name)
                self._queue.put(name)

    def wait(self) -> str:
        """The next name; what is said of it from now on wakes again."""
        name = self._queue.get()
        with self._lock:
            self._waiting.discard(name)
        return name
