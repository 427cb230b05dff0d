"""The searchable index of the logs: a database of its own that can always be made anew.

Owns index.db and how it follows the files (`store.logfiles`), which are the truth: it reads on from
where it is and forgets what rotation gave up. Never the config database's writer. Everything but
`search` runs in this database's own writer thread. How a question is answered: `store.logsearch`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bkg_workbench.bus.clock import Clock
from bkg_workbench.errors import StoreError
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.database import Database, Migration
from bkg_workbench.store.logfiles import LogFile, Segment
from bkg_workbench.store.logsearch import answer

ROUND_BYTES = 2 * 1024 * 1024
"""How much is read in one transaction."""
TEXT_ROWS = 1_000
"""How many rows enter the full-text index in one transaction, and leave the index in one."""

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
        return await self._database.read(lambda connection: answer(connection, query))
