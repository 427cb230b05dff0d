"""`bkg logs`: search log records, follow them, and write them to a file.

Owns how records look. How they are followed without a gap is `client.tail`'s, what stands in a file
`cli.export`'s.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from bkg_workbench.cli import tables
from bkg_workbench.cli.console import Console, encoded
from bkg_workbench.cli.export import export
from bkg_workbench.cli.times import instant
from bkg_workbench.cli.words import LEVEL_STYLES, count, moment
from bkg_workbench.client import tail
from bkg_workbench.client.attach import attach
from bkg_workbench.client.tail import NOT_PLUGINS
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import InvalidParams, PluginNotFound

LINES = 100
"""How many records are shown where nobody said how many."""


def logs(arguments: argparse.Namespace, console: Console) -> int:
    """Print the newest records that match, and go on with `--follow`; or write all to a file."""
    now_ms = int(time.time() * 1000)
    filters = {
        "level": arguments.level,
        "text": arguments.text,
        "regex": arguments.regex,
        "since": instant(arguments.since, now_ms) if arguments.since else None,
        "until": instant(arguments.until, now_ms) if arguments.until else None,
    }
    if arguments.follow and (arguments.until or arguments.export):
        raise InvalidParams("--follow goes on; it does not go with --until or --export.")
    lines = LINES if arguments.lines is None else arguments.lines
    with attach(arguments.workspace) as bench:
        _check_name(bench, arguments.name)
        if arguments.export:
            file = Path(arguments.export)
            done = export(bench, file, arguments.name, filters, newest=arguments.lines)
            if console.is_json:
                console.data(done)
            else:
                console.line(f"{count(done['records'], 'record')} written to {done['file']}.")
        elif arguments.follow:
            _follow(bench, arguments.name, lines, filters, console)
        elif lines:
            show(console, bench.logs(arguments.name, limit=lines, **filters))
    return 0


def _follow(
    bench: Workbench,
    name: str | None,
    lines: int,
    filters: dict[str, Any],
    console: Console,
) -> None:
    followed = tail.batches(bench, name, lines=lines, filters=filters)
    with contextlib.closing(followed) as found:
        for records in found:
            show(console, records)


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
