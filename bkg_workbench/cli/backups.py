"""`bkg backup` and `bkg restore`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.words import count, moment, size
from bkg_workbench.client.attach import find_workspace


def backup(arguments: argparse.Namespace, console: Console) -> int:
    """Make a backup, whether a Host runs or not, and say where it is."""
    from bkg_workbench.host import backup as backups

    root = find_workspace(arguments.workspace)
    target = Path(arguments.file) if arguments.file else None
    file, manifest = backups.backup(root, target)
    octets = file.stat().st_size
    if console.is_json:
        console.data({"file": str(file), "size": octets, **backups.facts(manifest)})
        return 0
    console.line(f"{file} ({size(octets)}): {count(len(manifest.members), 'file')}.")
    console.line("It holds secrets in clear; only you can read it (0600). Keep it so.")
    for left in manifest.left_out:
        console.line(f"  left out: {left}", "yellow")
    return 0


def restore(arguments: argparse.Namespace, console: Console) -> int:
    """Put a backup's state in place of the present one, and say where that is kept."""
    from bkg_workbench.host import backup as backups

    root = find_workspace(arguments.workspace)
    manifest, aside = backups.restore(root, Path(arguments.file))
    if console.is_json:
        kept = str(aside) if aside else None
        console.data({"workspace": str(root), "before": kept, **backups.facts(manifest)})
        return 0
    console.line(
        f"{root} is as it was on {moment(manifest.at)} (bkg-workbench {manifest.version}): "
        f"{count(len(manifest.members), 'file')}."
    )
    if aside is not None:
        console.line(f"The state before is kept in {aside}; remove it when all is well.")
    return 0
