"""A plug-in's log on disk: JSON lines in files of bounded size, the oldest given up.

Owns the files `<name>.jsonl`, `<name>.1.jsonl` and so on, their rotation and their mending after a
crash. One thread writes; others read through `Segment`. Does not own what a line says.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 10 * 1024 * 1024
FILES = 5
MOST_FILES = 100

_SEQ = re.compile(rb'\A\{"seq":([0-9]+),')
_TAIL = 256 * 1024
"""More than the longest line can have."""


@dataclass(eq=False)
class Segment:
    """One file. `size` is the end of its last whole line, `last_seq` that line's number."""

    path: Path
    size: int
    last_seq: int


@dataclass
class Written:
    """What came of a write: lines written, the last number given up by rotation, what failed."""

    count: int = 0
    given_up: int | None = None
    error: OSError | None = None


class LogFile:
    """The files of one plug-in in `folder`, newest first in name, oldest first in `segments`."""

    def __init__(
        self, folder: Path, name: str, *, file_bytes: int = FILE_BYTES, files: int = FILES
    ) -> None:
        self.name = name
        self._folder = folder
        self._file_bytes = file_bytes
        self._files = files
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._segments = [
            segment
            for number in reversed(range(files))
            if (segment := _read_segment(self._path(number)))
        ]
        self.given_up = self._give_up_beyond()
        """The last number that was given up since fewer files are kept than before; None: none."""

    def _give_up_beyond(self) -> int | None:
        last = None
        for number in range(self._files, MOST_FILES):
            if segment := _read_segment(self._path(number)):
                last = max(last or 0, segment.last_seq)
                segment.path.unlink(missing_ok=True)
        return last

    def _path(self, number: int) -> Path:
        return self._folder / (f"{self.name}.{number}.jsonl" if number else f"{self.name}.jsonl")

    @property
    def last_seq(self) -> int:
        """The number of the newest line; 0 when there is none."""
        return max((segment.last_seq for segment in self._segments), default=0)

    def write(self, lines: list[bytes], seqs: list[int]) -> Written:
        """Append whole lines, each ending in a newline, numbered `seqs`; rotates between lines.

        Never raises for what the system refuses, and never leaves a part of a line.
        """
        written = Written()
        try:
            self._write(lines, seqs, written)
        except OSError as error:
            written.error = error
        return written

    def _write(self, lines: list[bytes], seqs: list[int], written: Written) -> None:
        while (start := written.count) < len(lines):
            segment = self._current()
            end, room = start, self._file_bytes - segment.size
            while end < len(lines) and (room := room - len(lines[end])) >= 0:
                end += 1
            if end == start and segment.size:
                self._rotate(written)
                continue
            end = max(end, start + 1)
            self._append(segment, b"".join(lines[start:end]), seqs[end - 1])
            written.count = end

    def _current(self) -> Segment:
        current = self._path(0)
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(current, flags, 0o600)
        if not self._segments or self._segments[-1].path != current:
            with self._lock:
                self._segments.append(Segment(current, 0, 0))
        return self._segments[-1]

    def _append(self, segment: Segment, data: bytes, last_seq: int) -> None:
        assert self._descriptor is not None
        view, written = memoryview(data), 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, segment.size)
            self._close_descriptor()
            raise
        segment.last_seq = last_seq
        segment.size += written

    def _rotate(self, written: Written) -> None:
        """Make room for a new file, giving up the oldest."""
        self._close_descriptor()
        with self._lock:
            while len(self._segments) >= self._files:
                oldest = self._segments[0]
                oldest.path.unlink(missing_ok=True)
                written.given_up = oldest.last_seq
                del self._segments[0]
            for number, segment in zip(
                range(len(self._segments), 0, -1), self._segments, strict=True
            ):
                target = self._path(number)
                if segment.path != target:
                    os.replace(segment.path, target)
                    segment.path = target

    def _close_descriptor(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None

    def close(self) -> None:
        """Close the file; the next `write` opens it again."""
        self._close_descriptor()

    # For readers

    def segments(self) -> list[Segment]:
        """The files, oldest first."""
        with self._lock:
            return list(self._segments)

    def read(self, segment: Segment, offset: int, limit: int) -> bytes:
        """Whole lines of a segment from `offset` on: `limit` bytes, or more where a line is longer.

        Empty at its end, or when the file was given up meanwhile.
        """
        with self._lock:
            if segment not in self._segments:
                return b""
            try:
                descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                return b""
        try:
            data = os.pread(descriptor, min(max(limit, _TAIL), segment.size - offset), offset)
        finally:
            os.close(descriptor)
        return data[: data.rfind(b"\n") + 1]


def _read_segment(path: Path) -> Segment | None:
    """The file at `path`, mended: a line that a crash left unfinished is cut off."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size - _TAIL)
        tail = os.pread(descriptor, size - start, start)
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            os.ftruncate(descriptor, start + whole)
        lines = tail[:whole].splitlines()
        found = (_SEQ.match(line) for line in reversed(lines))
        last = next((int(match[1]) for match in found if match), 0)
        return Segment(path, start + whole, last)
    finally:
        os.close(descriptor)


def names_in(folder: Path) -> list[str]:
    """The plug-ins that have a log in `folder`."""
    found = {entry.name.split(".")[0] for entry in folder.glob("*.jsonl")}
    return sorted(found)
