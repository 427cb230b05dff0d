"""How many lines each plug-in has said, so that none is missing from a page's figures.

Owns the count from what the Host tells, also where batches never came: each batch bears the Host's
own total. Pure: no I/O, no clock, no threads. The page counts what it was given
(`static/logstore.js`); the difference is what it was not.
"""

from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    """A plug-in had said `lines` lines when its line number `seq` came, the first being `first`."""

    seq: int
    lines: int
    first: int


class Tally:
    """Counts lines by plug-in from the first batch on; numbers only rise."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}
        self._totals: dict[str, int] = {}
        self._instance = ""

    def count(
        self, plugin: str, first: int, last: int, lines: int, total: int | None, instance: str
    ) -> Said:
        """Take a batch of `lines` lines numbered `first` to `last`, and say what that makes.

        `total` is what the Host counts of this plug-in since it began; None where it tells none.
        What `total` has beyond the last batch and this one was said in batches that never came.
        A new `instance` of the Host counts from zero.
        """
        if instance != self._instance:
            self._instance, self._totals = instance, {}
        told = self._totals.get(plugin)
        new = lines
        if total is not None:
            if told is not None:
                new = max(lines, total - told)
            self._totals[plugin] = total
        before = self._said.get(plugin, Said(0, 0, first))
        said = Said(max(last, before.seq), before.lines + new, before.first)
        self._said[plugin] = said
        return said
