"""`repo.search`: find text in files, the best hits first.

Owns which files are looked at, how lines are found, and the bounds. Ranking is `rank`'s, regular
expressions `matcher`'s, walking `walk`'s. Bytes are searched first; only lines that hit are
decoded, and only hits that stay among the best get their text and context.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from repoagent import faults, jail, notebook, paths, rank
from repoagent.ignore import Policy, Rules, read_all
from repoagent.jail import Root
from repoagent.matcher import BadPattern, Lines, Matcher, TooSlow, compile_pattern, match_lines
from repoagent.shapes import Hit, SearchQuery, SearchResult, Skipped
from repoagent.walk import Budget, Item, Walk

MAX_LINE = 400
"""Characters of a line that a hit shows."""
_LEAD = 80
_HEAD = 8192
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_PLAIN = re.compile(rb"[A-Za-z0-9_ .,:;()\[\]{}=+*-]+")


@dataclass(frozen=True)
class Limits:
    """The bounds of one search. Notebooks may be larger: their outputs are left aside."""

    files: int = 20_000
    file_bytes: int = 1024 * 1024
    notebook_bytes: int = 8 * 1024 * 1024
    seconds: float = 10.0
    regex_seconds: float = 2.0
    batch_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Text:
    """Something to search: a file, or one cell of a notebook."""

    path: str
    data: bytes
    mtime: int
    cell: int | None = None
    cell_type: str | None = None


def search(
    root: Root,
    query: SearchQuery,
    policy: Policy,
    *,
    limits: Limits = Limits(),
    now_ms: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Every matching line below `query.path`, ranked; the best `query.limit` are given.

    `truncatedBy` names what kept it from being complete: hits (there are more than the limit),
    files, time, depth, regex (its time was up), cancelled. Raises the refusals of `faults`.
    """
    return _Search(root, query, policy, limits, now_ms, cancelled).run()


class _Search:
    def __init__(
        self,
        root: Root,
        query: SearchQuery,
        policy: Policy,
        limits: Limits,
        now_ms: int | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self.root, self.query, self.policy, self.limits = root, query, policy, limits
        self.now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        self.begun = time.perf_counter()
        self.budget = Budget(time.monotonic() + limits.seconds, cancelled=cancelled)
        self.skipped = Skipped()
        self.scanned = self.files = self.matches = 0
        self._last_file: str | None = None
        self._best: list[tuple[float, int, Hit]] = []
        self._order = 0
        if "\n" in query.query or "\0" in query.query:
            raise faults.bad_param("query", "must lie within one line, without NUL")

    def run(self) -> SearchResult:
        find = self._regex if self.query.regex else self._literal
        find()
        best = [hit for _, _, hit in sorted(self._best, key=lambda b: b[:2], reverse=True)]
        if self.matches > len(best):
            self.budget.spent["hits"] = None
        return SearchResult(
            root=self.root.name,
            hits=best,
            matches=self.matches,
            files=self.files,
            scanned=self.scanned,
            skipped=self.skipped,
            truncated=bool(self.budget.spent),
            truncated_by=list(self.budget.spent),
            engine="python",
            elapsed_ms=round((time.perf_counter() - self.begun) * 1000, 1),
        )

    # -- what is looked at ----------------------------------------------------------------------
    def _texts(self) -> Generator[_Text, None, None]:
        path = paths.clean(self.query.path, percent=self.query.path_encoding == "percent")
        single = self._single_file(path)
        if single is not None:
            yield from single
            return
        walk = Walk(
            self.root,
            self.policy,
            self.budget,
            path,
            room=self.limits.files,
            wanted=_Globs(self.query.include, self.query.exclude),
        )
        with contextlib.closing(iter(walk)) as items:
            for item in items:
                if item.is_directory or not item.entry.is_file(follow_symlinks=False):
                    continue
                if self.scanned >= self.limits.files:
                    self.budget.spent["files"] = None
                    return
                yield from self._open_item(item)

    def _single_file(self, path: str) -> Iterator[_Text] | None:
        """The texts of `path` where it is a file, else None."""
        if not path:
            return None
        fd = self.root.open(path, jail.FILE)
        try:
            is_file = jail.kind_of(os.fstat(fd).st_mode) == "file"
            if is_file:
                self.policy.check(self.root, path, False)
                real = self.root.real_path(fd, path)
                if real != path:
                    self.policy.check(self.root, real, False)
        except BaseException:
            os.close(fd)
            raise
        if not is_file:
            os.close(fd)
            return None
        return iter(list(self._read(fd, path)))

    def _open_item(self, item: Item) -> Iterator[_Text]:
        try:
            fd = jail.open_entry(item.dir_fd, item.entry.name, jail.FILE)
        except OSError:
            self.skipped.unreadable += 1
            return
        yield from self._read(fd, item.path)

    def _read(self, fd: int, path: str) -> Iterator[_Text]:
        """Read, judge and close; nothing for what is not text."""
        is_notebook = path.endswith(".ipynb")
        limit = self.limits.notebook_bytes if is_notebook else self.limits.file_bytes
        try:
            status = os.fstat(fd)
            data = b""
            if jail.kind_of(status.st_mode) == "file" and status.st_size <= limit:
                data = read_all(fd, limit + 1, status.st_size)
        except OSError:
            self.skipped.unreadable += 1
            return
        finally:
            os.close(fd)
        if status.st_size > limit or len(data) > limit:
            self.skipped.large += 1
            return
        self.scanned += 1
        mark = data[:2]
        if mark in _UTF16:
            data = data[2:].decode(_UTF16[mark], "replace").encode("utf-8", "replace")
        elif data.find(b"\0", 0, _HEAD) >= 0:
            self.scanned -= 1
            self.skipped.binary += 1
            return
        mtime = status.st_mtime_ns // 1_000_000
        cells = notebook.cells(data) if is_notebook and self._may_hold(data) else None
        if cells is None:
            if not is_notebook or len(data) <= self.limits.file_bytes:
                yield _Text(path, data, mtime)
            return
        for number, (kind, source) in enumerate(cells):
            yield _Text(path, source, mtime, number, kind)

    def _may_hold(self, data: bytes) -> bool:
        # JSON escapes quotes and some other characters, so only a plain query can rule one out.
        wanted = self.query.query.encode()
        if self.query.regex or not self.query.case or not _PLAIN.fullmatch(wanted):
            return True
        return wanted in data

    # -- how lines are found --------------------------------------------------------------------
    def _literal(self) -> None:
        query = self.query
        wanted = query.query.encode()
        needs_text = not query.case and not query.query.isascii()
        checks = needs_text or query.word or not query.case
        pattern = compile_pattern(re.escape(query.query), query.case, query.word)
        if not query.case:
            wanted = wanted.lower()
        for text in self._texts():
            if needs_text:
                self._take(text, match_lines(pattern, text.data))
                continue
            data = text.data if query.case else text.data.lower()
            if wanted in data:
                self._scan(text, data, wanted, pattern if checks else None)

    def _scan(
        self, text: _Text, data: bytes, wanted: bytes, pattern: re.Pattern[str] | None
    ) -> None:
        at = number = counted = 0
        while (at := data.find(wanted, at)) >= 0:
            begin = data.rfind(b"\n", 0, at) + 1
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            number += data.count(b"\n", counted, begin)
            counted = begin
            line = _decode(text.data[begin:end])
            if pattern is None:
                start = line.find(self.query.query)
                stop = start + len(self.query.query)
            else:
                match = pattern.search(line)
                start, stop = match.span() if match else (-1, -1)
            if start >= 0:
                self._hit(text, line, number, start, stop, begin, end)
                if self.matches % 256 == 0 and self.budget.is_over():
                    return
            at = end + 1

    def _regex(self) -> None:
        query = self.query
        try:
            matcher = Matcher(
                query.query,
                case=query.case,
                word=query.word,
                seconds=self.limits.regex_seconds,
            )
        except BadPattern as error:
            raise faults.bad_param("query", f"is not a regular expression: {error}") from None
        except TooSlow:
            self.budget.spent["regex"] = None
            return
        batch: list[_Text] = []
        size = 0
        with contextlib.closing(matcher), contextlib.closing(self._texts()) as texts:
            try:
                for text in texts:
                    batch.append(text)
                    size += len(text.data)
                    if size >= self.limits.batch_bytes or len(batch) >= 256:
                        self._match(matcher, batch)
                        batch, size = [], 0
                self._match(matcher, batch)
            except TooSlow:
                self.budget.spent["regex"] = None

    def _match(self, matcher: Matcher, batch: list[_Text]) -> None:
        if batch:
            for text, lines in zip(batch, matcher.match([t.data for t in batch]), strict=True):
                self._take(text, lines)

    def _take(self, text: _Text, lines: Lines) -> None:
        at = counted = 0
        for number, start, stop in lines:
            while counted < number:
                at = text.data.find(b"\n", at) + 1
                counted += 1
            end = text.data.find(b"\n", at)
            end = len(text.data) if end < 0 else end
            self._hit(text, _decode(text.data[at:end]), number, start, stop, at, end)

    # -- what is kept ---------------------------------------------------------------------------
    def _hit(
        self, text: _Text, line: str, number: int, start: int, stop: int, begin: int, end: int
    ) -> None:
        """Count a hit on line `number` (from 0, bytes [begin, end)), and keep it if it is good."""
        self.matches += 1
        if text.path != self._last_file:
            self._last_file = text.path
            self.files += 1
        kind = rank.kind_of(line, start, stop)
        is_named = rank.names_match(text.path, self.query.query)
        score = rank.score(kind, is_named, text.mtime, self.now_ms)
        self._order -= 1
        if len(self._best) >= self.query.limit and (score, self._order) <= self._best[0][:2]:
            return
        shown, percent = paths.show(text.path)
        first = 0 if len(line) <= MAX_LINE else max(0, min(start - _LEAD, len(line) - MAX_LINE))
        context = self.query.context_lines
        hit = Hit(
            path=shown,
            line=number + 1,
            column=start + 1,
            end_column=stop + 1,
            text=line[first : first + MAX_LINE],
            text_column=first + 1,
            score=round(score, 3),
            kind="name" if is_named and kind != "definition" else kind,
            before=_before(text.data, begin, context),
            after=_after(text.data, end, context),
            cell=text.cell,
            cell_type=text.cell_type,
            path_encoding="percent" if percent else None,
        )
        entry = (score, self._order, hit)
        if len(self._best) < self.query.limit:
            heapq.heappush(self._best, entry)
        else:
            heapq.heapreplace(self._best, entry)


class _Globs:
    """`include` and `exclude`: what a search looks at, beside what is hidden anyway."""

    def __init__(self, include: list[str], exclude: list[str]) -> None:
        self._include = Rules(include) if include else None
        self._exclude = Rules(exclude)

    def __call__(self, path: str, name: str, is_directory: bool, /) -> bool:
        if self._exclude and self._exclude.match(path, name, is_directory):
            return False
        if self._include is None or is_directory:
            return True
        # A glob that matches a directory takes in all that lies below it; the nearest word counts.
        verdict = self._include.match(path, name, False)
        while verdict is None and path:
            path = path.rpartition("/")[0]
            verdict = self._include.match(path, path.rpartition("/")[2], True)
        return verdict is True


def _decode(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return text[:-1] if text.endswith("\r") else text


def _cut(line: bytes) -> str:
    text = _decode(line[: 4 * MAX_LINE])
    return text[:MAX_LINE]


def _before(data: bytes, begin: int, count: int) -> list[str]:
    lines: list[str] = []
    while begin > 0 and len(lines) < count:
        previous = data.rfind(b"\n", 0, begin - 1) + 1
        lines.append(_cut(data[previous : begin - 1]))
        begin = previous
    return lines[::-1]


def _after(data: bytes, end: int, count: int) -> list[str]:
    lines: list[str] = []
    while end < len(data) - 1 and len(lines) < count:
        following = data.find(b"\n", end + 1)
        following = len(data) if following < 0 else following
        lines.append(_cut(data[end + 1 : following]))
        end = following
    return lines
