"""One SQLite file: opening, checking, migrating, and the one thread that writes to it.

Owns connection settings, transactions, migrations with their backups, and what happens to a file
that is damaged. Does not own any table: the modules that do hand in their migrations.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.errors import StoreError

T = TypeVar("T")

Migration = Sequence[str]
"""The SQL statements of one step; step n leads to `user_version` n."""

BACKUPS = 5
"""How many backups made before migrations are kept."""
BUSY_SECONDS = 5.0
WAL_LIMIT_BYTES = 64 * 1024 * 1024

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "lustre"}
_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": f"another process has held it locked for {BUSY_SECONDS:g} s",
    "SQLITE_LOCKED": "another process holds it locked",
    "SQLITE_READONLY": "its file or folder may not be written",
    "SQLITE_CANTOPEN": "its file or folder cannot be opened",
    "SQLITE_IOERR": "reading or writing its file failed (is the disk full?)",
    "SQLITE_CORRUPT": "its file is damaged",
    "SQLITE_NOTADB": "its file is not a database",
}


class Database:
    """One SQLite file with WAL, a writer thread and a reader thread.

    Parameters: `path` of the file, its folder is made (0700, the file 0600); `migrations`, step by
    step from an empty file; `synchronous` is SQLite's NORMAL, FULL or OFF; `check` runs
    `quick_check` at `open`, whose time grows with the file.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration] = (),
        clock: Clock | None = None,
        *,
        synchronous: str = "NORMAL",
        check: bool = True,
    ) -> None:
        self.path = Path(path)
        self.notices: list[str] = []
        """What the operator should know about the last `open`."""
        self.is_fresh = False
        """Whether the last `open` made the file anew."""
        self._migrations = tuple(migrations)
        self._clock = clock or SystemClock()
        self._synchronous = synchronous
        self._check = check
        self._connection: sqlite3.Connection | None = None
        self._reader_connection: sqlite3.Connection | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None

    # Opening and closing

    def open(self) -> None:
        """Open, check and migrate; a second call does nothing.

        A damaged file is moved aside as `<name>.corrupt-<ms>` and a fresh one made (see `notices`).
        Raises `StoreError` when the file is newer than this code, or cannot be used at all.
        """
        if self._writer is not None:
            return
        self.notices = []
        with told(self.path):
            self._prepare_folder()
            try:
                self._connection = self._open_checked()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._put_aside(str(error))
                self._connection = self._open_checked()
            self._reader_connection = self._connect()
            self._reader_connection.execute("PRAGMA query_only = ON")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"{self.path.name}-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"{self.path.name}-reader")

    def close(self) -> None:
        """Finish what is under way and close; a second call does nothing."""
        for executor in (self._reader, self._writer):
            if executor is not None:
                executor.shutdown(wait=True)
        self._reader = self._writer = None
        for connection in (self._reader_connection, self._connection):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._reader_connection = self._connection = None

    def start_afresh(self, reason: str) -> None:
        """Move the file aside as damaged and make a new, empty one. Not from the writer thread."""
        self.close()
        self._put_aside(reason)
        notices = self.notices
        self.open()
        self.notices = [*notices, *self.notices]

    def journal_trouble(self) -> str | None:
        """Why the journal is larger than it should be; None where it is not.

        While somebody elsewhere reads without an end, nothing of it can be folded in.
        """
        journal = self.path.with_name(f"{self.path.name}-wal")
        try:
            size = journal.stat().st_size
        except OSError:
            return None
        if size <= WAL_LIMIT_BYTES:
            return None
        return (
            f"{journal.name} is larger than {WAL_LIMIT_BYTES >> 20} MiB, since another program "
            f"reads {self.path.name} without an end; close it, and the file shrinks by itself."
        )

    # Work

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """`fn(connection)` in the writer thread inside `BEGIN IMMEDIATE`; its result.

        Returns once committed; whatever `fn` raises rolls back. Raises `StoreError` for what SQLite
        refuses. A cancelled caller does not cancel the transaction.
        """
        return await self.work(lambda: self.write_here(fn))

    async def work(self, fn: Callable[[], T]) -> T:
        """`fn()` in the writer thread, outside a transaction; it may call `write_here`."""
        return await self._run(self._writer, fn)

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """`fn(connection)` in the reader thread, on a connection that cannot write."""

        def run() -> T:
            with told(self.path):
                return fn(self._open_connection(self._reader_connection))

        return await self._run(self._reader, run)

    def write_here(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, in the calling thread, which must be the only one that writes."""
        connection = self._open_connection(self._connection)
        with told(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = fn(connection)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself; a second ROLLBACK would raise.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    async def _run(self, executor: ThreadPoolExecutor | None, fn: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._submit(executor, fn))

    def submit(self, fn: Callable[[], T]) -> Future[T]:
        """As `work`, without waiting. From any thread."""
        return self._submit(self._writer, fn)

    def _submit(self, executor: ThreadPoolExecutor | None, fn: Callable[[], T]) -> Future[T]:
        try:
            if executor is not None:
                return executor.submit(fn)
        except RuntimeError:
            pass
        raise StoreError(reason=f"{self.path.name} is closed", path=str(self.path)) from None

    def _open_connection(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreError(reason=f"{self.path.name} is closed", path=str(self.path))
        return connection

    # The file

    def _prepare_folder(self) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            os.chmod(folder, 0o700)
        # SQLite gives -wal and -shm the mode of the file itself. One that exists is not opened
        # here: closing it would let go of the locks of another connection of this process.
        try:
            self.is_fresh = self.path.stat().st_size == 0
            os.chmod(self.path, 0o600)
        except FileNotFoundError:
            self.is_fresh = True
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_checked(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            self._refuse_newer(connection)
            self._choose_journal(connection)
            if self._check:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if answer != "ok":
                    raise Damaged(answer)
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        wanted = "wal"
        if (kind := _file_system(self.path)) in _NETWORK:
            # WAL needs shared memory, which network file systems do not give.
            wanted = "delete"
            self.notices.append(
                f"{self.path.name} lies on a network file system ({kind}); it works, but slowly."
            )
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
            connection.execute(f"PRAGMA journal_mode = {wanted}")

    def _refuse_newer(self, connection: sqlite3.Connection) -> None:
        """Before anything is changed in it."""
        version, newest = _layout(connection), len(self._migrations)
        if version > newest:
            raise StoreError(
                reason=f"{self.path.name} was written by a newer bkg-workbench (its layout is "
                f"{version}, this one knows {newest}); use that version, or move the file away",
                path=str(self.path),
                newer=True,
            )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version, newest = _layout(connection), len(self._migrations)
        if 0 < version < newest:
            self._back_up(connection, version)
        for step in range(version + 1, newest + 1):
            connection.execute("BEGIN IMMEDIATE")
            try:
                # Another process may have taken the step while this one waited for the lock.
                if _layout(connection) < step:
                    for statement in self._migrations[step - 1]:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {step}")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _back_up(self, connection: sqlite3.Connection, version: int) -> None:
        target = self.path.with_name(f"{self.path.name}.bak-{version}")
        target.unlink(missing_ok=True)
        # VACUUM INTO takes an empty file, and so keeps its mode.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection.execute("VACUUM INTO ?", (str(target),))
        backups = sorted(
            self.path.parent.glob(f"{self.path.name}.bak-*"), key=lambda p: p.stat().st_mtime_ns
        )
        for old in backups[:-BACKUPS]:
            old.unlink(missing_ok=True)

    def _put_aside(self, reason: str) -> None:
        stamp = self._clock.now_ms()
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for ending in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + ending)
            if file.exists():
                os.replace(file, aside.with_name(aside.name + ending))
        self.notices.append(
            f"{self.path.name} was damaged ({reason}); it lies beside as {aside.name}, "
            "and a new one was made."
        )
        self._prepare_folder()


def _layout(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


class Damaged(sqlite3.DatabaseError):
    """The file's content is not a sound database."""


def is_damage(error: BaseException) -> bool:
    """Whether an SQLite error says that the file's content is damaged."""
    if isinstance(error, StoreError):
        error = error.__cause__ or error
    name = getattr(error, "sqlite_errorname", "") or ""
    # A text that is none is seen by nobody but the reader.
    is_torn_text = isinstance(error, sqlite3.Error) and str(error).startswith("Could not decode")
    return (
        isinstance(error, Damaged)
        or is_torn_text
        or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
    )


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors as `StoreError` with a reason for people."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        reason = next((r for n, r in _REASONS.items() if name.startswith(n)), str(error))
        raise StoreError(reason=f"{path.name}: {reason}", path=str(path), sqlite=name) from error
    except OSError as error:
        reason = f"{path.name}: {error.strerror or error}"
        raise StoreError(reason=reason, path=str(path)) from error


def _file_system(path: Path) -> str | None:
    """The type of file system that holds `path`, where the system tells."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return None
    place, best, kind = str(path.resolve()), "", None
    for line in lines:
        _, point, kind_here, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = point == "/" or place == point or place.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, kind_here
    return kind
