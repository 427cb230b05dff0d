"""A reader elsewhere that never ends: it is told while it lasts, and nothing is lost by it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.store import database as databases
from bkg_workbench.store.database import Database
from tests.helpers import eventually

ONE = (("CREATE TABLE t (n INTEGER, fill BLOB)",),)


async def grow(database: Database, rows: int) -> None:
    for n in range(rows):
        await database.write(
            lambda c, n=n: c.execute("INSERT INTO t VALUES (?, zeroblob(100000))", (n,))
        )


@pytest.mark.row("D15")
async def test_a_reader_without_end_is_told_and_the_journal_shrinks_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "WAL_LIMIT_BYTES", 6_000_000)
    database = Database(tmp_path / "bkg.db", ONE)
    database.open()
    with closing(sqlite3.connect(tmp_path / "bkg.db")) as reader:
        await grow(database, 1)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM t").fetchone()
        assert database.journal_trouble() is None
        await grow(database, 90)
        told = database.journal_trouble()
        assert told is not None
        assert "bkg.db-wal" in told
        # It reads what there was; everybody else what there is.
        assert reader.execute("SELECT COUNT(*) FROM t").fetchone() == (1,)
        count = await database.read(lambda c: c.execute("SELECT COUNT(*) FROM t").fetchone())
        assert count == (91,)
    await grow(database, 60)
    assert database.journal_trouble() is None
    database.close()


@pytest.mark.row("D15", "L11")
def test_what_the_stores_suffer_from_stands_as_a_banner_while_it_lasts(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host(workspace) as host:

        def banners() -> dict[str, str]:
            return {notice.key: notice.text for notice in host.state.notices}

        with monkeypatch.context() as patch:
            patch.setattr(databases, "WAL_LIMIT_BYTES", -1)
            patch.setattr(host._engine.logs, "trouble", "Log lines cannot be stored: full.")
            eventually(lambda: {"journal:samples", "trouble:logs"} <= set(banners()))
            assert "without an end" in banners()["journal:samples"]
            assert "full" in banners()["trouble:logs"]
        eventually(lambda: not banners())
