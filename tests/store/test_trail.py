"""The trail of apikeys, read from its file: whole, or not there, or no database."""

from __future__ import annotations

from pathlib import Path

import pytest

from apikeys import audit, store
from apikeys.seeding import open_store
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.errors import StoreError
from bkg_workbench.store import trail


def test_it_says_the_same_as_the_plugin(tmp_path: Path) -> None:
    file = tmp_path / "apikeys.db"
    opened, _ = open_store(file, ManualClock(), {"ADMIN_PASSWORD": "correct horse battery"}, 4)
    with opened.writing() as tx:
        audit.append(tx, 1, actor="(é)", action="auth.x", detail={"a": ["ü"]})
    with opened.reading() as tx:
        found = audit.verify(tx)
    assert trail.verify(file) == found
    assert (found.is_whole, found.records) == (True, 2)
    opened.close()
    assert trail.COLUMNS == audit.COLUMNS
    assert store.VERSION == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has not been started"):
        trail.verify(tmp_path / "absent.db")
    (tmp_path / "no.db").write_text("this is no database, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="cannot be read"):
        trail.verify(tmp_path / "no.db")
