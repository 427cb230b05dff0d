"""Whether somebody opens a file: inotify, where there is one.

Owns the one question; elsewhere than on Linux it has no answer.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Self

_IN_OPEN = 0x20


class OpenWatch:
    """Watches one file from `on` to `close`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._opened = False

    @classmethod
    def on(cls, file: Path) -> Self | None:
        """Watch `file` from now on; None where this system cannot."""
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except AttributeError:
            return None
        if descriptor < 0:
            return None
        if libc.inotify_add_watch(descriptor, os.fsencode(file), _IN_OPEN) < 0:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def was_opened(self) -> bool:
        """Whether the file was opened since."""
        try:
            self._opened = bool(os.read(self._descriptor, 4096)) or self._opened
        except BlockingIOError:
            pass
        return self._opened

    def close(self) -> None:
        """Stop watching; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
