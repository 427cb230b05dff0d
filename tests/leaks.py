"""Whoever opens it closes it: fails a test that leaves something running or open.

Compares threads, child processes, open descriptors and asyncio tasks before and after each test,
with a grace for what is just ending. What a fixture of wider scope opened is there before the test
and so does not count. Loaded by the conftest.py at the root, hence for plug-ins' tests too.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.helpers import eventually, kill, processes_of
from tests.reliability import OVERALL

GRACE_SECONDS = 2.0
LAST_GRACE_SECONDS = 8.0
SPARE_DESCRIPTORS = 2
"""Libraries open one or another for the whole process at their first use."""

KEPT_THREADS = (
    "IPythonHistorySavingThread",  # one per process, ends with it
    "QueueFeederThread",
)


def pytest_sessionstart() -> None:
    """libuv opens one pipe for the whole process with its first loop, and keeps it."""
    try:
        import uvloop
    except ImportError:
        return
    uvloop.new_event_loop().close()


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment."""

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    descriptors: frozenset[tuple[int, str]]

    @classmethod
    def now(cls) -> Held:
        return cls(
            frozenset(t for t in threading.enumerate() if t.name not in KEPT_THREADS),
            frozenset(_children()),
            frozenset(_descriptors()),
        )

    def more_than(self, before: Held) -> list[str]:
        """One line for each thing that is held now and was not before."""
        return [
            *(f"thread {thread.name}" for thread in self.threads - before.threads),
            *(f"child process {pid}: {_command(pid)}" for pid in self.children - before.children),
            *(f"descriptor {fd}: {what}" for fd, what in self.descriptors - before.descriptors),
        ]


@pytest.fixture(autouse=True)
def no_leak(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test at its end where a thread, child process or descriptor of it is left.

    Tests marked `shared_host` restart plug-ins of a Host of wider scope: the fixture that owns the
    Host looks for leftovers at its own end.
    """
    if request.node.get_closest_marker("shared_host"):
        yield
        return
    before = Held.now()
    yield
    left = Held.now().more_than(before)
    if not left:
        return
    gc.collect()
    end = time.monotonic() + GRACE_SECONDS
    while left := (after := Held.now()).more_than(before):
        if time.monotonic() >= end:
            kill(after.children - before.children)
            pytest.fail("left behind by this test:\n  " + "\n  ".join(sorted(left)), pytrace=False)
        time.sleep(0.02)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_of_the_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """At the end of all tests: no process in their folders, no zombie, no more descriptors."""
    before = _descriptors()
    yield
    base = tmp_path_factory.getbasetemp()
    try:
        eventually(lambda: not processes_of(base) and not _zombies(), timeout=LAST_GRACE_SECONDS)
    except AssertionError:
        pass  # told below, with what it is
    left, zombies = processes_of(base), _zombies()
    kill(left)
    gc.collect()
    more = {(fd, what) for fd, what in _descriptors() - before if fd > 2}  # 1 and 2 are pytest's
    request.config.stash[OVERALL] = [
        ("processes left over", len(left)),
        ("zombies left over", len(zombies)),
        ("descriptors left open", len(more)),
    ]
    request.config.stash[LEFT] = [
        *(f"process {pid}: {command}" for pid, command in left.items()),
        *(f"zombie {pid}" for pid in zombies),
        *(f"descriptor {fd}: {what}" for fd, what in more if len(more) > SPARE_DESCRIPTORS),
    ]


LEFT = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The run failed where it left something behind, whatever its tests said."""
    if session.config.stash.get(LEFT, []):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what the run has left behind."""
    for line in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"left behind by the whole run: {line}", red=True)


@pytest_asyncio.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails an async test at its end where a task that it started still runs."""
    before = asyncio.all_tasks()
    yield
    end = time.monotonic() + GRACE_SECONDS
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        if time.monotonic() >= end:
            lines = sorted(f"task {task.get_name()}: {task.get_coro()!r}" for task in left)
            pytest.fail("left behind by this test:\n  " + "\n  ".join(lines), pytrace=False)
        await asyncio.sleep(0.01)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Async tests alone get the check of tasks: for the others it would start a loop."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            # First of all, so that it looks last: after every other fixture has ended.
            item.fixturenames.insert(item.fixturenames.index("no_leak") + 1, "no_task_left")


def _children() -> set[int]:
    pids: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(int(pid) for pid in path.read_text().split())
        except OSError:  # the thread has ended meanwhile
            continue
    return pids


def _zombies() -> list[int]:
    return [pid for pid in _children() if _state(pid) == "Z"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _descriptors() -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    folder = "/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"
    for name in os.listdir(folder):
        try:
            found.add((int(name), os.readlink(f"{folder}/{name}")))
        except OSError:  # the descriptor of this very listing
            continue
    return found


def _command(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return "gone"
    return line or "ended, and nobody has waited for it"
