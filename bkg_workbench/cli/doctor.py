"""`bkg doctor`: what is missing or broken here, and how to mend it.

Owns the run of the checks and their report. The checks themselves are `machine` (this computer and
this installation) and `checkup` (the workspace).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bkg_workbench.cli import checkup, codes, machine
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.findings import Check, Finding, Level
from bkg_workbench.cli.tables import Cell
from bkg_workbench.client.attach import find_workspace
from bkg_workbench.errors import WorkspaceError

STYLES: dict[Level, str | None] = {"ok": "green", "info": None, "warn": "yellow", "FAIL": "red"}


def doctor(arguments: argparse.Namespace, console: Console) -> int:
    """Run every check; 1 where something is broken."""
    root, missing = _workspace(arguments.workspace)
    findings: list[Finding] = []
    for check in machine.CHECKS:
        console.live(f"looking at {check.about} …")
        findings += _show(console, examine(check, root))
    findings += _show(console, [missing])
    if root is not None:
        for check in checkup.CHECKS:
            console.live(f"looking at {check.about} …")
            findings += _show(console, examine(check, root))
    failed = sum(f.level == "FAIL" for f in findings)
    warned = sum(f.level == "warn" for f in findings)
    if console.is_json:
        console.data({"ok": not failed, "findings": findings})
    else:
        console.line()
        verdict = "Everything is in order" if not (failed or warned) else "The rest is in order"
        counted = [f"{failed} broken"] * bool(failed) + [f"{warned} to look at"] * bool(warned)
        console.line(f"{', '.join(counted)}. {verdict}." if counted else f"{verdict}.")
    return codes.FAILED if failed else codes.OK


def examine(check: Check, root: Path | None) -> list[Finding]:
    """What a check finds; one that fails itself is a finding too."""
    try:
        return list(check.run(root))
    except Exception as error:
        # One check that cannot look must not hide what the others see.
        what = f"{type(error).__name__}: {error}"
        return [Finding("warn", check.about, f"cannot be looked at ({what})")]


def _workspace(given: str | None) -> tuple[Path | None, Finding]:
    try:
        root = find_workspace(given)
    except WorkspaceError as error:
        level: Level = "FAIL" if given is not None else "warn"
        return None, Finding(level, "workspace", "none found", str(error))
    return root, Finding("ok", "workspace", str(root))


def _show(console: Console, findings: list[Finding]) -> list[Finding]:
    if not console.is_json:
        for one in findings:
            level = Cell(f"{one.level:<4}", STYLES[one.level])
            console.cells([level, Cell(f"{one.name:<14}", "bold"), one.text])
            if one.mend:
                console.cells([" " * 4, " " * 14, Cell(f"→ {one.mend}", STYLES[one.level])])
    return findings
