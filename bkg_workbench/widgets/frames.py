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


def frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A DataFrame of records: one row each, times (ms since 1970) as UTC datetimes.

    A key that some records lack reads as missing there. Nested values stay objects.
    """
    import pandas as pd  # a second of a page's start, which shows no DataFrame

    table = pd.DataFrame.from_records([dict(record) for record in records])
    for column in TIMES:
        if column in table and pd.api.types.is_numeric_dtype(table[column]):
            table[column] = pd.to_datetime(table[column], unit="ms", utc=True)
    first = [column for column in FIRST if column in table]
    return table[[*first, *(column for column in table if column not in first)]]
