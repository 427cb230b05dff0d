"""What peers do wrong, told without letting them fill the log.

Owns how often the same is told: a few lines, then one with the number of the rest. Does not own
what counts as wrong, nor what becomes of the peer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bkg_workbench.bus.clock import Clock

LINES, SECONDS = 5, 10.0
"""So many lines of one kind and peer are told within so many seconds."""


@dataclass
class _Window:
    """What one peer did wrong in one way of late."""

    since: float
    told: int = 0
    kept_back: int = 0
    last: str = ""


class Complaints:
    """Passes on (code, text) to `tell`, at most `LINES` in `SECONDS` for each code and peer."""

    def __init__(self, clock: Clock, tell: Callable[[str, str], None]) -> None:
        self._clock, self._tell = clock, tell
        self._windows: dict[tuple[str, str], _Window] = {}

    def add(self, code: str, text: str, who: str = "") -> None:
        """Tell it, or count it. `who` is the peer's name; strangers are one."""
        now = self._clock.monotonic()
        window = self._windows.get((code, who))
        if window is not None and now - window.since >= SECONDS:
            self._close(code, window)
            window = None
        if window is None:
            window = self._windows[code, who] = _Window(now)
        if window.told < LINES:
            window.told += 1
            self._tell(code, text)
        else:
            window.kept_back += 1
            window.last = text

    def sweep(self) -> None:
        """Tell how many were kept back in the windows that are over."""
        now = self._clock.monotonic()
        over = [key for key, w in self._windows.items() if now - w.since >= SECONDS]
        for key in over:
            self._close(key[0], self._windows.pop(key))

    def _close(self, code: str, window: _Window) -> None:
        if window.kept_back:
            self._tell(code, f"{window.last} (and {window.kept_back - 1} more like it)")
