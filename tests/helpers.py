"""What the tests share: waiting for a condition, and finding the processes of a workspace.

Waiting is always bounded and always for a condition, never for a time.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.01


def eventually(predicate: Callable[[], T], timeout: float = 5.0) -> T:
    """The first truthy value of `predicate`, asked again and again for at most `timeout` seconds.

    An `AssertionError` from `predicate` counts as "not yet"; the last one is raised at the end.
    """
    end = time.monotonic() + timeout
    while True:
        value, failure = _ask(predicate)
        if value:
            return value
        if time.monotonic() >= end:
            raise failure or AssertionError(_missed(predicate, value, timeout))
        time.sleep(PAUSE_SECONDS)


async def aeventually(predicate: Callable[[], T | Awaitable[T]], timeout: float = 5.0) -> T:
    """The async twin of `eventually`; `predicate` may be a coroutine function."""
    end = time.monotonic() + timeout
    while True:
        value, failure = _ask(predicate)
        if inspect.isawaitable(value):
            try:
                value = await value
            except AssertionError as error:
                value, failure = None, error
        if value:
            return value
        if time.monotonic() >= end:
            raise failure or AssertionError(_missed(predicate, value, timeout))
        await asyncio.sleep(PAUSE_SECONDS)


def processes_of(workspace: Path) -> dict[int, str]:
    """Pids, with their command lines, of processes that belong to `workspace`.

    They name it in their environment (`BKG_WORKSPACE`, `BKG_PLUGIN_CONFIG_PATH` and the like), or
    their working directory lies in it. Linux only; elsewhere the answer is empty.
    """
    mark = os.fsencode(workspace)
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            belongs = _names(entry.joinpath("environ").read_bytes(), mark) or Path(
                os.readlink(entry / "cwd")
            ).is_relative_to(workspace)
            command = entry.joinpath("cmdline").read_bytes()
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if belongs:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and is not reaped yet does not.

    In a container whose first process reaps nobody, an orphan stays in /proc for ever.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; those that are gone already are left out."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _names(environment: bytes, mark: bytes) -> bool:
    return any(
        value == mark or value.startswith(mark + b"/")
        for _, _, value in (line.partition(b"=") for line in environment.split(b"\0"))
    )


def _ask(predicate: Callable[[], T]) -> tuple[T | None, AssertionError | None]:
    try:
        return predicate(), None
    except AssertionError as error:
        return None, error


def _missed(predicate: Callable[[], object], value: object, timeout: float) -> str:
    name = getattr(predicate, "__qualname__", repr(predicate))
    return f"not within {timeout:g} s: {name} (last answer: {value!r})"
