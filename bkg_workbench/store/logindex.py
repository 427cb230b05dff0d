"""The searchable index of the logs: a database of its own that can always be made anew.

Owns index.db and how it follows the files (`store.logfiles`), which are the truth: it reads on from
where it is, forgets what rotation gave up, and answers queries. Never the config database's
writer. Everything but `search` runs in this database's own writer thread.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import regex

from bkg_workbench.bus.clock import Clock
from bkg_workbench.errors import InvalidParams, StoreError
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.database import Database, Migration
from bkg_workbench.store.logfiles import LogFile, Segment
from bkg_workbench.store.logtext import LEVELS

ROUND_BYTES = 2 * 1024 * 1024
"""How much is read in one transaction."""
TEXT_ROWS = 1_000
"""How many rows enter the full-text index in one transaction, and leave the index in one."""
RECENT_ROWS = 4_000
"""How many of the newest rows are simply read through before the full-text index is asked."""
PAGE_ROWS = 2_000
REGEX_SECONDS = 2.0

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE records (
            id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL UNIQUE,
            at INTEGER NOT NULL, plugin TEXT NOT NULL, source TEXT NOT NULL,
            level INTEGER NOT NULL, message TEXT NOT NULL, timestamp TEXT)""",
        "CREATE INDEX records_plugin ON records (plugin, seq)",
        "CREATE INDEX records_bad ON records (seq) WHERE level >= 2",
        # Trigrams find any part of a word; without positions they cost half as much.
        """CREATE VIRTUAL TABLE texts USING fts5 (
            message, content='records', content_rowid='id', tokenize='trigram', detail='none')""",
        "CREATE TABLE positions (plugin TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
        "CREATE TABLE texts_position (id INTEGER NOT NULL)",
        "INSERT INTO texts_position VALUES (0)",
    ),
)

_INSERT = """
INSERT OR IGNORE INTO records (seq, at, plugin, source, level, message, timestamp)
SELECT value->>'seq', value->>'at', ?, value->>'source',
    CASE value->>'level' WHEN 'debug' THEN 0 WHEN 'info' THEN 1 WHEN 'warn' THEN 2 ELSE 3 END,
    value->>'message', value->'timestamp'
FROM json_each(?)"""

_COLUMNS = "seq, at, plugin, source, level, message, timestamp"


@dataclass
class _Cursor:
    """How far a plug-in's files are read: `offset` in `segment`, None before the first."""

    file: LogFile
    segment: Segment | None = None
    offset: int = 0

    @property
    def is_at_end(self) -> bool:
        """Whether everything written so far is read."""
        segments = self.file.segments()
        if not segments:
            return True
        return self.segment is segments[-1] and self.offset >= segments[-1].size


class LogIndex:
    """The index at `path` of the given files. `trouble` says why it is not up to date, if so."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.trouble: str | None = None
        self.last_seq = 0
        """The highest number in the index when it was opened."""
        self._database = Database(path, MIGRATIONS, clock, synchronous="OFF", check=False)
        self.journal_trouble = self._database.journal_trouble
        self._cursors: dict[str, _Cursor] = {}
        self._pending: Future[None] | None = None
        self._is_open = False

    def open(self) -> None:
        """Open, or make anew what is damaged. Never raises: see `trouble`."""
        self._is_open = True
        try:
            self._open()
            self.last_seq = self._database.write_here(
                lambda c: c.execute("SELECT MAX(seq) FROM records").fetchone()[0] or 0
            )
        except StoreError as error:
            self._suffer(error)
        for damaged in self._database.path.parent.glob("index.db.corrupt-*"):
            damaged.unlink(missing_ok=True)

    def _open(self) -> None:
        try:
            self._database.open()
        except StoreError as error:
            if not error.facts.get("newer"):
                raise
            # A newer version made it; all that it holds is in the files too.
            self._remove()
            self._database.open()

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm"):
            path = self._database.path
            path.with_name(path.name + ending).unlink(missing_ok=True)

    def close(self) -> None:
        """Finish the round under way and close. What is not indexed yet will be at next start."""
        self._is_open = False
        self._database.close()

    def add(self, file: LogFile) -> None:
        """Follow the files of one more plug-in."""
        self._cursors[file.name] = _Cursor(file)

    def wake(self) -> None:
        """There may be something new to read. From any thread."""
        if self._is_open and (self._pending is None or self._pending.done()):
            with contextlib.suppress(StoreError):
                self._pending = self._database.submit(self._round)

    def forget(self, plugin: str, last_seq: int) -> None:
        """The plug-in's lines up to `last_seq` were given up. From any thread."""
        if self._is_open:
            with contextlib.suppress(StoreError):
                self._database.submit(lambda: self._forget(plugin, last_seq))

    async def catch_up(self) -> None:
        """Return once everything that the files hold now can be found."""
        if not all(cursor.is_at_end for cursor in list(self._cursors.values())):
            await self._database.work(self._catch_up)

    async def idle(self) -> None:
        """Return once nothing is left to do."""
        await self.catch_up()
        while await self._database.work(self._index_texts):
            pass

    # Following the files

    def _round(self) -> None:
        """A bounded piece of work; the next one comes after whoever waits in between."""
        try:
            if self._read_on() or self._index_texts():
                self._database_round()
            self.trouble = None
        except StoreError as error:
            self._suffer(error)

    def _database_round(self) -> None:
        if self._is_open:
            with contextlib.suppress(StoreError):
                self._pending = self._database.submit(self._round)

    def _catch_up(self) -> None:
        try:
            while self._is_open and self._read_on():
                pass
            self.trouble = None
        except StoreError as error:
            self._suffer(error)

    def _suffer(self, error: StoreError) -> None:
        self.trouble = str(error)
        if str(error.facts.get("sqlite", "")).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            # It holds nothing that the files do not: the next start makes it anew.
            self._remove()

    def _read_on(self) -> bool:
        """Read a piece of each plug-in's files; whether there may be more."""
        more = False
        for name, cursor in list(self._cursors.items()):
            more = self._read_piece(name, cursor) or more
        return more

    def _read_piece(self, name: str, cursor: _Cursor) -> bool:
        if cursor.segment is None and not self._find_place(name, cursor):
            return False
        segment, offset = cursor.segment, cursor.offset
        assert segment is not None
        data = cursor.file.read(segment, offset, ROUND_BYTES) if segment.size > offset else b""
        if not data:
            return self._go_to_next(cursor)
        array = "[" + data[:-1].decode("utf-8", "replace").replace("\n", ",") + "]"

        def write(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(_INSERT, (name, array))
            except sqlite3.OperationalError as error:
                if "malformed JSON" not in str(error):
                    raise
                # A line was damaged on disk: take the others one by one.
                for line in data.splitlines():
                    with contextlib.suppress(sqlite3.Error):
                        text = "[" + line.decode("utf-8", "replace") + "]"
                        connection.execute(_INSERT, (name, text))

        self._database.write_here(write)
        cursor.offset = offset + len(data)
        return True

    def _find_place(self, name: str, cursor: _Cursor) -> bool:
        """Where to read on after a start: the first file with lines that are not indexed."""
        segments = cursor.file.segments()
        if not segments:
            return False

        def read(connection: sqlite3.Connection) -> int:
            found = connection.execute("SELECT MAX(seq) FROM records WHERE plugin = ?", (name,))
            return found.fetchone()[0] or 0

        last = self._database.write_here(read)
        cursor.segment = next((s for s in segments if s.last_seq > last), segments[-1])
        # From its start: a line that is there already is ignored.
        cursor.offset = 0 if cursor.segment.last_seq > last else cursor.segment.size
        return True

    def _go_to_next(self, cursor: _Cursor) -> bool:
        segments = cursor.file.segments()
        if not segments or cursor.segment is segments[-1]:
            return False
        place = segments.index(cursor.segment) + 1 if cursor.segment in segments else 0
        cursor.segment, cursor.offset = segments[place], 0
        return True

    def _index_texts(self) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            done = connection.execute("SELECT id FROM texts_position").fetchone()[0]
            found = connection.execute(
                "SELECT MAX(id), COUNT(*) FROM (SELECT id FROM records WHERE id > ? ORDER BY id "
                "LIMIT ?)",
                (done, TEXT_ROWS),
            )
            last, count = found.fetchone()
            if not count:
                return False
            connection.execute(
                "INSERT INTO texts (rowid, message) SELECT id, message FROM records "
                "WHERE id > ? AND id <= ?",
                (done, last),
            )
            connection.execute("UPDATE texts_position SET id = ?", (last,))
            return bool(count == TEXT_ROWS)

        return self._database.write_here(write)

    def _forget(self, plugin: str, last_seq: int) -> None:
        def write(connection: sqlite3.Connection) -> int:
            chosen = "SELECT id FROM records WHERE plugin = ? AND seq <= ? ORDER BY seq LIMIT ?"
            values = (plugin, last_seq, TEXT_ROWS)
            connection.execute(
                "INSERT INTO texts (texts, rowid, message) SELECT 'delete', id, message "
                f"FROM records WHERE id IN ({chosen}) AND id <= (SELECT id FROM texts_position)",
                values,
            )
            return connection.execute(
                f"DELETE FROM records WHERE id IN ({chosen})", values
            ).rowcount

        with contextlib.suppress(StoreError):
            if self._database.write_here(write) == TEXT_ROWS:
                self.forget(plugin, last_seq)

    # Answering

    async def search(self, query: QueryLogs) -> list[dict[str, Any]]:
        """The records that match, oldest first. Raises `StoreError`, `InvalidParams`."""
        return await self._database.read(lambda connection: _search(connection, query))


def _search(connection: sqlite3.Connection, query: QueryLogs) -> list[dict[str, Any]]:
    if query.regex is not None:
        found = _by_regex(connection, query)
    elif query.text:
        found = _by_text(connection, query)
    else:
        where, values = _conditions(query)
        order = _order(query)
        sql = f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY seq {order} LIMIT ?"
        found = connection.execute(sql, (*values, query.limit)).fetchall()
    records = [_record(row) for row in found]
    return records if query.after is not None else records[::-1]


def _order(query: QueryLogs) -> str:
    return "DESC" if query.after is None else "ASC"


def _conditions(query: QueryLogs) -> tuple[str, list[Any]]:
    parts: list[tuple[str, Any]] = []
    lowest = LEVELS.index(query.level) if query.level else 0
    if query.plugin is not None:
        # The plus keeps SQLite from this column's index where that of warnings serves better.
        parts.append(("+plugin = ?" if lowest >= 2 else "plugin = ?", query.plugin))
    if lowest:
        parts.append(("level >= ?", lowest))
    if query.source is not None:
        parts.append(("source = ?", query.source))
    if query.since is not None:
        parts.append(("at >= ?", query.since))
    if query.until is not None:
        parts.append(("at <= ?", query.until))
    if query.after is not None:
        parts.append(("seq > ?", query.after))
    where = " AND ".join(sql for sql, _ in parts) or "1"
    if lowest >= 2:
        where += " AND level >= 2"  # in the very words of the index of warnings
    return where, [value for _, value in parts]


def _by_text(connection: sqlite3.Connection, query: QueryLogs) -> list[tuple[Any, ...]]:
    """Read through the nearest rows first, since a common text is found there at once."""
    where, values = _conditions(query)
    order, text = _order(query), query.text or ""
    match = "message LIKE ? ESCAPE '!'"
    pattern = "%" + re.sub("([!%_])", r"!\1", text) + "%"
    nearest = f"FROM records WHERE {where} ORDER BY seq {order} LIMIT {RECENT_ROWS}"
    found = connection.execute(
        f"SELECT * FROM (SELECT {_COLUMNS} {nearest}) WHERE {match} ORDER BY seq {order} LIMIT ?",
        (*values, pattern, query.limit),
    ).fetchall()
    if len(found) == query.limit:
        return found
    edge = "MIN" if order == "DESC" else "MAX"
    last, count = connection.execute(
        f"SELECT {edge}(seq), COUNT(*) FROM (SELECT seq {nearest})", values
    ).fetchone()
    if count < RECENT_ROWS:
        return found
    where += " AND seq < ?" if order == "DESC" else " AND seq > ?"
    values.append(last)
    source = "records"
    if len(text) >= 3:
        # Only LIKE without ESCAPE uses the trigrams: its wildcards find too much, which `match`
        # sorts out. Rows that have not entered the full-text index yet are read through. The
        # CROSS JOIN keeps SQLite from reading through the others too.
        source = (
            "(SELECT rowid AS hit FROM texts WHERE message LIKE ? UNION ALL SELECT id FROM records "
            "WHERE id > (SELECT id FROM texts_position)) CROSS JOIN records ON id = hit"
        )
        values.insert(0, f"%{text}%")
    found += connection.execute(
        f"SELECT {_COLUMNS} FROM {source} WHERE {where} AND {match} ORDER BY seq {order} LIMIT ?",
        (*values, pattern, query.limit - len(found)),
    ).fetchall()
    return found


def _by_regex(connection: sqlite3.Connection, query: QueryLogs) -> list[tuple[Any, ...]]:
    end = time.monotonic() + REGEX_SECONDS
    pattern = _compile(query.regex or "")
    where, values = _conditions(query)
    text = (query.text or "").lower()
    order, hits = _order(query), list[int]()
    beyond = "seq < ?" if order == "DESC" else "seq > ?"
    edge = 2**62 if order == "DESC" else 0
    # A page comes as one value: SQLite lets go of the interpreter once, not once a row.
    page_sql = (
        "SELECT json_group_array(json_array(seq, message)) FROM (SELECT seq, message FROM records "
        f"WHERE {where} AND {beyond} ORDER BY seq {order} LIMIT {PAGE_ROWS})"
    )
    page: list[Any] = [None] * PAGE_ROWS
    while len(page) == PAGE_ROWS and len(hits) < query.limit:
        page = msgspec.json.decode(connection.execute(page_sql, (*values, edge)).fetchone()[0])
        edge = page[-1][0] if page else edge
        fits = _matching(pattern, page, end)
        if fits is None:
            raise _wrong("/regex", f"takes longer than {REGEX_SECONDS:g} s; narrow the query")
        hits += [seq for seq, message in fits if text in message.lower()]
    chosen = msgspec.json.encode(hits[: query.limit]).decode()
    return connection.execute(
        f"SELECT {_COLUMNS} FROM records WHERE seq IN (SELECT value FROM json_each(?)) "
        f"ORDER BY seq {order}",
        (chosen,),
    ).fetchall()


def _matching(pattern: Any, page: list[Any], end: float) -> list[Any] | None:
    """The (seq, message) that fit; None when the time is up."""
    if time.monotonic() >= end:
        return None
    quantifiers = sum(map(pattern.pattern.count, "*+{"))
    if quantifiers <= 1 and all(len(message) <= 1_000 for _, message in page):
        # Too little to run away, and a clock would cost four times the search.
        search = pattern.search
        return [row for row in page if search(row[1])]
    found = []
    for row in page:
        fits = matches(pattern, row[1], end - time.monotonic())
        if fits is None:
            return None
        if fits:
            found.append(row)
    return found


def _compile(pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise _wrong("/regex", f"is not a regular expression ({error})") from None


def matches(pattern: Any, message: str, seconds: float) -> bool | None:
    """Whether a compiled pattern is found; None when it takes longer than `seconds`."""
    if seconds <= 0:
        return None
    with contextlib.suppress(TimeoutError):
        return pattern.search(message, timeout=min(seconds, 0.01)) is not None
    # A line that takes long must not hold the interpreter meanwhile.
    with contextlib.suppress(TimeoutError):
        return pattern.search(message, timeout=seconds, concurrent=True) is not None
    return None


def _wrong(where: str, what: str) -> InvalidParams:
    return InvalidParams(capability="host.logs.query", errors={where: what})


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    seq, at, plugin, source, level, message, timestamp = row
    record = {
        "seq": seq,
        "at": at,
        "plugin": plugin,
        "source": source,
        "level": LEVELS[level],
        "message": message,
    }
    if timestamp is not None:
        record["timestamp"] = msgspec.json.decode(timestamp)
    return record


def select(records: Iterator[dict[str, Any]], query: QueryLogs) -> list[dict[str, Any]]:
    """What a query finds among records at hand (oldest first), for when there is no index."""
    pattern = _compile(query.regex) if query.regex is not None else None
    lowest = LEVELS.index(query.level) if query.level else 0
    text = (query.text or "").lower()
    found = [
        record
        for record in records
        if query.plugin in (None, record["plugin"])
        and query.source in (None, record["source"])
        and LEVELS.index(record["level"]) >= lowest
        and (query.since is None or record["at"] >= query.since)
        and (query.until is None or record["at"] <= query.until)
        and (query.after is None or record["seq"] > query.after)
        and text in record["message"].lower()
        and (pattern is None or matches(pattern, record["message"], 0.1))
    ]
    return found[: query.limit] if query.after is not None else found[-query.limit :]
