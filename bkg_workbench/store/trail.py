"""apikeys' trail, read from its database: for a check that asks nobody's word.

Owns the reading alone, of a file that a plug-in writes; the chain is `protocol.chain`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bkg_workbench.errors import StoreError
from bkg_workbench.protocol import chain

COLUMNS = ("seq", "at", "actor", "action", "target", "source", "outcome", "detail")


def verify(file: Path, expected: tuple[int, str] | None = None) -> chain.Verdict:
    """Check the chain from its first row; `expected` as `chain.check`. Raises `StoreError`."""
    if not file.is_file():
        raise StoreError(reason=f"there is no trail at {file}: apikeys has not been started yet")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as found:
            rows = found.execute(f"SELECT {', '.join(COLUMNS)}, hash FROM audit ORDER BY seq")
            pairs = ((dict(zip(COLUMNS, row, strict=False)), str(row[-1])) for row in rows)
            return chain.check(pairs, expected)
    except sqlite3.Error as error:
        raise StoreError(reason=f"{file} cannot be read as one ({error})") from None
