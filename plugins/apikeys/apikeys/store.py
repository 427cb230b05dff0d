"""The database: its layout, its one writer, and how a first one comes to be.

Owns the SQLite file, transactions, and the kept time. What the rows mean is said in `users`,
`credentials`, `throttle` and `audit`. A database is made beside its place and moved there when its
first user is in it: so a file that exists is one that was seeded. Every commit is on disk when it
returns (`synchronous=FULL`), since a revocation must outlive a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from apikeys.watch import Clock, Watch

VERSION = 1
BUSY_SECONDS = 5.0

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE users (
    name TEXT PRIMARY KEY, password TEXT NOT NULL, scopes TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, password_at INTEGER NOT NULL,
    last_login_at INTEGER
) WITHOUT ROWID;
CREATE TABLE credentials (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, digest BLOB NOT NULL, last4 TEXT NOT NULL,
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    scopes TEXT, label TEXT NOT NULL DEFAULT '', parent TEXT,
    created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, last_used_at INTEGER,
    rate_per_minute INTEGER, old_digest BLOB, old_until INTEGER, rotated_at INTEGER,
    source TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX credentials_by_user ON credentials (user, kind, created_at);
CREATE INDEX credentials_by_parent ON credentials (parent);
CREATE INDEX credentials_by_end ON credentials (kind, expires_at);
CREATE TABLE uses (
    credential TEXT NOT NULL REFERENCES credentials (id) ON DELETE CASCADE, scope TEXT NOT NULL,
    day INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (credential, scope, day)
) WITHOUT ROWID;
CREATE TABLE throttle (
    name TEXT PRIMARY KEY, count INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    target TEXT NOT NULL, source TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL,
    hash TEXT NOT NULL
);
"""

Transaction = sqlite3.Connection
"""A connection inside a transaction that commits when the `with` ends without an error."""


class Store:
    """An open database. `reader` belongs to the thread that opened it; `writing` to any thread."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._writer = _connect(path, any_thread=True)
        self._lock = threading.Lock()
        try:
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ValueError(f"it was written by a newer version (layout {version})")
            self._writer.execute("PRAGMA journal_mode = WAL")
            row = self._writer.execute("SELECT value FROM meta WHERE name = 'seen'").fetchone()
            self.watch = Watch(clock, int(row[0]) if row else 0)
            self.reader = _connect(path)
            self.reader.execute("PRAGMA query_only = ON")
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction of the one writer; an error takes back all of it."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute(
                    "INSERT INTO meta VALUES ('seen', ?) ON CONFLICT (name) DO UPDATE "
                    "SET value = excluded.value",
                    (str(self.watch.now_ms()),),
                )
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A connection of its own for a long look, in any thread."""
        connection = _connect(self.path, any_thread=True)
        try:
            connection.execute("PRAGMA query_only = ON")
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close both connections; the write-ahead log is folded in."""
        self.reader.close()
        with self._lock:
            self._writer.close()


def create(path: Path, fill: Callable[[Transaction], None]) -> None:
    """Make the database with its first rows; it stands at `path` whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in (fresh, Path(f"{fresh}-journal")):
        left.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = _connect(fresh)
    try:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION};")
        fill(connection)
        connection.execute("COMMIT")
    finally:
        connection.close()
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not any_thread
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
