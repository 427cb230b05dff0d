"""A regular expression at work in a process of its own, which can be killed.

Owns both ends: `Matcher` (in the plug-in) and `serve` (in the child, started by path and on the
standard library alone). Python's `re` can take for ever on a hostile pattern and holds the
interpreter while it does; here only the child hangs, and only until its time is up.

Frames: a 4-byte length, then the bytes. First the pattern and flags; then, for each batch, the
number of texts and the texts, answered by the matching lines of each.
"""

from __future__ import annotations

import marshal
import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

Lines = list[tuple[int, int, int]]
"""Of each line that matches: its number from 0, and where its first match begins and ends."""

MAX_LINES = 10_000
"""Matching lines a text that are looked at."""
_MEMORY = 1024 * 1024 * 1024


class BadPattern(ValueError):
    """The pattern does not compile; the message says why."""


class TooSlow(Exception):
    """The pattern used up its time and its process was killed."""


class Matcher:
    """A child that matches one pattern. `seconds` is its time for each thing that it is asked."""

    def __init__(
        self,
        pattern: str,
        *,
        case: bool,
        word: bool,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `BadPattern`, or `TooSlow` where already compiling it takes too long."""
        self._seconds, self._clock = seconds, clock
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={"LC_ALL": "C.UTF-8"},
            close_fds=True,
        )
        try:
            # Starting an interpreter is not the pattern's fault: its time begins afterwards.
            self._ask(None, seconds=30.0)
            problem = self._ask((pattern, case, word))
            if problem is not None:
                raise BadPattern(problem)
        except BaseException:
            self.close()
            raise

    def match(self, texts: Sequence[bytes]) -> list[Lines]:
        """The matching lines of each text. Raises `TooSlow`; then nothing more can be asked."""
        found: list[Lines] = self._ask(list(texts))
        return found

    def close(self) -> None:
        """End the child; a second call does nothing."""
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, question: Any, seconds: float | None = None) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise TooSlow
        try:
            _write(stdin, question)
            deadline = self._clock() + (seconds or self._seconds)
            head = self._read(stdout, 4, deadline)
            answer = self._read(stdout, struct.unpack("<I", head)[0], deadline)
        except (EOFError, BrokenPipeError):
            # It ran into its limit of memory or processor time.
            self.close()
            raise TooSlow from None
        return marshal.loads(answer)

    def _read(self, pipe: IO[bytes], size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            left = deadline - self._clock()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                self.close()
                raise TooSlow
            piece = pipe.read(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


def _write(pipe: IO[bytes], value: Any) -> None:
    data = marshal.dumps(value)
    frame = memoryview(struct.pack("<I", len(data)) + data)
    while frame:
        frame = frame[pipe.write(frame) :]
    pipe.flush()


def compile_pattern(pattern: str, case: bool, word: bool) -> re.Pattern[str]:
    """The pattern that both engines look for, line by line. Raises `re.error`."""
    source = rf"(?<!\w)(?:{pattern})(?!\w)" if word else pattern
    return re.compile(source, 0 if case else re.IGNORECASE)


_UNSURE = re.compile(r"\\[ABZ]|\(\?(?![:P])|\(\?P[=>]|[*+?}]\+")


def compile_sieve(pattern: str, case: bool) -> re.Pattern[str] | None:
    """A pattern that finds something in every text of which a line matches; None if unsure.

    What a line holds is also found in the whole text, unless the pattern looks around, is anchored
    to the text's ends, or keeps what it has swallowed (which could be a newline).
    """
    if _UNSURE.search(pattern):
        return None
    return re.compile(pattern, re.MULTILINE | (0 if case else re.IGNORECASE))


def sift(
    pattern: re.Pattern[str], sieve: re.Pattern[str] | None, texts: Sequence[bytes]
) -> list[Lines]:
    """`match_lines` of each text; one in which the sieve finds nothing is not split into lines."""
    found: list[Lines] = []
    for text in texts:
        if sieve is None or b"\r" in text or sieve.search(text.decode("utf-8", "replace")):
            found.append(match_lines(pattern, text))
        else:
            found.append([])
    return found


def match_lines(pattern: re.Pattern[str], text: bytes) -> Lines:
    """The lines of `text` that match, at most `MAX_LINES`."""
    search = pattern.search
    found: Lines = []
    for number, line in enumerate(text.decode("utf-8", "replace").split("\n")):
        match = search(line[:-1] if line.endswith("\r") else line)
        if match is not None:
            found.append((number, match.start(), match.end()))
            if len(found) >= MAX_LINES:
                break
    if found and (not text or text.endswith(b"\n")) and found[-1][0] == text.count(b"\n"):
        found.pop()  # what follows the last newline is not a line
    return found


def serve() -> None:
    """The child's life: a greeting, the pattern, then batches until the pipe closes."""
    import resource
    import warnings

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    compiled: re.Pattern[str] | None = None
    sieve: re.Pattern[str] | None = None
    while head := stdin.read(4):
        question = marshal.loads(stdin.read(struct.unpack("<I", head)[0]))
        if question is None:
            answer: Any = None
        elif compiled is None:
            answer = None
            try:
                compiled = compile_pattern(*question)
                sieve = compile_sieve(*question[:2])
            except (re.error, RecursionError, OverflowError, MemoryError) as error:
                answer = str(error) or type(error).__name__
        else:
            answer = sift(compiled, sieve, question)
        _write(stdout, answer)


if __name__ == "__main__":
    serve()
