"""The time that expiry is measured by: it follows the machine's clock, but never back.

A clock that is set back must not make an expired session valid again, so the latest moment that was
ever seen is kept in the database, and between two looks time passes by the monotonic clock.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Milliseconds since 1970; may jump either way."""

    def monotonic(self) -> float:
        """Seconds that never go back."""


class Watch:
    """Tells the time. `floor` is the latest moment that an earlier life has seen, in ms."""

    def __init__(self, clock: Clock, floor: int = 0) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen, self._at = max(floor, clock.now_ms()), clock.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970, never less than before."""
        with self._lock:
            at = self._clock.monotonic()
            passed = int((at - self._at) * 1000)
            now = max(self._clock.now_ms(), self._seen + passed)
            if now > self._seen:
                self._seen, self._at = now, at
            return now
