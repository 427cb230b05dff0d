"""Records as DataFrames.

Owns which columns become times and in which order columns stand; the records themselves come from
`bench.logs`, `bench.call` and the like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("seq", "at", "plugin", "source", "level", "capability", "event", "message")
"""Columns that stand first, in this order, where a record has them."""
TIMES = ("at", "startedAt", "finishedAt", "since", "until")
"""Columns that hold milliseconds since 1970."""

_ROW = {"seq": "int64", "at": "int64", "plugin": "str"}
COLUMNS: dict[str, dict[str, Any]] = {
    "logs": {
        **_ROW, "source": "str", "level": "str", "message": "str", "timestamp": "object",
    },
    "telemetry": {**_ROW, "cpu": "float64", "mem_bytes": "float64"},
    "events": {**_ROW, "event": "str", "state": "str", "why": "str"},
    "calls": {
        **_ROW, "capability": "str", "caller": "str", "outcome": "str", "duration_ms": "float64",
        "trace_id": "str", "span_id": "str", "parent_id": "str",
    },
    "versions": {
        "version": "int64", "at": "int64", "author": "str", "reason": "str",
        "diff": "object", "settings": "object",
    },
}  # fmt: skip
"""The columns that records of a kind always have, whether there is one or none, with types."""


def frame(records: Iterable[Mapping[str, Any]], kind: str | None = None) -> pd.DataFrame:
    """A DataFrame of records: one row each, times (ms since 1970) as UTC datetimes.

    A key that some records lack reads as missing there. Nested values stay objects. `kind` (of
    `COLUMNS`) gives a table its columns and types even without a single record.
    """
    import pandas as pd  # a second of a page's start, which shows no DataFrame

    table = pd.DataFrame.from_records([dict(record) for record in records])
    for column, dtype in COLUMNS.get(kind or "", {}).items():
        if column not in table:
            table[column] = pd.Series([None] * len(table), dtype="object")
        if len(table) == 0 or dtype == "float64":
            table[column] = table[column].astype(dtype)
    for column in TIMES:
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            table[column] = pd.to_datetime(table[column], unit="ms", utc=True)
    first = [column for column in FIRST if column in table]
    return table[[*first, *(column for column in table if column not in first)]]
