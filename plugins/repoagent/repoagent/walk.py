"""A bounded walk over a directory tree, by descriptors, without following links.

Owns order (parents before children, names sorted), depth, time and what is left out; `tree` and
`search` decide what to do with the entries. Memory is bounded by `room` names a directory.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from repoagent import jail
from repoagent.ignore import Level, Policy, level_of
from repoagent.jail import Root


@dataclass
class Budget:
    """What a walk may use; `spent` names the bounds that were hit (`time`, `depth`, …)."""

    deadline: float
    clock: Callable[[], float] = time.monotonic
    cancelled: Callable[[], bool] = lambda: False
    spent: dict[str, None] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Whether time is up or the asker has gone."""
        if self.cancelled():
            self.spent["cancelled"] = None
        elif self.clock() >= self.deadline:
            self.spent["time"] = None
        else:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Item:
    """One visible entry: its path as asked for, the open directory it lies in, and its name."""

    path: str
    dir_fd: int
    entry: os.DirEntry[str]
    is_directory: bool


class Filter(Protocol):
    """A further word on each entry: its path below the root, its name, whether a directory."""

    def __call__(self, path: str, name: str, is_directory: bool, /) -> bool: ...


class _Frame:
    """A directory that is being walked."""

    def __init__(self, fd: int, shown: str, real: str, levels: list[Level], depth: int) -> None:
        self.fd, self.shown, self.real = fd, shown, real
        self.levels, self.depth = levels, depth
        self.entries: Iterator[os.DirEntry[str]] = iter(())


@dataclass(frozen=True)
class Walk:
    """How to walk: below `path` of `root`, `depth` levels, at most `room` names a directory.

    `after` is the path (below the root) of the entry after which to go on; `wanted` prunes.
    """

    root: Root
    policy: Policy
    budget: Budget
    path: str = ""
    depth: int = 32
    room: int = 20_000
    after: str | None = None
    wanted: Filter | None = None

    def __iter__(self) -> Generator[Item, None, None]:
        """Visible entries. A consumer that stops early must close the iterator."""
        stack = [self._first()]
        try:
            self._list(stack[0])
            while stack:
                frame = stack[-1]
                entry = next(frame.entries, None)
                if entry is None or self.budget.is_over():
                    os.close(stack.pop().fd)
                    if entry is not None:
                        return
                    continue
                is_directory = entry.is_dir(follow_symlinks=False)
                shown = f"{frame.shown}{entry.name}"
                if not self._is_resumed(shown):
                    yield Item(shown, frame.fd, entry, is_directory)
                if is_directory:
                    self._descend(stack, frame, entry.name)
        finally:
            for frame in stack:
                os.close(frame.fd)

    def _first(self) -> _Frame:
        fd = self.root.open_directory(self.path)
        try:
            self.policy.check(self.root, self.path, True)
            real = self.root.real_path(fd, self.path)
            if real != self.path:
                self.policy.check(self.root, real, True)
            parent, _, _ = real.rpartition("/")
            levels = self.policy.levels_for(self.root, parent) if real else []
            levels += level_of(fd, real)
        except BaseException:
            os.close(fd)
            raise
        return _Frame(
            fd, f"{self.path}/" if self.path else "", f"{real}/" if real else "", levels, 1
        )

    def _descend(self, stack: list[_Frame], frame: _Frame, name: str) -> None:
        if frame.depth >= self.depth:
            if self.depth >= 32:
                self.budget.spent["depth"] = None
            return
        try:
            fd = jail.open_entry(frame.fd, name, jail.DIRECTORY)
        except OSError:
            return  # gone, or not ours to read, since it was listed
        real = f"{frame.real}{name}"
        child = _Frame(fd, f"{frame.shown}{name}/", f"{real}/", frame.levels, frame.depth + 1)
        stack.append(child)
        own = level_of(fd, real)
        if own:
            child.levels = frame.levels + own
        self._list(child)

    def _list(self, frame: _Frame) -> None:
        try:
            with os.scandir(frame.fd) as entries:
                found = self._smallest(self._visible(frame, entries))
        except OSError:
            found = []
        frame.entries = iter(found)

    def _visible(
        self, frame: _Frame, entries: Iterator[os.DirEntry[str]]
    ) -> Iterator[os.DirEntry[str]]:
        first = self._first_name(frame.shown)
        why_hidden, levels, wanted = self.policy.why_hidden, frame.levels, self.wanted
        for number, entry in enumerate(entries):
            if number % 256 == 255 and self.budget.is_over():
                return
            name = entry.name
            if first is not None and name < first:
                continue
            is_directory = entry.is_dir(follow_symlinks=False)
            path = frame.real + name
            if why_hidden(path, name, is_directory, levels) is None and (
                wanted is None or wanted(path, name, is_directory)
            ):
                yield entry

    def _smallest(self, entries: Iterator[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        kept: list[os.DirEntry[str]] = []
        for entry in entries:
            kept.append(entry)
            if len(kept) > 2 * self.room:
                kept = heapq.nsmallest(self.room, kept, key=_name)
                self.budget.spent["files"] = None
        kept.sort(key=_name)
        if len(kept) > self.room:
            self.budget.spent["files"] = None
        return kept[: self.room]

    def _first_name(self, prefix: str) -> str | None:
        # The name in this directory with which to go on after `self.after`, if that lies below it.
        if self.after is None or not self.after.startswith(prefix):
            return None
        return self.after[len(prefix) :].partition("/")[0]

    def _is_resumed(self, path: str) -> bool:
        # The entry that a page ended with, and its parents, were given already.
        return self.after is not None and (self.after + "/").startswith(path + "/")


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
