"""A notebook's cells as plain text, outputs left aside.

Owns reading of the .ipynb format as far as `source` and `cell_type` go; nothing else is decoded.
"""

from __future__ import annotations

import msgspec


class _Cell(msgspec.Struct):
    cell_type: str = "code"
    source: str | list[str] = ""


class _Sheet(msgspec.Struct):
    cells: list[_Cell] = []


class _Notebook(msgspec.Struct):
    cells: list[_Cell] | None = None
    worksheets: list[_Sheet] = []  # nbformat 3


_decoder = msgspec.json.Decoder(_Notebook)


def cells(data: bytes) -> list[tuple[str, bytes]] | None:
    """(cell type, source as UTF-8) of each cell; None where `data` is not a notebook."""
    try:
        book = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = book.cells
    if found is None:
        found = [cell for sheet in book.worksheets for cell in sheet.cells]
    return [(cell.cell_type, _source(cell.source)) for cell in found]


def _source(source: str | list[str]) -> bytes:
    text = source if isinstance(source, str) else "".join(source)
    return text.encode("utf-8", "replace")
