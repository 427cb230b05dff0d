"""The only way to the file system: roots opened once, everything else opened beneath them.

Owns the roots' descriptors and `open_beneath`, the one function that opens anything. The kernel
resolves a path beneath its root in one step (openat2 with RESOLVE_BENEATH), so there is no moment
between a check and its use; where openat2 is missing, each component is opened without following
links, and then links inside a root are refused too. Does not know ignore rules.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from repoagent import faults

FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags for a file: a pipe without a writer must not hold us up."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_RETRIES = 8


Kind = Literal["file", "directory", "symlink", "other"]


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Missing(Exception):
    """The kernel has no openat2, or a sandbox forbids it."""


def _openat2(dir_fd: int, path: bytes, flags: int) -> int:
    how = _How(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_RETRIES):
        fd = int(_libc.syscall(_OPENAT2, dir_fd, path, ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code in (errno.ENOSYS, errno.EPERM):
        raise _Missing
    raise OSError(code, os.strerror(code))


def _component_walk(dir_fd: int, path: bytes, flags: int) -> int:
    *parents, last = path.split(b"/")
    at = dir_fd
    try:
        for name in parents:
            deeper = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            if at != dir_fd:
                os.close(at)
            at = deeper
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=at)
    finally:
        if at != dir_fd:
            os.close(at)


_libc = ctypes.CDLL(None, use_errno=True)
has_openat2 = sys.platform == "linux"


def open_beneath(dir_fd: int, path: str, flags: int) -> int:
    """Open `path` (clean: `paths.clean`) beneath `dir_fd`; all opening goes through here.

    Raises OSError; EXDEV and ELOOP say that a link leads out, or (in the fallback) that there is a
    link at all.
    """
    raw = os.fsencode(path) or b"."
    if has_openat2:
        try:
            return _openat2(dir_fd, raw, flags)
        except _Missing:
            pass
    return _component_walk(dir_fd, raw, flags)


def open_entry(dir_fd: int, name: str, flags: int) -> int:
    """Open one name that was listed in `dir_fd`, never following a link. Raises OSError."""
    # One component, no link followed: plain openat cannot leave the directory and is quicker.
    return os.open(name, flags | os.O_NOFOLLOW, dir_fd=dir_fd)


class Root:
    """One workspace root. Keeps its descriptor until the last user has let go of it.

    `name` is how the settings call it, `path` where it is.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self._fd = -1
        self._problem: str | None = None
        try:
            self._fd = os.open(path, DIRECTORY)
        except OSError as error:
            self._problem = f"cannot be opened ({os.strerror(error.errno or 0).lower()})"
            return
        self._id = _identity(os.fstat(self._fd))
        self._where = self._location(self._fd)
        self._close = weakref.finalize(self, os.close, self._fd)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self._fd >= 0:
            self._close()

    @property
    def problem(self) -> str | None:
        """What is wrong with the root, or None. It is looked at anew each time."""
        if self._problem is not None:
            return self._problem
        try:
            there = os.stat(self.path)
        except OSError:
            return "is not there any more"
        return None if _identity(there) == self._id else "was replaced by another directory"

    def check(self) -> None:
        """Raises `CapabilityUnavailable` unless the root is the directory opened at the start."""
        problem = self.problem
        if problem is not None:
            raise faults.root_changed(self.name, problem)

    def open(self, path: str, flags: int) -> int:
        """A descriptor of what lies at `path` (clean). Raises the refusals of `faults`."""
        try:
            return self._open(path, flags)
        except OSError as error:
            raise _refusal(path, error) from None

    def open_file(self, path: str) -> tuple[int, os.stat_result]:
        """A descriptor of the regular file at `path`, and its status."""
        fd = self.open(path, FILE)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise faults.not_kind(path or ".", "a regular file", kind_sentence(status.st_mode))
        return fd, status

    def open_directory(self, path: str) -> int:
        """A descriptor of the directory at `path`."""
        try:
            return self._open(path, DIRECTORY)
        except OSError as error:
            if error.errno != errno.ENOTDIR:
                raise _refusal(path, error) from None
        fd, _ = self.open_file(path)
        os.close(fd)
        raise faults.not_kind(path, "a directory", "a regular file")

    def _open(self, path: str, flags: int) -> int:
        if self._where is None:
            # Without /proc nobody could tell where a link inside the root has led to.
            return _component_walk(self._fd, os.fsencode(path) or b".", flags)
        return open_beneath(self._fd, path, flags)

    def real_path(self, fd: int, path: str) -> str:
        """Where `fd`, opened as `path`, really lies beneath the root, links resolved.

        Raises `CapabilityUnavailable` where it was moved out meanwhile.
        """
        if not path or self._where is None:
            return path  # see _open: no link was followed
        where = self._location(fd)
        here = self._location(self._fd)
        if where is None or here is None or not (where + "/").startswith(here.rstrip("/") + "/"):
            raise faults.busy(path)
        return where[len(here.rstrip("/")) + 1 :]

    @staticmethod
    def _location(fd: int) -> str | None:
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            return None


class Jail:
    """The configured roots and which of them is meant when a request names none."""

    def __init__(self, roots: Iterable[str], default: str, base: Path) -> None:
        """`roots` as configured; relative ones and `~`-less paths count from `base`."""
        self.roots = [Root(name, base / name) for name in dict.fromkeys(roots)]
        self._default, self._base = default, base

    def root(self, name: str | None) -> Root:
        """The root called `name`, by its configured name or its path; checked to be in place."""
        if not self.roots:
            raise faults.no_root()
        wanted = name or self._default
        root = self.roots[0] if not wanted else self._find(wanted)
        root.check()
        return root

    def problems(self) -> list[str]:
        """A sentence for each root that cannot be used, and for a default that is none of them."""
        found = [f"root {r.name} {r.problem}" for r in self.roots if r.problem]
        if not self.roots:
            found.append("no workspace root is configured")
        elif self._default and not self._matches(self._default):
            found.append(f"defaultRoot {self._default} is not among workspaceRoots")
        return found

    def close(self) -> None:
        """Close every root."""
        for root in self.roots:
            root.close()

    def _matches(self, name: str) -> list[Root]:
        path = os.path.normpath(self._base / name) if "\0" not in name else None
        return [r for r in self.roots if r.name == name] or [
            r for r in self.roots if os.path.normpath(r.path) == path
        ]

    def _find(self, name: str) -> Root:
        found = self._matches(name)
        if not found:
            raise faults.unknown_root(name, [root.name for root in self.roots])
        return found[0]


def kind_of(mode: int) -> Kind:
    """file, directory, symlink or other."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def kind_sentence(mode: int) -> str:
    """What a file of this mode is, for a message."""
    names = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in names if test(mode)), "something else")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _refusal(path: str, error: OSError) -> Exception:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return faults.not_found(path or ".")
        case errno.EXDEV:
            return faults.outside(path)
        case errno.ELOOP:
            return faults.unreadable(
                path, "it is a symbolic link that is not followed, or a circle"
            )
        case errno.EAGAIN:
            return faults.busy(path)
        case errno.ENXIO | errno.ENODEV:
            return faults.not_kind(path, "a regular file", "a socket or a device")
        case errno.ENAMETOOLONG:
            return faults.bad_path(path, "it is too long")
    return faults.unreadable(path, os.strerror(error.errno or 0).lower())
