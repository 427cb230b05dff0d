"""A folder under watch: which of its files changed, once it has been quiet for a moment.

Owns what counts as a change and what does not (caches, data, an editor's own files). It looks at
the whole folder again and again, which works on every file system.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

POLL_SECONDS = 0.2
QUIET_SECONDS = 0.3
LONGEST_SECONDS = 3.0
"""How long is waited for quiet at most."""
SHARE = 0.1
"""What part of the time may go into looking; a large folder is looked at less often."""

NOWHERE = {"__pycache__", "node_modules"}
"""Folders that do not count, wherever they are; nor do hidden ones."""
NOT_ON_TOP = {"data", "venv"}
NOT_ENDING = ("~", ".pyc", ".swp", ".swx", ".tmp", ".log")
VIM_PROBE = "4913"

Marks = dict[str, tuple[int, int, int]]
"""What tells a file from its later self, by its path below the folder."""


def scan(folder: Path) -> Marks:
    """The files that count. What vanishes while it is looked at is not there."""
    found: Marks = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    path = f"{below}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        if _counts_as_folder(entry.name, is_top=not below):
                            waiting.append(f"{path}/")
                    elif _counts(entry.name):
                        mark = entry.stat()
                        found[path] = (mark.st_mtime_ns, mark.st_size, mark.st_mode)
        except OSError:
            continue
    return found


def _counts_as_folder(name: str, *, is_top: bool) -> bool:
    return not (name.startswith(".") or name in NOWHERE or (is_top and name in NOT_ON_TOP))


def _counts(name: str) -> bool:
    return not (name.startswith((".", "#")) or name.endswith(NOT_ENDING) or name == VIM_PROBE)


def difference(before: Marks, after: Marks) -> list[str]:
    """The paths that are new, gone or not as before, sorted."""
    return sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))


async def changes(
    folder: Path, *, since: Marks | None = None, scan: Callable[[Path], Marks] = scan
) -> AsyncGenerator[list[str], None]:
    """Lists of changed paths, each after `QUIET_SECONDS` without a further change.

    `since`: what the folder was like, by default as the first list is asked for. What changes while
    the caller is busy with a list is in the next one.
    """
    now, seconds = await _look(folder, scan)
    known = now if since is None else since
    while True:
        await asyncio.sleep(max(POLL_SECONDS, seconds / SHARE))
        now, seconds = await _look(folder, scan)
        if now == known:
            continue
        end = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(QUIET_SECONDS)
            later, _ = await _look(folder, scan)
            is_quiet = later == now
            now = later
            if is_quiet:
                break
        changed, known = difference(known, now), now
        if changed:  # else it is as it was before
            yield changed


async def _look(folder: Path, scan: Callable[[Path], Marks]) -> tuple[Marks, float]:
    begun = time.monotonic()
    return await asyncio.to_thread(scan, folder), time.monotonic() - begun
