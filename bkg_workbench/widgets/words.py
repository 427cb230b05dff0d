"""How quantities read on a page: sizes, shares, counts.

Owns wording and rounding only; everything is a pure function of numbers. Durations and ages move
by themselves, so the page words them (`static/live.js`).
"""

from __future__ import annotations


def size(octets: float) -> str:
    """A number of bytes in binary units: `512 B`, `4.5 MiB`, `1.2 GiB`."""
    value = float(max(0, octets))
    if value < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1000:
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} TiB"


def percent(share: float) -> str:
    """Percent of one core: `0.4 %`, `37 %`."""
    value = max(0.0, float(share))
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun: `1 plug-in`, `3 plug-ins`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
