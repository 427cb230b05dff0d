"""What the exit codes mean: the one table, and which error ends with which code.

An error's HTTP status decides; where the status does not say enough (no Host is a 404 like any
other), its wire code does. `bkg --help` and docs/cli.md are made from the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

from bkg_workbench.errors import WorkbenchError


@dataclass(frozen=True, slots=True)
class Exit:
    """One exit code: `statuses` and, before them, wire `codes` of the errors that end with it."""

    number: int
    meaning: str
    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()


TABLE = (
    Exit(0, "done"),
    Exit(1, "the request failed, or the doctor found something broken", (502,)),
    Exit(2, "the command line is not right"),
    Exit(
        3, "no Host runs for the workspace, or it has gone", codes=("host_not_found", "host_gone")
    ),
    Exit(4, "there is no such plug-in or capability", (404,)),
    Exit(5, "the input, the settings or the workspace are not valid", (400, 422)),
    Exit(6, "conflict: another Host, a taken port, settings saved meanwhile", (409,)),
    Exit(69, "the capability is declared, but no plug-in that serves it is up", (503,)),
    Exit(70, "something went wrong inside the workbench", (500,)),
    Exit(75, "no answer in time, or too much at once: try again", (429, 504)),
    Exit(77, "not allowed", (401, 403)),
    Exit(130, "interrupted by Ctrl-C", (499,)),
    Exit(141, "whoever read the output has gone"),
)

OK, FAILED, USAGE, NO_HOST, INTERNAL, INTERRUPTED, PIPE = 0, 1, 2, 3, 70, 130, 141

_BY_CODE = {code: row.number for row in TABLE for code in row.codes}
_BY_STATUS = {status: row.number for row in TABLE for status in row.statuses}


def exit_code(error: WorkbenchError) -> int:
    """The exit code of an error."""
    return _BY_CODE.get(error.code, _BY_STATUS.get(error.status, FAILED))


def listed() -> str:
    """The table as lines of text, for `--help`."""
    return "\n".join(f"  {row.number:>3}  {row.meaning}" for row in TABLE)
