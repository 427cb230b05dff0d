"""`bkg audit list` and `bkg audit verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.words import count, moment
from bkg_workbench.client.attach import attach, find_workspace

DATABASE = Path(".bkg", "plugins", "apikeys", "data", "apikeys.db")


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """Show the newest rows."""
    limit = max(1, min(1000, arguments.lines))
    with attach(arguments.workspace) as bench:
        records = bench.call("auth.audit.list", {"limit": limit})["records"]
    if console.is_json:
        console.data(records)
        return codes.OK
    headers = ["SEQ", "TIME", "WHO", "WHAT", "WHOM", "OUTCOME", "DETAIL"]
    console.table(
        headers, [_row(one) for one in records], whole=set(headers) - {"DETAIL"}, right={"SEQ"}
    )
    return codes.OK


def _row(one: dict[str, Any]) -> list[str | Cell]:
    detail = " ".join(
        f"{name}={' '.join(value) if isinstance(value, list) else value}"
        for name, value in one["detail"].items()
    )
    return [
        str(one["seq"]),
        moment(one["at"]),
        one["actor"],
        one["action"].removeprefix("auth."),
        one["target"],
        one["outcome"] if one["outcome"] == "ok" else Cell(one["outcome"], "yellow"),
        detail,
    ]


def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Check the chain, on the file itself."""
    from bkg_workbench.store import trail

    file = Path(arguments.file) if arguments.file else _database(arguments)
    found = trail.verify(file, arguments.expect)
    if console.is_json:
        console.data(
            {
                "isWhole": found.is_whole,
                "records": found.records,
                "head": found.head,
                "brokenAt": found.broken_at,
                "why": found.why,
            }
        )
    elif found.is_whole:
        console.line(f"The trail is whole: {count(found.records, 'record')}.", "green")
        console.line(f"head {found.records}:{found.head}")
    else:
        console.trouble(f"the trail is broken: {found.why}")
    return codes.OK if found.is_whole else codes.FAILED


def _database(arguments: argparse.Namespace) -> Path:
    return find_workspace(arguments.workspace) / DATABASE
