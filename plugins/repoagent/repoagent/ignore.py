"""Which paths are hidden: .gitignore files as git reads them, the operator's globs, secrets.

Owns the rules and their order; every verb asks here. Agrees with `git check-ignore --no-index` for
.gitignore files and .git/info/exclude inside the root; what lies outside the root (a parent's
.gitignore, the user's global excludes) cannot be read and does not count. Opens files through
`jail` only.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from repoagent import faults, jail, wildmatch
from repoagent.paths import is_protected

if TYPE_CHECKING:
    from repoagent.jail import Root

SECRETS = (".env*", "*.pem", "id_*")
"""Hidden unless `ignoreGlobs` brings one back, e.g. `!id_helpers.py`."""

MAX_IGNORE_FILE = 1024 * 1024
_WILD = re.compile(r"[*?\[\\]")
_EXACT_ENDS = ("(?:(?P<ps_d>/)|$)", "(?P<ps_d>/)")


class _Verdict(NamedTuple):
    number: int  # its place in the file: of the patterns that match, the last counts
    ignored: bool
    directories_only: bool


class _Other(NamedTuple):
    verdict: _Verdict
    test: Callable[[str, str, bool], bool]


class Rules:
    """The patterns of one ignore file (or list of globs), all relative to one directory.

    Git matches bytes, so that `?` is half an `é`: patterns and paths are compared as bytes here,
    held in strings of one character a byte.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._names: dict[str, list[_Verdict]] = {}
        self._paths: dict[str, list[_Verdict]] = {}
        self._suffixes: list[tuple[str, _Verdict]] = []
        self._prefixes: list[tuple[str, _Verdict]] = []
        self._others: list[_Other] = []
        for number, line in enumerate(lines):
            self._add(number, _as_bytes(line))
        self._others.reverse()
        self._endings = tuple(suffix for suffix, _ in self._suffixes)
        self._beginnings = tuple(prefix for prefix, _ in self._prefixes)

    def __bool__(self) -> bool:
        return bool(self._names or self._paths or self._suffixes or self._prefixes or self._others)

    def match(self, path: str, name: str, is_directory: bool) -> bool | None:
        """True: ignored; False: brought back by a `!` pattern; None: nothing says anything.

        `path` is relative to the directory of these rules, `name` its last component. Only the
        path itself is judged; whoever walks down judges each parent before its children.
        """
        if not path.isascii():
            path, name = _as_bytes(path), _as_bytes(name)
        best: _Verdict | None = None
        for verdicts in (self._names.get(name), self._paths.get(path)):
            best = _last(best, verdicts or (), is_directory)
        if self._endings and name.endswith(self._endings):
            found = [v for suffix, v in self._suffixes if name.endswith(suffix)]
            best = _last(best, found, is_directory)
        if self._beginnings and name.startswith(self._beginnings):
            found = [v for prefix, v in self._prefixes if name.startswith(prefix)]
            best = _last(best, found, is_directory)
        for verdict, test in self._others:
            if best is not None and best.number > verdict.number:
                break
            if (is_directory or not verdict.directories_only) and test(path, name, is_directory):
                best = verdict
                break
        return None if best is None else best.ignored

    def _add(self, number: int, line: str) -> None:
        body = _trim(line)
        if not body or body.startswith("#"):
            return
        pattern = body
        negated = body.startswith("!")
        body = body[negated:]
        directories_only = body.endswith("/")
        if directories_only:
            body = body[:-1]
        if not body:
            return
        verdict = _Verdict(number, not negated, directories_only)
        anchored = "/" in body
        body = body[body.startswith("/") :]
        if not _WILD.search(body):
            table = self._paths if anchored else self._names
            table.setdefault(body, []).append(verdict)
        elif body[0] == "*" and not anchored and not _WILD.search(body, 1):
            self._suffixes.append((body[1:], verdict))
        elif body[-1] == "*" and not anchored and not _WILD.search(body[:-1]):
            self._prefixes.append((body[:-1], verdict))
        else:
            test = _translate(pattern, body, anchored)
            if test is not None:
                self._others.append(_Other(verdict, test))


def _as_bytes(text: str) -> str:
    return text if text.isascii() else os.fsencode(text).decode("latin-1")


def _last(best: _Verdict | None, found: Iterable[_Verdict], is_directory: bool) -> _Verdict | None:
    for verdict in found:
        fits = is_directory or not verdict.directories_only
        if fits and (best is None or verdict.number > best.number):
            best = verdict
    return best


def _trim(line: str) -> str:
    """A line as git reads it: no CR before the LF, no trailing spaces unless escaped."""
    line = line[:-1] if line.endswith("\r") else line
    bare = line.rstrip(" ")
    if len(bare) == len(line):
        return line
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if backslashes % 2 else bare


def _translate(pattern: str, body: str, anchored: bool) -> Callable[[str, str, bool], bool] | None:
    if _is_tame(body):
        regex = _by_pathspec(pattern)
        if regex is not None:
            whole = regex.fullmatch
            return lambda path, name, is_dir: whole(path + "/" if is_dir else path) is not None
    segments = wildmatch.compile_segments(body)
    if segments is None:
        return None
    if anchored:
        return lambda path, name, is_dir: segments(path.split("/"))
    return lambda path, name, is_dir: segments([name])


def _is_tame(body: str) -> bool:
    # At most two wildcards: the regular expression's work stays quadratic in the path's length.
    # Brackets and escapes go to wildmatch, since pathspec reads POSIX classes otherwise than git,
    # and spaces at the ends, since it strips a tab that git keeps.
    return body.count("*") <= 2 and "[" not in body and "\\" not in body and body == body.strip()


@functools.lru_cache(maxsize=4096)
def _by_pathspec(pattern: str) -> re.Pattern[str] | None:
    # None where pathspec's expression would also match what lies below the path.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source, _ = GitIgnoreSpecPattern.pattern_to_regex(pattern)
            if not isinstance(source, str) or not source.startswith("^"):
                return None
            return re.compile(source, re.DOTALL) if source.endswith(_EXACT_ENDS) else None
    except (ValueError, re.error, Warning):
        return None


class Level(NamedTuple):
    """The rules of one directory; `base` is "" or the directory's path with a slash at its end."""

    base: str
    rules: Rules


class Policy:
    """What is hidden in every root: what is protected, secrets and the operator's globs."""

    def __init__(self, ignore_globs: Sequence[str] = ()) -> None:
        self._operator = Rules([*SECRETS, *ignore_globs])
        self._secrets = Rules(SECRETS)

    def why_hidden(
        self, path: str, name: str, is_directory: bool, levels: Sequence[Level]
    ) -> str | None:
        """Why a path whose parents are all visible is hidden, as half a sentence, or None."""
        if is_protected(name):
            return "git's and the workbench's own files are never opened"
        if self._operator.match(path, name, is_directory):
            if self._secrets.match(path, name, is_directory):
                return "its name is one that secrets have; `!` and its name in ignoreGlobs shows it"
            return "ignoreGlobs hides it"
        for base, rules in reversed(levels):
            verdict = rules.match(path[len(base) :], name, is_directory)
            if verdict is not None:
                return "a .gitignore hides it" if verdict else None
        return None

    def levels_for(self, root: Root, directory: str) -> list[Level]:
        """The ignore files from the root down to `directory` (clean, links resolved)."""
        levels: list[Level] = []
        at = ""
        for part in ["", *directory.split("/")] if directory else [""]:
            at = f"{at}/{part}".lstrip("/")
            fd = root.open_directory(at)
            try:
                levels += level_of(fd, at)
            finally:
                os.close(fd)
        return levels

    def check(self, root: Root, path: str, is_directory: bool) -> None:
        """Raises `Forbidden` where `path` (clean) or one of its parents is hidden."""
        if not path:
            return
        levels: list[Level] = []
        parts = path.split("/")
        for number, name in enumerate(parts):
            parent = "/".join(parts[:number])
            fd = root.open_directory(parent)
            try:
                levels += level_of(fd, parent)
            finally:
                os.close(fd)
            here = "/".join(parts[: number + 1])
            last = number == len(parts) - 1
            why = self.why_hidden(here, name, is_directory or not last, levels)
            if why is not None:
                raise faults.hidden(path, why)


def level_of(dir_fd: int, directory: str) -> list[Level]:
    """The rules that lie in a directory: .git/info/exclude first, since .gitignore outweighs it."""
    lines = _lines_of(dir_fd, ".git/info/exclude") + _lines_of(dir_fd, ".gitignore")
    rules = Rules(lines) if lines else None
    return [Level(f"{directory}/" if directory else "", rules)] if rules else []


def _lines_of(dir_fd: int, path: str) -> list[str]:
    try:
        if "/" in path:
            fd = jail.open_beneath(dir_fd, path, jail.FILE | os.O_NOFOLLOW)
        else:
            fd = jail.open_entry(dir_fd, path, jail.FILE)
    except OSError:
        return []
    try:
        if jail.kind_of(os.fstat(fd).st_mode) != "file":
            return []
        data = read_all(fd, MAX_IGNORE_FILE)
    except OSError:
        return []
    finally:
        os.close(fd)
    return os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n")


def read_all(fd: int, limit: int, size: int = 0) -> bytes:
    """At most `limit` bytes from where `fd` stands; `size`, where known, spares a second look."""
    data = os.read(fd, limit)
    if len(data) in (limit, size, 0):
        return data
    pieces = [data]
    left = limit - len(data)
    while left and (data := os.read(fd, left)):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)
