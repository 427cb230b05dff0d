"""store.database: one file, its settings, migrations, damage and writers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bkg_workbench.errors import StoreError
from bkg_workbench.store.database import Database

ONE = (("CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (0)"),)
TWO = (*ONE, ("ALTER TABLE t ADD COLUMN m INTEGER NOT NULL DEFAULT 7",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".bkg" / "bkg.db"


def run_together(script: str, path: Path, count: int) -> list[str]:
    """What `count` processes that run `script` at once said; they must succeed."""
    command = [sys.executable, "-c", script, str(path)]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(count)]
    ended = [process.communicate(timeout=50) for process in running]
    assert [process.returncode for process in running] == [0] * count, ended
    return [said for said, _ in ended]


async def value(database: Database, sql: str) -> object:
    row = await database.read(lambda c: c.execute(sql).fetchone())
    return row[0]


async def increment(database: Database) -> None:
    def add(connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT n FROM t").fetchone()[0]
        connection.execute("UPDATE t SET n = ?", (found + 1,))

    await database.write(add)


@pytest.mark.row("D13")
async def test_files_are_for_their_owner_only_and_the_journal_is_ahead(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    await increment(database)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"bkg.db": 0o600, "bkg.db-wal": 0o600, "bkg.db-shm": 0o600}
    assert await value(database, "PRAGMA journal_mode") == "wal"
    assert await value(database, "PRAGMA foreign_keys") == 1
    database.close()


async def test_a_folder_that_others_may_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    database = Database(path, ONE)
    database.open()
    database.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_opening_and_closing_twice_is_the_same_as_once(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    database.open()
    database.close()
    database.close()
    with pytest.raises(StoreError, match="closed"):
        await increment(database)
    database.open()
    await increment(database)
    database.close()


async def test_what_raises_inside_a_write_leaves_nothing_behind(path: Path) -> None:
    database = Database(path, ONE)
    database.open()

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE t SET n = 99")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.write(fail)
    assert await value(database, "SELECT n FROM t") == 0
    with pytest.raises(StoreError, match="no such table"):
        await database.write(lambda c: c.execute("UPDATE missing SET n = 1"))
    database.close()


async def test_a_reader_cannot_write(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    with pytest.raises(StoreError):
        await database.read(lambda c: c.execute("UPDATE t SET n = 1"))
    database.close()


async def test_all_writes_run_in_one_thread_in_their_order(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    threads: set[int] = set()

    async def one(number: int) -> None:
        def add(connection: sqlite3.Connection) -> None:
            threads.add(threading.get_ident())
            connection.execute("INSERT INTO t VALUES (?)", (number,))

        await database.write(add)

    await asyncio.gather(*map(one, range(1, 50)))
    rows = await database.read(lambda c: c.execute("SELECT n FROM t ORDER BY rowid").fetchall())
    assert [n for (n,) in rows] == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    database.close()


async def test_a_cancelled_caller_does_not_tear_a_write(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE t SET n = 5")
        entered.set()
        go_on.wait(10)

    task = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await increment(database)
    assert await value(database, "SELECT n FROM t") == 6
    database.close()


# Migrations


async def test_a_migration_keeps_the_data_and_a_backup_of_it(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    await increment(database)
    database.close()
    database = Database(path, TWO)
    database.open()
    assert await value(database, "SELECT n || '-' || m FROM t") == "1-7"
    assert await value(database, "PRAGMA user_version") == 2
    database.close()
    backup = path.with_name("bkg.db.bak-1")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with sqlite3.connect(backup) as old:
        assert old.execute("SELECT * FROM t").fetchall() == [(1,)]
    old.close()


async def test_only_the_five_latest_backups_are_kept(path: Path) -> None:
    steps = [(f"CREATE TABLE t{n} (x)",) for n in range(9)]
    for count in range(1, 10):
        database = Database(path, steps[:count])
        database.open()
        database.close()
    names = sorted(file.name for file in path.parent.glob("*.bak-*"))
    assert names == [f"bkg.db.bak-{n}" for n in range(4, 9)]


@pytest.mark.row("D10")
async def test_a_migration_that_fails_half_way_is_undone(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    database.close()
    broken = (*ONE, ("ALTER TABLE t ADD COLUMN m INTEGER", "INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(StoreError, match="nowhere"):
        Database(path, broken).open()
    database = Database(path, ONE)
    database.open()
    assert await value(database, "SELECT n FROM t") == 0
    assert await value(database, "PRAGMA user_version") == 1
    database.close()


@pytest.mark.row("D10")
async def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    database = Database(path, TWO)
    database.open()
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer bkg-workbench"):
        Database(path, ONE).open()
    assert path.read_bytes() == before


# Damage


def filled(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    database.write_here(
        lambda c: c.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(20_000)])
    )
    database.close()


@pytest.mark.parametrize("damage", ["garbage", "head", "middle", "short"])
@pytest.mark.row("D9")
async def test_a_damaged_file_is_moved_aside_and_a_new_one_made(path: Path, damage: str) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    match damage:
        case "garbage":
            content[:] = b"no database at all, just text " * 100
        case "head":
            content[:100] = os.urandom(100)
        case "middle":
            content[4096 : 4096 * 3] = b"\xff" * 8192
        case "short":
            del content[4096 * 2 :]
    path.write_bytes(content)
    database = Database(path, ONE)
    database.open()
    assert await value(database, "SELECT COUNT(*) FROM t") == 1
    database.close()
    asides = list(path.parent.glob("bkg.db.corrupt-*"))
    assert [aside.read_bytes() for aside in asides] == [bytes(content)]
    assert len(database.notices) == 1
    assert asides[0].name in database.notices[0]


@pytest.mark.row("D9")
async def test_flipped_bytes_never_stop_the_start(path: Path) -> None:
    filled(path)
    sound = path.read_bytes()
    for place in range(0, len(sound), len(sound) // 25):
        for file in path.parent.iterdir():
            file.unlink()
        content = bytearray(sound)
        content[place] ^= 0xFF
        path.write_bytes(content)
        database = Database(path, ONE)
        with contextlib.suppress(StoreError):  # where the layout's number itself was hit
            database.open()
            await increment(database)
        database.close()


@pytest.mark.row("D9")
async def test_a_lost_shared_memory_file_or_a_cut_journal_is_recovered_from(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    await increment(database)
    copies = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    database.close()
    for name, content in copies.items():
        (path.parent / name).write_bytes(content)
    path.with_name("bkg.db-shm").unlink()
    wal = path.with_name("bkg.db-wal")
    wal.write_bytes(wal.read_bytes()[:-10])
    database = Database(path, ONE)
    database.open()
    assert database.notices == []
    assert (
        await value(database, "SELECT n FROM t") == 0
    )  # the torn transaction, whole or not at all
    database.close()


async def test_a_file_that_cannot_be_opened_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "bkg.db").mkdir()
    with pytest.raises(StoreError, match=r"bkg\.db"):
        Database(tmp_path / "bkg.db", ONE).open()


# More than one writer, and a full disk

INCREMENTS = """
import asyncio, sys
from pathlib import Path
from bkg_workbench.store.database import Database

def add(connection):
    n = connection.execute("SELECT n FROM t").fetchone()[0]
    connection.execute("UPDATE t SET n = ?", (n + 1,))

async def main():
    database = Database(Path(sys.argv[1]), [("SELECT 1",)])
    database.open()
    for _ in range(100):
        await database.write(add)
    database.close()

asyncio.run(main())
"""


@pytest.mark.row("D1")
async def test_four_processes_count_together_without_losing_one(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    database.close()
    run_together(INCREMENTS, path, 4)
    database.open()
    assert await value(database, "SELECT n FROM t") == 400
    database.close()


FULL = """
import asyncio, resource, sqlite3, sys
from pathlib import Path
from bkg_workbench.errors import StoreError
from bkg_workbench.store.database import Database

async def main():
    database = Database(Path(sys.argv[1]), [("SELECT 1",)])
    database.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        await database.write(lambda c: c.execute("INSERT INTO t VALUES (zeroblob(1000000))"))
    except StoreError as error:
        print(error)
    rows = await database.read(lambda c: c.execute("SELECT COUNT(*), SUM(n) FROM t").fetchone())
    assert rows == (1, 0), rows
    await database.write(lambda c: c.execute("UPDATE t SET n = 3"))
    database.close()

asyncio.run(main())
"""


@pytest.mark.row("D8")
async def test_a_full_disk_is_told_and_the_old_data_stays(path: Path) -> None:
    database = Database(path, ONE)
    database.open()
    database.close()
    (said,) = run_together(FULL, path, 1)
    assert "disk" in said
    database.open()
    assert await value(database, "SELECT n FROM t") == 3
    database.close()
