"""`bkg init` and `bkg ports`."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.words import count
from bkg_workbench.client.attach import attach


def init(arguments: argparse.Namespace, console: Console) -> int:
    """Lay a workspace out and say what was done."""
    from bkg_workbench.host import workspace

    done = workspace.init(Path(arguments.dir))
    if console.is_json:
        console.data(
            {
                "workspace": str(done.root),
                "written": done.written,
                "updated": done.updated,
                "kept": done.kept,
            }
        )
        return 0
    said = [f"{count(len(done.written), 'file')} written"]
    if done.updated:
        said.append(f"{len(done.updated)} brought up to date")
    console.line(f"Workspace {done.root}: {', '.join(said)}.")
    for file in done.kept:
        console.line(f"  kept as you changed it: {file}", "yellow")
    console.line("Next:")
    if done.root != Path.cwd():
        place = min(os.path.relpath(done.root), str(done.root), key=len)
        console.line(f"  cd {shlex.quote(place)}")
    console.line("  bkg doctor")
    console.line("  bkg host --web")
    return 0


def ports(arguments: argparse.Namespace, console: Console) -> int:
    """Print the port table."""
    with attach(arguments.workspace) as bench:
        table = bench.ports()
    if console.is_json:
        console.data({"ports": table})
    else:
        show_ports(console, table)
    return 0


def show_ports(console: Console, table: list[dict[str, Any]]) -> None:
    """The port table; URLs are never cut, since they are there to be copied."""
    rows = [
        [str(row["name"]), str(row["port"]), str(row["url"]), str(row.get("owner", ""))]
        for row in table
    ]
    console.table(["NAME", "PORT", "URL", "OWNER"], rows, whole={"URL", "PORT"}, right={"PORT"})
