"""Times on the command line: how long ago, or when.

Owns their grammar. Everything but `now` is given, so the functions are pure.
"""

from __future__ import annotations

import re
from datetime import datetime

from bkg_workbench.errors import InvalidParams

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000,
          "w": 604_800_000}  # fmt: skip
_AGO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]+)")
HINT = "give 10m, 2h or 3d (so long ago), 2026-05-01, or 2026-05-01T08:30 (with Z for UTC)"


def instant(text: str, now_ms: int) -> int:
    """A time in ms since 1970: `90s`, `10m`, `2h`, `3d` ago, or ISO 8601.

    Without a zone it is this machine's. Raises `InvalidParams`.
    """
    word = text.strip()
    if found := _AGO.fullmatch(word.lower()):
        number, unit = found.groups()
        if unit in _UNITS:
            return max(0, now_ms - round(float(number) * _UNITS[unit]))
    try:
        # A time without a zone is taken as local by `timestamp`.
        return max(0, round(datetime.fromisoformat(word).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise InvalidParams(f"{text!r} is no time; {HINT}.", value=text) from None
