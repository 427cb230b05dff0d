"""How quantities, times and states read in a terminal. Pure; `None` reads as a dash."""

from __future__ import annotations

from datetime import datetime
from typing import Any

DASH = "–"
STATE_STYLES = {
    "running": "green", "degraded": "yellow", "starting": "cyan", "stopping": "cyan",
    "backoff": "yellow", "failed": "red", "stopped": "dim",
}  # fmt: skip
LEVEL_STYLES = {"debug": "dim", "info": None, "warn": "yellow", "error": "red"}


def duration(seconds: float | None) -> str:
    """`0.4 s`, `8 s`, `3 min 05 s`, `2 h 05 min`, `4 d 3 h`."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(octets: float | None) -> str:
    """`512 B`, `4.5 MiB`, `1.2 GiB`."""
    if octets is None:
        return DASH
    value = float(max(0, octets))
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(share: float | None) -> str:
    """Percent of one core: `0.4 %`, `37 %`."""
    if share is None:
        return DASH
    return f"{share:.1f} %" if share < 10 else f"{share:.0f} %"


def count(number: int, one: str) -> str:
    """`1 plug-in`, `3 plug-ins`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def moment(at_ms: int | None, *, today: datetime | None = None) -> str:
    """A time (ms since 1970) in this machine's zone; with its date unless that is `today`'s."""
    if at_ms is None:
        return DASH
    try:
        local = datetime.fromtimestamp(at_ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
    day = "" if today is not None and local.date() == today.date() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def change(one: dict[str, Any], shown: Any = str) -> str:
    """A line of a diff: `+ /path: after`, `- /path: before`, `~ /path: before → after`."""
    path = one.get("path") or "/"
    match one.get("op"):
        case "add":
            return f"+ {path}: {shown(one.get('after'))}"
        case "remove":
            return f"- {path}: {shown(one.get('before'))}"
        case _:
            return f"~ {path}: {shown(one.get('before'))} → {shown(one.get('after'))}"
