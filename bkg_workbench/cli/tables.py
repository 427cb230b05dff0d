"""Text for a terminal: columns, colours, and what must not reach a terminal.

Owns layout only; every function is pure. Text that comes from plug-ins can hold escape sequences,
so all of it goes through `clean`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

GAP = "  "
NARROWEST = 8
"""Cells that a column keeps, however narrow the terminal is."""

STYLES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36",
}  # fmt: skip

# C0 and C1 controls, and the marks that turn the direction of text around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a style of `STYLES`."""

    text: str
    style: str | None = None


def clean(text: str, *, keep: str = "") -> str:
    """The text with whatever could steer a terminal written out (`\\x1b`); `keep` stays."""
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else _written_out(m[0]), text)


def _written_out(char: str) -> str:
    if char == "\t":
        return "    "
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def width_of(text: str) -> int:
    """How many cells the text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, cells: int) -> str:
    """The text in at most `cells` cells; an ellipsis says that it was cut."""
    if width_of(text) <= cells:
        return text
    kept, used = [], 1
    for char in text:
        used += _cells(char)
        if used > cells:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if cells > 0 else ""


def paint(text: str, style: str | None, colours: bool) -> str:
    """The text in a style, where there are colours."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colours and style and text else text


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    width: int | None = None,
    whole: Collection[str] = (),
    right: Collection[str] = (),
    colours: bool = False,
) -> list[str]:
    """Lines of aligned columns.

    Parameters: `width` in cells that the lines should fit into (None: any); columns named in
    `whole` are never cut, those in `right` stand to the right.
    """
    body = [[_as_cell(cell) for cell in row] for row in rows]
    widths = [
        max([width_of(header), *(width_of(row[i].text) for row in body)])
        for i, header in enumerate(headers)
    ]
    if width is not None:
        _shrink(widths, [i for i, h in enumerate(headers) if h not in whole], width)
    sides = [header in right for header in headers]
    head = [Cell(header, "dim") for header in headers]
    return [_line(row, widths, sides, colours) for row in [head, *body]]


def _as_cell(cell: str | Cell) -> Cell:
    one = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(clean(one.text), one.style)


def _shrink(widths: list[int], free: list[int], width: int) -> None:
    """Take from the widest column first, so that narrow ones stay legible."""
    while sum(widths) + len(GAP) * (len(widths) - 1) > width and free:
        widest = max(free, key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _line(row: list[Cell], widths: list[int], sides: list[bool], colours: bool) -> str:
    parts = []
    for index, (cell, cells, right) in enumerate(zip(row, widths, sides, strict=True)):
        text = clip(cell.text, cells)
        room = " " * (cells - width_of(text))
        painted = paint(text, cell.style, colours)
        is_last = index == len(row) - 1
        parts.append(room + painted if right else painted + ("" if is_last else room))
    return GAP.join(parts).rstrip()


def pairs(rows: Sequence[tuple[str, str | Cell]], *, colours: bool = False) -> list[str]:
    """Lines of a name and a value, the values aligned."""
    left = max((width_of(name) for name, _ in rows), default=0)
    lines = []
    for name, value in rows:
        cell = _as_cell(value)
        label = paint(name, "dim", colours) + " " * (left - width_of(name))
        lines.append(f"{label}{GAP}{paint(cell.text, cell.style, colours)}".rstrip())
    return lines
