"""Tables as files: what a page's export button saves.

Owns the formats (CSV, Parquet) and the way to the browser, one for all panels. Which records a
table has is the panel's matter. In the panel's JavaScript:

    <${Export} post=${post} table="ports" />              every row
    <${Export} post=${post} table="ports" rows=${names} /> the rows that are seen, by their keys

and in Python:

    def on_intent(self, intent: Data) -> None:
        if tables.wanted(intent, "ports"):
            tables.export(self, intent, lambda: self._records(tables.rows(intent)))

The page that asked saves the file; other views of the same panel do not. A cell that is no plain
value is written as JSON, and columns of times (`frames.TIMES`) as UTC times.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets.frames import frame
from bkg_workbench.widgets.live import Data, Live

if TYPE_CHECKING:
    import pandas as pd

FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
"""The formats and their media types; each is the file's ending too."""

_log = logging.getLogger(__name__)

Records = Iterable[Mapping[str, Any]]


def wanted(intent: Data, table: str) -> bool:
    """Whether a page asks for `table` as a file, in a format that there is."""
    asked = intent.get("verb") == "export" and intent.get("table") == table
    return asked and intent.get("format") in FORMATS


def rows(intent: Data) -> list[str] | None:
    """The keys of the rows that the page wants, in its order; None: all."""
    keys = intent.get("rows")
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else None


def export(
    panel: Live, intent: Data, records: Callable[[], Records], *, kind: str | None = None
) -> threading.Thread:
    """Send `records()` as the file that `intent` asks for, from a thread of its own.

    `kind` names the columns of a table that may be empty (`frames.COLUMNS`). A toast says why, if
    it cannot be made. Gives the thread, for tests.
    """

    def work() -> None:
        try:
            content = encode(records(), intent["format"], kind)
        except Exception as error:  # the records may be anybody's, and the page waits for an answer
            if not isinstance(error, WorkbenchError):
                _log.warning("A table could not be exported", exc_info=True)
                error = WorkbenchError("the table could not be written; the page's log says why.")
            panel.toast(f"Export: {error}", "bad")
            panel.post({"kind": "file", "token": intent.get("token")})
            return
        name = f"{intent['table']}.{intent['format']}"
        head = {"kind": "file", "name": name, "type": FORMATS[intent["format"]]}
        panel.post({**head, "token": intent.get("token")}, [content])

    thread = threading.Thread(target=work, name="bkg-export", daemon=True)
    thread.start()
    return thread


def encode(records: Records, format_: str, kind: str | None = None) -> bytes:
    """Records as the content of a file of `FORMATS`. Raises `WorkbenchError` if it cannot be."""
    table = _flat(frame(records, kind))
    if format_ == "csv":
        return table.to_csv(index=False).encode("utf-8")
    try:
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
    except ImportError:
        raise WorkbenchError("Parquet needs the library pyarrow; CSV works without it.") from None
    return buffer.getvalue()


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Cells of mixed or nested columns as text, since a column of a file has one type."""
    flat = table.copy()
    for column in [name for name, dtype in flat.dtypes.items() if dtype.kind == "O"]:
        kinds = {type(cell) for cell in flat[column] if cell is not None}
        if kinds - {str} and kinds not in ({bool}, {int}, {float}):
            flat[column] = flat[column].map(_text)
    return flat


def _text(cell: Any) -> str | None:
    if cell is None or (isinstance(cell, float) and cell != cell):  # NaN: not known
        return None
    return cell if isinstance(cell, str) else msgspec.json.encode(cell).decode()
