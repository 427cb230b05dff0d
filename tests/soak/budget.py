"""How much the long tests do, by the minutes that the whole soak may take."""

from __future__ import annotations


class Budget:
    """Scales what a test repeats; 10 minutes are the full numbers."""

    def __init__(self, minutes: float) -> None:
        self.share = minutes / 10.0

    def times(self, full: int, least: int = 3) -> int:
        """How often, where `full` is the number for ten minutes."""
        return max(least, round(full * self.share))

    def seconds(self, full: float, least: float = 5.0) -> float:
        """How long, where `full` is for ten minutes."""
        return max(least, full * self.share)
