"""A page's subscription to a stream, which begins anew when it fell behind.

Owns the answer to `reset`, which the Host sends to a follower that is 1 MiB behind and which ends
the subscription. It is mended on the page's thread, since the thread that tells must not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets.bench import Bench


class Following:
    """Follows `topics` and hands their data to `on_data`, on the workbench's own thread."""

    def __init__(self, bench: Bench, topics: list[str], on_data: Callable[[Any], None]) -> None:
        self._bench, self._topics, self._on_data = bench, topics, on_data
        self._broken = False
        self._closed = False
        self._end = bench.follow(topics, self._on_event)

    def mend(self) -> bool:
        """Subscribe again after a `reset`; True if that was needed, so that a gap is known of."""
        if not self._broken or self._closed:
            return False
        self._end()
        try:
            self._end = self._bench.follow(self._topics, self._on_event)
        except WorkbenchError:  # out of reach: the page says so, and the next redraw tries again
            return False
        self._broken = False
        return True

    def close(self) -> None:
        """End it. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._end()

    def _on_event(self, topic: str, data: Any) -> None:
        if topic == "reset":
            self._broken = True
        elif not self._closed:
            self._on_data(data)
