"""A plug-in's stdout and stderr: from raw bytes to lines that are safe to show.

Owns cutting into lines, the cap on their length, decoding and removal of terminal control
sequences; and a reader that drains a pipe from an event loop. Does not own where lines go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable

READ_BYTES = 64 * 1024
LINE_BYTES = 16 * 1024
"""Bytes that a line may have; of a longer one the rest is counted, not kept."""

_log = logging.getLogger(__name__)

_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, links, clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"  # any other escape
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # single controls; tab and newline stay
)
_SUSPICIOUS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` without terminal sequences and control characters other than tab and newline."""
    return _CONTROL.sub("", text) if _SUSPICIOUS.search(text) else text


class Lines:
    """Cuts a byte stream into lines.

    Of what a carriage return overwrites the last is kept, as on a terminal: a progress bar is one
    line.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        first = data.find(b"\n")
        if first < 0:
            self._extend(data)
            return []
        self._extend(data[:first])
        lines = [self._finish()]
        last = data.rfind(b"\n")
        if last > first:
            lines.extend(_decode(data[first + 1 : last]))
        self._extend(data[last + 1 :])
        return lines

    def end(self) -> list[str]:
        """The last line, if it had no newline."""
        return [self._finish()] if self._rest or self._cut else []

    def _extend(self, part: bytes) -> None:
        rest = self._rest
        rest += part
        # One carriage return may be the first half of an end of line.
        overwritten = rest.rstrip(b"\r").rfind(b"\r")
        if overwritten >= 0:
            del rest[: overwritten + 1]
            self._cut = 0
        if len(rest) > LINE_BYTES:
            self._cut += len(rest) - LINE_BYTES
            # What was cut may have ended in a carriage return that the next part needs.
            del rest[LINE_BYTES:]

    def _finish(self) -> str:
        line = _one(bytes(self._rest), self._cut)
        self._rest.clear()
        self._cut = 0
        return line


def _one(line: bytes, cut: int = 0) -> str:
    line = line.rstrip(b"\r")
    line = line[line.rfind(b"\r") + 1 :]
    if len(line) > LINE_BYTES:
        cut += len(line) - LINE_BYTES
        line = line[:LINE_BYTES]
    text = clean(line.decode("utf-8", "replace"))
    return f"{text}…[+{cut} bytes]" if cut else text


def _decode(block: bytes) -> list[str]:
    """Complete lines at once: a flood costs little per line."""
    if b"\r" in block or (len(block) > LINE_BYTES and _has_long(block)):
        return [_one(line) for line in block.split(b"\n")]
    return clean(block.decode("utf-8", "replace")).split("\n")


def _has_long(block: bytes) -> bool:
    return max(map(len, block.split(b"\n"))) > LINE_BYTES


class Drain:
    """Reads one pipe for as long as it has a writer, and gives its lines away.

    Parameters: `fd` is owned from here on and closed at the end. `on_lines` is called in the loop.
    """

    def __init__(self, fd: int, on_lines: Callable[[list[str]], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lines = Lines()
        self._on_lines = on_lines
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._give(self._lines.feed(data))
        else:
            self.close()

    def close(self) -> None:
        """Stop reading and give the last partial line; a second call does nothing."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._give(self._lines.end())
        if not self.ended.done():
            self.ended.set_result(None)

    def _give(self, lines: list[str]) -> None:
        if lines:
            try:
                self._on_lines(lines)
            except Exception:
                # The pipe has to be drained whatever becomes of its lines.
                _log.exception("lines of a plug-in could not be taken")
