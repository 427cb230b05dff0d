"""Where the command's words go: results to stdout, everything else to stderr.

Owns what depends on the two streams: colours, the width, live progress, and the form of JSON.
Writing to a reader that has gone raises `BrokenPipeError`; `app` turns that into an exit code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TextIO

import msgspec

from bkg_workbench.cli import tables
from bkg_workbench.cli.tables import Cell
from bkg_workbench.errors import WorkbenchError

LOG_LINES = 10
"""How many of a failed plug-in's last lines are shown under its error."""

# JSON leaves these as they are; a terminal would act on them.
_RAW = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Console:
    """The two streams of one command.

    Parameters: `is_json` makes results JSON and keeps progress quiet; `environ` decides on colours
    (`NO_COLOR`, `TERM`).
    """

    def __init__(
        self,
        *,
        is_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self.is_json = is_json
        env = os.environ if environ is None else environ
        plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
        self.colours = _is_terminal(self.out) and not plain
        self.err_colours = _is_terminal(self.err) and not plain
        self.is_live = self.err_colours and not is_json
        self.width = shutil.get_terminal_size().columns if _is_terminal(self.out) else None
        self._live_line = ""
        for stream in (self.out, self.err):
            # A plug-in's text must not fail on a terminal that cannot show it.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    # -- results --------------------------------------------------------------------------------
    def line(self, text: str = "", style: str | None = None) -> None:
        """One line of the result; `text` is made safe for a terminal."""
        self.write(tables.paint(tables.clean(text), style, self.colours))

    def write(self, *lines: str) -> None:
        """Lines that are safe already."""
        self._end_live()
        self.out.writelines(f"{line}\n" for line in lines)
        self.out.flush()

    def data(self, value: Any, *, compact: bool = False) -> None:
        """A value as JSON: on one line with `--json` or `compact`, else indented."""
        self.write(encoded(value, compact=compact or self.is_json))

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str | Cell]],
        *,
        whole: Collection[str] = (),
        right: Collection[str] = (),
    ) -> None:
        """Aligned columns, cut to the terminal's width; columns in `whole` are never cut."""
        self.write(
            *tables.table(
                headers, rows, width=self.width, whole=whole, right=right, colours=self.colours
            )
        )

    def pairs(self, rows: Sequence[tuple[str, str | Cell]]) -> None:
        """Names and values, the values aligned."""
        self.write(*tables.pairs(rows, colours=self.colours))

    def cells(self, row: Sequence[str | Cell]) -> None:
        """One line of cells side by side, as wide as they are."""
        parts = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        painted = [tables.paint(tables.clean(c.text), c.style, self.colours) for c in parts]
        self.write(tables.GAP.join(painted).rstrip())

    # -- everything else ------------------------------------------------------------------------
    def note(self, text: str, style: str | None = None) -> None:
        """One line on stderr; nothing with `--json`."""
        if not self.is_json:
            self._note(tables.paint(tables.clean(text), style, self.err_colours))

    def live(self, text: str) -> None:
        """A line on a terminal's stderr that the next one replaces; elsewhere nothing."""
        if not self.is_live:
            return
        columns = shutil.get_terminal_size().columns
        shown = tables.clip(tables.clean(text), columns - 1)
        if shown != self._live_line:
            self.err.write(f"\r\x1b[K{shown}")
            self.err.flush()
            self._live_line = shown

    def _end_live(self) -> None:
        if self._live_line:
            self.err.write("\r\x1b[K")
            self.err.flush()
            self._live_line = ""

    def _note(self, line: str) -> None:
        self._end_live()
        self.err.write(f"{line}\n")
        self.err.flush()

    def error(self, error: WorkbenchError, code: int) -> None:
        """An error as one sentence on stderr, with a failed plug-in's last lines below it."""
        if self.is_json:
            self._note(encoded({**error.to_wire(), "exit": code}, compact=True))
            return
        self.trouble(str(error))
        for line in _tail(error.facts.get("log")):
            self._note(f"  | {tables.clean(line)}")

    def trouble(self, sentence: str) -> None:
        """A sentence on stderr after the command's name."""
        name = tables.paint("bkg:", "red", self.err_colours)
        self._note(f"{name} {tables.clean(sentence)}")


def encoded(value: Any, *, compact: bool) -> str:
    """The value as JSON text that no terminal acts on. Structs are allowed in it."""
    plain = msgspec.to_builtins(value)
    text = json.dumps(plain, ensure_ascii=False, indent=None if compact else 2)
    return _RAW.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _tail(log: Any) -> Iterable[str]:
    if not isinstance(log, (list, tuple)):
        return []
    return [line for line in log if isinstance(line, str)][-LOG_LINES:]


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
