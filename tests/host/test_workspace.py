"""The workspace on disk: one Host, private files, and laying one out without losing an edit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bkg_workbench.client.attach import CONNECTION_FILE, ConnectionFile
from bkg_workbench.errors import WorkspaceError, WorkspaceOwned
from bkg_workbench.host import workspace as module
from bkg_workbench.host.workspace import Workspace, init, shipped, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def connection_file(instance: str = "i1") -> ConnectionFile:
    return ConnectionFile(
        bus="ws://127.0.0.1:5", pid=7, started_at=1, instance=instance, token="secret"
    )


@pytest.fixture
def prepared(workspace: Path) -> Workspace:
    made = Workspace(workspace)
    made.prepare()
    return made


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this version ships."""
    source = tmp_path / "shipped"
    for name, text in {
        "plugins/plugins.json": "[]",
        "plugins/hello/start.sh": "#!/bin/sh\nexec true\n",
        "plugins/hello/tool": "#!/usr/bin/env python3\n",
        "plugins/hello/hello/plugin.py": "version = 1\n",
        "plugins/hello/tests/test_hello.py": "",
        "plugins/hello/__pycache__/x.pyc": "",
        "plugins/hello/config.runtime.json": "{}",
        "notebooks/00_tour.ipynb": "{}",
        "notebooks/runbooks/first.ipynb": "{}",
        "dashboards/plugins.ipynb": "{}",
        "docs/secret.md": "",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    monkeypatch.setattr(module, "shipped", lambda: source)
    return source


# -- .bkg -----------------------------------------------------------------------------------------
def test_making_the_object_touches_nothing_and_preparing_is_private(workspace: Path) -> None:
    made = Workspace(workspace)
    assert not made.hidden.exists()
    made.hidden.mkdir(mode=0o755)
    made.prepare()
    made.prepare()
    assert mode(made.hidden) == 0o700
    folder = made.plugin_folder("hello")
    assert folder == made.hidden / "plugins" / "hello"
    assert mode(folder / "data") == 0o700
    assert made.plugin_folder("hello") == folder


def test_where_no_folder_can_be_the_reason_is_told(workspace: Path) -> None:
    (workspace / ".bkg").write_text("a file")
    with pytest.raises(WorkspaceError, match=r"\.bkg") as caught:
        Workspace(workspace).prepare()
    assert str(workspace) in str(caught.value)


def test_private_files_are_whole_and_0600_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("old")
    file.chmod(0o666)
    before = os.umask(0)
    try:
        write_private(file, b"new")
    finally:
        os.umask(before)
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_private_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.json"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(file, b"new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_private_file_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "x.json").symlink_to(tmp_path / "target")
    write_private(tmp_path / "x.json", b"new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "x.json").is_symlink()


# -- the lock -------------------------------------------------------------------------------------
def test_only_one_holds_the_lock_and_the_other_hears_who(prepared: Workspace) -> None:
    prepared.lock()
    other = Workspace(prepared.root)
    with pytest.raises(WorkspaceOwned, match="just starting"):
        other.lock()
    prepared.write_connection_file(connection_file())
    with pytest.raises(WorkspaceOwned, match=r"Process 7 .*attach\(\)") as caught:
        other.lock()
    assert "secret" not in str(caught.value) + repr(caught.value.facts)
    prepared.unlock()
    prepared.unlock()
    other.lock()
    other.unlock()
    assert mode(prepared.hidden / "host.lock") == 0o600


def test_a_damaged_connection_file_hides_no_owner(prepared: Workspace) -> None:
    prepared.lock()
    (prepared.root / CONNECTION_FILE).write_bytes(b'{"bus":"\xff')
    with pytest.raises(WorkspaceOwned):
        Workspace(prepared.root).lock()
    prepared.unlock()


def test_another_process_sees_the_lock_and_gets_it_when_the_owner_dies(
    prepared: Workspace,
) -> None:
    code = (
        "import sys, pathlib; from bkg_workbench.host.workspace import Workspace;"
        "Workspace(pathlib.Path(sys.argv[1])).lock(); print('mine', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(prepared.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        with pytest.raises(WorkspaceOwned):
            prepared.lock()
    finally:
        owner.kill()
        owner.communicate()
    prepared.lock()
    prepared.unlock()


def test_a_file_system_without_locks_is_told_as_such(
    prepared: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with pytest.raises(WorkspaceError, match="No locks available") as caught:
        prepared.lock()
    assert not isinstance(caught.value, WorkspaceOwned)


# -- connection file and instances ----------------------------------------------------------------
def test_a_host_removes_its_own_connection_file_only(prepared: Workspace) -> None:
    prepared.write_connection_file(connection_file("new"))
    assert mode(prepared.root / CONNECTION_FILE) == 0o600
    prepared.remove_connection_file("old")
    assert prepared.connection_file() == connection_file("new")
    prepared.remove_connection_file("new")
    assert prepared.connection_file() is None
    prepared.remove_connection_file("new")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a":1}', b"\xff", b'["a", 5, null]', b'"text"'])
def test_damaged_instances_are_as_good_as_none(prepared: Workspace, damage: bytes) -> None:
    (prepared.hidden / "instances.json").write_bytes(damage)
    assert prepared.past_instances() == (["a"] if damage.startswith(b"[") else [])
    prepared.remember_instances([str(number) for number in range(30)])
    assert prepared.past_instances() == [str(number) for number in range(10, 30)]


# -- laying one out -------------------------------------------------------------------------------
def test_a_new_workspace_gets_what_is_shipped_and_nothing_else(
    tmp_path: Path, source: Path
) -> None:
    root = tmp_path / "deep" / "new"
    done = init(root)
    assert sorted(done.written) == [
        "dashboards/plugins.ipynb",
        "notebooks/00_tour.ipynb",
        "notebooks/runbooks/first.ipynb",
        "plugins/hello/hello/plugin.py",
        "plugins/hello/start.sh",
        "plugins/hello/tool",
        "plugins/plugins.json",
    ]
    assert (done.updated, done.kept, done.root) == ([], [], root)
    assert mode(root / "plugins/hello/start.sh") & 0o111 == 0o111
    assert mode(root / "plugins/hello/tool") & 0o111 == 0o111
    assert mode(root / "plugins/hello/hello/plugin.py") & 0o111 == 0
    assert mode(root / ".bkg") == 0o700
    assert ".bkg/" in (root / ".gitignore").read_text()


def test_a_second_time_changes_nothing(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "new"
    init(root)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if ".bkg" not in p.parts}
    done = init(root)
    assert (done.written, done.updated, done.kept) == ([], [], [])
    after = {p: p.stat().st_mtime_ns for p in root.rglob("*") if ".bkg" not in p.parts}
    assert after == before


def test_changed_files_are_kept_and_unchanged_ones_upgraded(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "new"
    init(root)
    (root / "plugins/hello/start.sh").write_text("#!/bin/sh\nmine\n")
    (root / ".gitignore").write_text("mine\n")
    (root / "dashboards/plugins.ipynb").unlink()
    for name in ("plugins/hello/start.sh", "plugins/hello/hello/plugin.py"):
        (source / name).write_text("version = 2\n")
    (source / "notebooks/new.ipynb").write_text("{}")
    done = init(root)
    assert done.kept == ["plugins/hello/start.sh"]
    assert done.updated == ["plugins/hello/hello/plugin.py"]
    assert sorted(done.written) == ["dashboards/plugins.ipynb", "notebooks/new.ipynb"]
    assert (root / "plugins/hello/start.sh").read_text() == "#!/bin/sh\nmine\n"
    assert (root / ".gitignore").read_text() == "mine\n"
    # It stays the operator's, and follows again once it is as this version has it.
    assert init(root).kept == ["plugins/hello/start.sh"]
    (root / "plugins/hello/start.sh").write_text("version = 2\n")
    assert init(root).kept == []
    (source / "plugins/hello/start.sh").write_text("#!/bin/sh\nversion 3\n")
    assert init(root).updated == ["plugins/hello/start.sh"]


def test_the_definitions_are_the_operators_from_the_start(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "new"
    init(root)
    (source / "plugins/plugins.json").write_text('[{"name": "hello"}]')
    assert init(root).kept == ["plugins/plugins.json"]
    assert (root / "plugins/plugins.json").read_text() == "[]"


def test_run_bits_that_were_lost_come_back(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "new"
    init(root)
    start = root / "plugins/hello/start.sh"
    start.chmod(0o644)
    init(root)
    assert mode(start) == 0o755


@pytest.mark.parametrize("damage", ["", "[]", '{"plugins/hello/hello/plugin.py": 5}', "\x00"])
def test_a_damaged_record_of_what_was_laid_out_loses_no_edit(
    tmp_path: Path, source: Path, damage: str
) -> None:
    root = tmp_path / "new"
    init(root)
    (root / ".bkg" / "init.json").write_text(damage)
    (root / "plugins/hello/hello/plugin.py").write_text("mine")
    assert "plugins/hello/hello/plugin.py" in init(root).kept
    assert (root / "plugins/hello/hello/plugin.py").read_text() == "mine"
    assert json.loads((root / ".bkg" / "init.json").read_text())


def test_no_workspace_is_laid_out_over_the_checkout_or_a_file(tmp_path: Path, source: Path) -> None:
    with pytest.raises(WorkspaceError, match="checkout"):
        init(source)
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError) as caught:
        init(tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)


def test_what_is_shipped_is_a_workspace_itself() -> None:
    assert (shipped() / "plugins" / "plugins.json").is_file()
