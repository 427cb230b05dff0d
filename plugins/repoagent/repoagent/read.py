"""`repo.file.read`: a file or a range of it, what its text is encoded as, and its etag.

Owns ranges, decoding and etags. Bytes are never changed on the way: line ends stay, and a text
that is not what it claims says so (`encoding: "lossy"`).
"""

from __future__ import annotations

import codecs
import hashlib
import os
from dataclasses import dataclass

from repoagent import faults, paths
from repoagent.ignore import Policy, read_all
from repoagent.jail import Root
from repoagent.shapes import ReadQuery, ReadResult

MAX_TEXT = 1024 * 1024
"""Bytes of text in one answer."""
WHOLE = 16 * 1024 * 1024
"""Bytes up to which a file is read whole: for a strong etag, and to count its lines."""
MAX_SCAN = 256 * 1024 * 1024
"""Bytes that are read at most to find a line in a larger file."""
_HEAD = 8192
_CHUNK = 1024 * 1024
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip


@dataclass
class _Part:
    """The bytes that were asked for: [start, start + len(data)) of the file."""

    data: bytes
    start: int
    first_line: int | None
    total_lines: int | None
    is_cut: bool


def read(root: Root, query: ReadQuery, policy: Policy) -> ReadResult:
    """The file's text, or the part that `query` asks for; at most `MAX_TEXT` bytes of it.

    A file with a NUL in its first 8 KiB (and no UTF-16 mark) is binary and comes without text.
    Raises the refusals of `faults`.
    """
    path = _path(query)
    fd, status = _open(root, path, policy)
    try:
        whole = read_all(fd, WHOLE + 1) if status.st_size <= WHOLE else None
        if whole is not None and len(whole) > WHOLE:
            whole = None  # it has grown since
        head = (whole if whole is not None else os.pread(fd, _HEAD, 0))[:_HEAD]
        mark, encoding = next(((m, e) for m, e in _BOMS if head.startswith(m)), (b"", "utf-8"))
        shown, percent = paths.show(path)
        result = ReadResult(
            root=root.name,
            path=shown,
            path_encoding="percent" if percent else None,
            text=None,
            encoding=None,
            binary=not encoding.startswith("utf-16") and b"\0" in head,
            truncated=False,
            lines=0,
            total_lines=None,
            start_line=None,
            end_line=None,
            start_byte=None,
            end_byte=None,
            size=len(whole) if whole is not None else status.st_size,
            mtime=status.st_mtime_ns // 1_000_000,
            etag=_etag(whole, status),
            nlink=status.st_nlink,
        )
        if not result.binary:
            part = _part(fd, whole, query, path, encoding)
            _fill(result, part, mark, encoding)
        return result
    finally:
        os.close(fd)


def _path(query: ReadQuery) -> str:
    by_line = query.start_line is not None or query.end_line is not None
    by_byte = query.start_byte is not None or query.end_byte is not None
    if by_line and by_byte:
        raise faults.bad_param("startByte", "cannot be combined with startLine or endLine")
    if query.end_line is not None and query.end_line < (query.start_line or 1):
        raise faults.bad_param("endLine", "lies before startLine")
    if query.end_byte is not None and query.end_byte < (query.start_byte or 0):
        raise faults.bad_param("endByte", "lies before startByte")
    path = paths.clean(query.path, percent=query.path_encoding == "percent")
    if not path:
        raise faults.not_kind(query.path, "a regular file", "a directory")
    return path


def _open(root: Root, path: str, policy: Policy) -> tuple[int, os.stat_result]:
    policy.check(root, path, False)
    fd, status = root.open_file(path)
    try:
        real = root.real_path(fd, path)
        if real != path:
            # A link inside the root must not show what its target's own name hides.
            policy.check(root, real, False)
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def _etag(whole: bytes | None, status: os.stat_result) -> str:
    if whole is not None:
        return f"sha256:{hashlib.sha256(whole).hexdigest()}"
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return f"stat:{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"


def _part(fd: int, whole: bytes | None, query: ReadQuery, path: str, encoding: str) -> _Part:
    newline = "\n".encode(encoding) if encoding.startswith("utf-16") else b"\n"
    if query.start_byte is not None or query.end_byte is not None:
        start = query.start_byte or 0
        wanted = MAX_TEXT + 1 if query.end_byte is None else query.end_byte - start
        size = min(wanted, MAX_TEXT + 1)
        data = os.pread(fd, size, start) if whole is None else whole[start : start + size]
        total = None if whole is None else _count(whole, newline)
        return _Part(data[:MAX_TEXT], start, None, total, len(data) > MAX_TEXT)
    first, last = query.start_line or 1, query.end_line
    if whole is None:
        if encoding.startswith("utf-16"):
            raise faults.bad_param("startLine", f"needs a file of at most {WHOLE} bytes in UTF-16")
        start = _find_line(fd, first, path)
        data = os.pread(fd, MAX_TEXT + 1, start)
        total = None
    else:
        start = _nth_line(whole, 0, first - 1, newline)
        data, total = whole[start : start + MAX_TEXT + 1], _count(whole, newline)
    if last is not None:
        end = _nth_line(data, 0, last - first + 1, newline)
        if end <= MAX_TEXT:
            return _Part(data[:end], start, first, total, False)
    return _Part(data[:MAX_TEXT], start, first, total, len(data) > MAX_TEXT)


def _nth_line(data: bytes, at: int, lines: int, newline: bytes) -> int:
    """Where, from `at`, `lines` lines end; the end of `data` if it has no more."""
    width = len(newline)
    while lines > 0:
        found = data.find(newline, at)
        while width == 2 and found > 0 and found % 2:
            found = data.find(newline, found + 1)
        if found < 0:
            return len(data)
        at = found + width
        lines -= 1
    return at


def _count(data: bytes, newline: bytes) -> int:
    """Lines of `data`, as `sed` counts: a last one without a newline counts too."""
    if len(newline) == 2:
        text = data.decode("utf-16-le" if newline[0] else "utf-16-be", "replace")
        text = text.removeprefix("\ufeff")
        return text.count("\n") + (bool(text) and not text.endswith("\n"))
    return data.count(newline) + (bool(data) and not data.endswith(newline))


def _find_line(fd: int, line: int, path: str) -> int:
    """Where line `line` begins; the file's end if it has fewer lines."""
    left, at = line - 1, 0
    while left > 0:
        if at >= MAX_SCAN:
            raise faults.bad_param(
                "startLine", f"lies beyond the first {MAX_SCAN} bytes of {path}; use startByte"
            )
        data = os.pread(fd, _CHUNK, at)
        if not data:
            break
        count = data.count(b"\n")
        if count < left:
            left -= count
            at += len(data)
            continue
        return at + _nth_line(data, 0, left, b"\n")
    return at


def _fill(result: ReadResult, part: _Part, mark: bytes, encoding: str) -> None:
    data, start = part.data, part.start
    end = start + len(data)
    if start == 0 and data.startswith(mark):
        data = data[len(mark) :]
    plain = "utf-8" if encoding == "utf-8-sig" else encoding
    decoder = codecs.getincrementaldecoder(plain)("strict")
    try:
        # Where the bound cut a character in two, the rest of it waits for the next read.
        text = decoder.decode(data, final=not part.is_cut)
        end -= len(decoder.getstate()[0])
    except UnicodeDecodeError:
        text, encoding = data.decode(plain, "replace"), "lossy"
    result.text, result.encoding = text, encoding
    result.truncated = part.is_cut
    result.total_lines = part.total_lines
    result.lines = text.count("\n") + (bool(text) and not text.endswith("\n"))
    result.start_byte, result.end_byte = start, end
    if part.first_line is not None and text:
        result.start_line = part.first_line
        result.end_line = part.first_line + result.lines - 1
