"""A workspace of an older version is brought up to this one; a newer one is left alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench import Host
from bkg_workbench.cli.app import main
from bkg_workbench.errors import StoreError, WorkspaceError
from bkg_workbench.host import engine
from bkg_workbench.host import workspace as module
from bkg_workbench.host.workspace import LAID_OUT, init
from bkg_workbench.store.table import MIGRATIONS
from tests.plugins import CAPABILITIES, DEMO

START = '#!/bin/sh\nexec "$BKG_PYTHON" plugin.py\n'
MIRROR = json.dumps([{"name": "demo", "capabilities": CAPABILITIES}])
STEP = (
    "CREATE TABLE owners (name TEXT PRIMARY KEY)",
    "INSERT INTO owners SELECT name FROM plugins",
)
"""The step that this version has, in the tests, over the one that the database was made by."""


def database(root: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(root / ".bkg" / "bkg.db")) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this version lays out; tests change it to be that of another."""
    source = tmp_path / "shipped"
    for name, text in {
        "plugins/plugins.json": MIRROR,
        "plugins/demo/start.sh": START,
        "plugins/demo/plugin.py": DEMO,
        "plugins/demo/README.md": "first\n",
        "notebooks/00_tour.ipynb": "{}",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    monkeypatch.setattr(module, "shipped", lambda: source)
    return source


@pytest.fixture
def older(shipped: Path, workspace: Path) -> Path:
    """A workspace as the version before laid it out and left it."""
    (workspace / "plugins" / "plugins.json").unlink()
    (shipped / "plugins" / "demo" / "plugin.py").write_text("raise SystemExit('older')\n")
    init(workspace)
    hidden = workspace / ".bkg"
    with closing(sqlite3.connect(hidden / "bkg.db")) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        definition = {"name": "demo", "capabilities": CAPABILITIES, "settings": {"times": 3}}
        rest = json.dumps({"entrypoint": "start.sh"})
        connection.execute(
            "INSERT INTO plugins VALUES ('demo', '', ?, 0, ?, ?, 1, 0, 'older')",
            (json.dumps(CAPABILITIES), json.dumps(definition["settings"]), rest),
        )
        connection.execute(
            "INSERT INTO versions VALUES ('demo', 1, 0, 'older', NULL, ?)",
            (json.dumps(definition),),
        )
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    mirror = json.loads(MIRROR)
    mirror[0]["settings"] = definition["settings"]
    (workspace / "plugins" / "plugins.json").write_text(json.dumps(mirror))
    # The form of that version's list: hashes alone.
    record = json.loads((workspace / LAID_OUT).read_bytes())
    (workspace / LAID_OUT).write_text(json.dumps(record["files"]))
    (shipped / "plugins" / "demo" / "plugin.py").write_text(DEMO)
    return workspace


def test_init_and_a_start_bring_an_older_workspace_up(
    older: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (older / "plugins" / "demo" / "README.md").write_text("mine\n")
    (shipped / "plugins" / "demo" / "README.md").write_text("second\n")
    done = init(older)
    assert done.updated == ["plugins/demo/plugin.py"]
    assert done.kept == ["plugins/plugins.json", "plugins/demo/README.md"]
    monkeypatch.setattr(engine, "MIGRATIONS", (*MIGRATIONS, STEP))
    with Host(older) as host:
        assert host.config("demo")["settings"] == {"times": 3}
        host.start("demo")
        assert host.call("demo.greet", {"name": "Ada"})["text"] == "Hello Hello Hello Ada"
        assert [v["author"] for v in host.config_history("demo")] == ["older"]
    assert database(older, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
    assert database(older, "SELECT name FROM owners") == [("demo",)]
    backup = older / ".bkg" / f"bkg.db.bak-{len(MIGRATIONS)}"
    assert backup.stat().st_mode & 0o777 == 0o600


def test_a_second_init_changes_nothing(older: Path) -> None:
    init(older)
    again = init(older)
    assert (again.written, again.updated) == ([], [])


def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database(older, "PRAGMA user_version = 99")
    before = (older / ".bkg" / "bkg.db").read_bytes()
    with pytest.raises(StoreError, match=r"newer bkg-workbench \(its layout is 99, this one knows"):
        Host(older)
    assert (older / ".bkg" / "bkg.db").read_bytes() == before
    assert main(["host", "--workspace", str(older)]) != 0
    said = capsys.readouterr().err
    assert "newer bkg-workbench" in said
    assert said.count("\n") == 1


def test_files_of_a_newer_version_are_not_taken_back(older: Path, shipped: Path) -> None:
    init(older)
    record = json.loads((older / LAID_OUT).read_bytes())
    (older / LAID_OUT).write_text(json.dumps({**record, "version": "99.10.0"}))
    (shipped / "plugins" / "demo" / "plugin.py").write_text("older again\n")
    with pytest.raises(WorkspaceError, match=r"laid out by bkg-workbench 99\.10\.0"):
        init(older)
    assert (older / "plugins" / "demo" / "plugin.py").read_text() == DEMO


@pytest.mark.parametrize(
    ("version", "is_newer"),
    [("0.1.0", False), ("0.0.9", False), ("0.10.0", True), ("1.0", True), ("?", False)],
)
def test_versions_compare_as_numbers(version: str, is_newer: bool) -> None:
    assert (module._number(version) > module._number("0.1.0")) is is_newer


def test_an_index_of_logs_of_a_newer_version_is_made_anew(older: Path) -> None:
    init(older)
    with Host(older) as host:
        host.start("demo")
        seen = len(host.logs("demo"))
        assert seen
    with closing(sqlite3.connect(older / ".bkg" / "logs" / "index.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with Host(older, autostart=False) as host:
        assert len(host.logs("demo")) >= seen
