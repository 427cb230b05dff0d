"""Query results as lists that turn into DataFrames.

Owns `Records`: what `logs`, `telemetry`, `events`, `calls` and `config_history` give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bkg_workbench.client import hooks


class Records(list[dict[str, Any]]):
    """Records, oldest first. `next` is the seq to ask for what comes after them.

    `kind` (logs, telemetry, events, calls, versions) names the columns that `df` has even without
    a record. `behind` is true where the Host could not look at its newest records in time.
    """

    def __init__(
        self,
        records: Iterable[dict[str, Any]] = (),
        next: int = 0,
        *,
        kind: str | None = None,
        behind: bool = False,
    ) -> None:
        super().__init__(records)
        self.next, self.kind, self.behind = next, kind, behind

    @property
    def df(self) -> Any:
        """The records as a pandas DataFrame; times as UTC."""
        return hooks.call("frame", self, self.kind)

    def _repr_html_(self) -> str:
        return str(self.df.to_html(max_rows=60, notebook=True))
