"""What the operating system knows of processes: trees, tags, sockets, CPU and memory.

Owns reading /proc (psutil where there is none) and the sweep of leftovers by their tag. A pid alone
never gets a signal: a pidfd is opened first, and what it names is checked again. Does not own
processes that live: those are `process.Process`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bkg_workbench.supervisor import keeper

LINUX = sys.platform == "linux"
TAG = "BKG_INSTANCE"
PLUGIN_TAG = "BKG_PLUGIN_NAME"
SWEEP_SECONDS = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """A tree's load: `cpu` in percent of one core since the last sample, `mem_bytes` resident."""

    cpu: float
    mem_bytes: int
    processes: int


def descendants(root: int) -> list[int]:
    """Pids below `root`, parents before children."""
    if LINUX:
        return keeper.descendants(root)
    try:
        return [child.pid for child in psutil.Process(root).children(recursive=True)]
    except psutil.Error:
        return []


def cpu_seconds(pids: Iterable[int]) -> dict[tuple[int, int], float]:
    """CPU seconds used so far, by (pid, start time), of those that are alive."""
    used: dict[tuple[int, int], float] = {}
    for pid in pids:
        if LINUX:
            try:
                fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            used[pid, int(fields[19])] = (int(fields[11]) + int(fields[12])) / _TICKS
        else:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                used[pid, int(process.create_time())] = times.user + times.system
            except psutil.Error:
                continue
    return used


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of all together; pages that they share count for each."""
    total = 0
    for pid in pids:
        try:
            if LINUX:
                total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
            else:
                total += psutil.Process(pid).memory_info().rss
        except (OSError, IndexError, psutil.Error):
            continue
    return total


def socket_inode(local_port: int, remote_port: int) -> str | None:
    """The socket, as /proc/<pid>/fd names it, that connects these two ports; None if unknown."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_bytes().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local = int(fields[1].rpartition(b":")[2], 16)
            remote = int(fields[2].rpartition(b":")[2], 16)
            if local == local_port and remote == remote_port and fields[9] != b"0":
                return f"socket:[{fields[9].decode()}]"
    return None


def holds(pids: Iterable[int], socket: str) -> bool:
    """Whether any of the processes has this socket open."""
    for pid in pids:
        directory = f"/proc/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            try:
                if os.readlink(f"{directory}/{name}") == socket:
                    return True
            except OSError:
                continue
    return False


def sweep(instance: str, plugin: str | None = None) -> list[int]:
    """Kill what is left of a Host that is gone; the pids that were killed.

    Only processes whose environment has BKG_INSTANCE=`instance` (and BKG_PLUGIN_NAME=`plugin`, if
    given) and what lies below them, never this process or one above it. Returns once none is left,
    or after 5 s. Without /proc nothing is done.
    """
    if not LINUX or not instance:
        return []
    tags = {f"{TAG}={instance}".encode()}
    if plugin is not None:
        tags.add(f"{PLUGIN_TAG}={plugin}".encode())
    killed: dict[int, None] = {}
    deadline = time.monotonic() + SWEEP_SECONDS
    while leftovers := _tagged(tags):
        for pid in leftovers:
            below = descendants(pid)
            for each in (pid, *below):
                if _kill(each, tags, trusted=each in below):
                    killed[each] = None
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return list(killed)


def _tagged(tags: set[bytes]) -> list[int]:
    spared = _self_and_above()
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and int(entry) not in spared and _has_tags(int(entry), tags)
    ]


def _has_tags(pid: int, tags: set[bytes]) -> bool:
    # The environment of a zombie reads as empty: what has ended is not counted.
    try:
        return tags <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def _self_and_above() -> set[int]:
    above, pid = set(), os.getpid()
    while pid > 0:
        above.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            break
        pid = int(stat.rpartition(b")")[2].split()[1])
    return above


def _kill(pid: int, tags: set[bytes], *, trusted: bool) -> bool:
    """KILL through a pidfd, if it still is what was found.

    `trusted`: found below a tagged process a moment ago, so it needs no tag of its own.
    """
    before = _started(pid)
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        same = before is not None and _started(pid) == before
        if not same or not (trusted or _has_tags(pid, tags)):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _started(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
    except OSError:
        return None
