"""`bkg conformance`: a plug-in against docs/protocol.md, as a table, JSON or JUnit.

Owns what is shown; the checks are `testing.conformance`'s.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.payload import read_json
from bkg_workbench.cli.tables import Cell, clean
from bkg_workbench.cli.words import duration
from bkg_workbench.errors import InvalidParams, WorkspaceError
from bkg_workbench.testing.conformance import CHECKS, Report, Result, check_conformance
from bkg_workbench.testing.conformance.report import Verdict

VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "skip")
STYLES: dict[Verdict, str] = {"pass": "green", "fail": "red", "skip": "dim"}


def conformance(arguments: argparse.Namespace, console: Console) -> int:
    """Run the checks; 0 where every required one passes."""
    samples = {name: read_json(payload) for name, payload in arguments.samples or ()}
    settings = read_json(arguments.settings)
    if not isinstance(settings, dict):
        raise InvalidParams("The settings must be a JSON object.")
    junit = Path(arguments.junit).expanduser() if arguments.junit else None
    if junit is not None and not junit.absolute().parent.is_dir():
        raise WorkspaceError(f"{junit.parent} is no directory; give another file for --junit.")
    done: list[Result] = []

    def tell(result: Result) -> None:
        done.append(result)
        console.live(f"{len(done)} of {len(CHECKS)}: {result.title}")

    report = check_conformance(
        arguments.program,
        name=arguments.name,
        timeout=arguments.timeout,
        samples=samples,
        settings=settings,
        only=arguments.only or None,
        on_result=tell,
    )
    if junit is not None:
        try:
            junit.write_bytes(report.as_junit())
        except OSError as error:
            raise WorkspaceError(f"{junit} cannot be written: {error.strerror}.") from None
    if console.is_json:
        console.data(report.as_json())
    else:
        show(report, console)
    return codes.OK if report.passed else codes.FAILED


def show(report: Report, console: Console) -> None:
    """The table, and below it each failure with its reason."""
    rows = [
        [
            Cell(result.verdict, _style(result)),
            result.id,
            result.requirement,
            duration(result.seconds),
            result.title,
            "" if result.verdict == "fail" else result.reason,
        ]
        for result in report.results
    ]
    headers = ["", "CHECK", "", "TIME", "WHAT", "SEEN"]
    console.table(headers, rows, whole={"CHECK", "", "TIME"}, right={"TIME"})
    for result in report.results:
        if result.verdict == "fail":
            console.line()
            console.line(f"{result.requirement} {result.id}: {result.title}", _style(result))
            for part in result.reason.split("; "):
                console.line(f"  {part}")
    if not report.passed and report.log:
        console.line()
        console.line("its last lines:")
        console.write(*(f"  | {clean(line)}" for line in report.log))
    console.line()
    passed, failed, skipped = (report.count(verdict) for verdict in VERDICTS)
    counts = f"{passed} passed, {failed} failed, {skipped} do not apply"
    verdict = "keeps to the protocol" if report.passed else "does not keep to the protocol"
    console.line(f"{report.plugin} {verdict}: {counts}.", "green" if report.passed else "red")


def _style(result: Result) -> str:
    return "yellow" if result.verdict == "fail" and not result.is_fault else STYLES[result.verdict]
