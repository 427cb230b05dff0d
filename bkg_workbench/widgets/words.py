"""How quantities read on a page: durations, ages, sizes, shares.

Owns wording and rounding only; everything is a pure function of numbers. `None` reads as a dash.
"""

from __future__ import annotations

DASH = "–"

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float | None) -> str:
    """A duration in seconds, in its two largest units: `8 s`, `3 min`, `2 h 05 min`, `4 d 3 h`."""
    if seconds is None:
        return DASH
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def age(seconds: float | None) -> str:
    """How long ago something was: `now`, `4 s ago`, `3 min ago`."""
    if seconds is None:
        return DASH
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def size(octets: float | None) -> str:
    """A number of bytes in binary units: `512 B`, `4.5 MiB`, `1.2 GiB`."""
    if octets is None:
        return DASH
    value = float(max(0, octets))
    if value < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1000:
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} TiB"


def percent(share: float | None) -> str:
    """Percent of one core: `0.4 %`, `37 %`."""
    if share is None:
        return DASH
    value = max(0.0, float(share))
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun: `1 plug-in`, `3 plug-ins`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
