"""Query results as lists that turn into DataFrames.

Owns `Records`: what `logs`, `telemetry`, `events` and `calls` give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bkg_workbench.client import hooks


class Records(list[dict[str, Any]]):
    """Records, oldest first. `next` is the seq to ask for what comes after them."""

    def __init__(self, records: Iterable[dict[str, Any]] = (), next: int = 0) -> None:
        super().__init__(records)
        self.next = next

    @property
    def df(self) -> Any:
        """The records as a pandas DataFrame; times as UTC."""
        return hooks.call("frame", self)

    def _repr_html_(self) -> str:
        return str(self.df.to_html(max_rows=60, notebook=True))
