"""When a page is redrawn, and when it is not worth it.

Owns the redraw thread of a page (`Pulse`: coalesced, at most ten times a second) and the lease that
a page's heartbeat renews (`Lease`: without it nothing is pushed, so that a kernel whose page has
gone falls idle and is culled). Knows no widgets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

LEAST_SECONDS = 0.1
"""Two redraws are at least this far apart."""
MOST_SECONDS = 1.0
"""What no event tells, like a health beat that is late, is seen within this time."""
LEASE_SECONDS = 90.0
"""A page beats every 10 s, but browsers let a hidden tab's timers run only once a minute."""


class Pulse:
    """Calls `draw` on a thread of its own: soon after `mark`, and every `most` seconds anyway.

    However often `mark` is called, two draws begin at least `least` seconds apart. A draw that
    raises is logged once, until one succeeds again.
    """

    def __init__(
        self,
        draw: Callable[[], None],
        *,
        least: float = LEAST_SECONDS,
        most: float = MOST_SECONDS,
        name: str = "bkg-page",
    ) -> None:
        self._draw, self._least, self._most = draw, least, most
        self._changed = threading.Condition()
        self._marked = True
        self._closed = False
        self._complained = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first draw comes at once."""
        self._thread.start()

    def mark(self) -> None:
        """Something changed: draw soon. From any thread."""
        with self._changed:
            self._marked = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread and wait for it, unless this is it. A second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._marked or self._closed, self._most)
                if self._closed:
                    return
                self._marked = False
            self._draw_once()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._least)

    def _draw_once(self) -> None:
        try:
            self._draw()
            self._complained = False
        except Exception:  # a page that cannot be drawn now must not end the thread that draws it
            if not self._complained:
                _log.warning("A page could not be redrawn", exc_info=True)
            self._complained = True


class Lease:
    """Held for `seconds` after each `renew`. It does not run while the kernel computes a cell.

    A computing kernel cannot hear the page's heartbeat, so `pause` stops the lease's time and
    `resume` renews it.
    """

    def __init__(
        self, seconds: float = LEASE_SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._until = monotonic() + seconds
        self._paused = False

    def renew(self) -> None:
        """The page was heard."""
        self._until = self._monotonic() + self._seconds

    def pause(self) -> None:
        """The page cannot be heard from now on."""
        self._paused = self.held

    def resume(self) -> None:
        """The page can be heard again."""
        if self._paused:
            self._paused = False
            self.renew()

    @property
    def held(self) -> bool:
        """Whether somebody is looking, as far as is known."""
        return self._paused or self._monotonic() < self._until
