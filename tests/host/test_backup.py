"""A backup holds a workspace's state as of one moment, and comes back whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench import Host
from bkg_workbench.errors import StoreError, WorkspaceError, WorkspaceOwned
from bkg_workbench.host import backup as backups
from bkg_workbench.host.backup import JOURNAL, backup, finish, restore
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.store import archive
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

Change = Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]


def state_of(root: Path) -> dict[str, bytes]:
    """What a restore gives back, without the databases: their bytes may differ."""
    files = [root / "plugins" / "plugins.json", *root.glob("plugins/*/config.json")]
    files += [f for f in (root / ".bkg" / "plugins").glob("*/data/**/*") if f.is_file()]
    return {str(f.relative_to(root)): f.read_bytes() for f in files if not is_database(f)}


def is_database(file: Path) -> bool:
    return file.suffix in (".db", ".sqlite")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with settings, a secret, a config.json and data of a plug-in."""
    place = tmp_path_factory.mktemp("template")
    (place / "plugins").mkdir()
    (place / "plugins" / "plugins.json").write_text("[]\n")
    write_plugin(place, version="1")
    (place / "plugins" / "demo" / "config.json").write_text('{"times": 2}')
    with Host(place) as host:
        host.start("demo")  # so that its schema, and what is secret in it, is known
        settings = {"greeting": "Moin", "password": "s3cret"}
        host.save_config("demo", settings, host.config("demo")["version"])
    data = place / ".bkg" / "plugins" / "demo" / "data"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "ä file").write_bytes(os.urandom(300_000))
    (data / "empty").write_bytes(b"")
    return place


@pytest.fixture
def used(template: Path, workspace: Path) -> Path:
    """A copy of it; no Host runs."""
    return Path(shutil.copytree(template, workspace, dirs_exist_ok=True))


def settings_of(root: Path) -> Any:
    with closing(sqlite3.connect(root / ".bkg" / "bkg.db")) as connection:
        return json.loads(connection.execute("SELECT config FROM plugins").fetchone()[0])


def spoil(root: Path) -> None:
    """Change everything that a restore gives back."""
    with Host(root, autostart=False) as host:
        host.save_config("demo", {"greeting": "Spoilt"}, host.config("demo")["version"])
    (root / "plugins" / "demo" / "config.json").write_text('{"times": 9}')
    data = root / ".bkg" / "plugins" / "demo" / "data"
    (data / "empty").write_text("no more")
    (data / "newer").write_text("newer")


def changed(file: Path, change: Change) -> Path:
    """The archive with its members changed."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    with tarfile.open(file) as tar:
        for info in tar:
            stream = tar.extractfile(info)
            members[info.name] = (info, stream.read() if stream else b"")
    change(members)
    target = file.with_name("changed.tar.gz")
    with tarfile.open(target, "w:gz") as tar:
        for info, content in members.values():
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return target


def add(name: str, content: bytes = b"x", **fields: Any) -> Change:
    """A further member that stands in the manifest as it should."""

    def change(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        info = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(info, key, value)
        last, manifest = members.pop("manifest.json")
        told = json.loads(manifest)
        sha256 = hashlib.sha256(content).hexdigest()
        told["members"].append(
            {"path": name, "size": len(content), "sha256": sha256, "mode": 0o600}
        )
        members[name] = (info, content)
        members["manifest.json"] = (last, json.dumps(told).encode())

    return change


def tell(**fields: Any) -> Change:
    def change(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        info, manifest = members["manifest.json"]
        members["manifest.json"] = (info, json.dumps({**json.loads(manifest), **fields}).encode())

    return change


def hidden(root: Path) -> set[str]:
    return {entry.name for entry in (root / ".bkg").iterdir()}


# -- there and back -------------------------------------------------------------------------------
def test_what_was_spoilt_comes_back_and_the_spoilt_state_is_kept(used: Path) -> None:
    before = state_of(used)
    file, manifest = backup(used)
    assert manifest.schemas == backups.DATABASES
    assert manifest.left_out == []
    spoil(used)
    spoilt = state_of(used)
    assert spoilt != before
    _, aside = restore(used, file)
    assert aside is not None
    assert state_of(used) == before
    assert settings_of(used) == {"greeting": "Moin", "password": "s3cret"}
    kept = {name: (aside / name).read_bytes() for name in spoilt if (aside / name).exists()}
    assert kept == spoilt
    assert settings_of_file(aside / ".bkg" / "bkg.db") == {"greeting": "Spoilt"}
    with Host(used, autostart=False) as host:
        shown = host.config("demo")
        assert shown["settings"]["greeting"] == "Moin"
        assert [v["reason"] for v in host.config_history("demo")]
        assert [n for n in host.state.notices if "plugins.json" in n.text] == []
    assert state_of(used) == before


def settings_of_file(database: Path) -> Any:
    with closing(sqlite3.connect(database)) as connection:
        return json.loads(connection.execute("SELECT config FROM plugins").fetchone()[0])


def test_a_backup_is_private_and_says_what_it_holds(used: Path) -> None:
    file, manifest = backup(used)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.parent == used / ".bkg" / "backups"
    with tarfile.open(file) as tar:
        assert tar.getnames()[-1] == "manifest.json"
        for member in manifest.members:
            stream = tar.extractfile(member.path)
            assert stream is not None
            assert hashlib.sha256(stream.read()).hexdigest() == member.sha256
    paths = {member.path for member in manifest.members}
    assert {".bkg/bkg.db", ".bkg/samples.db", "plugins/plugins.json", "plugins/demo/config.json",
            ".bkg/plugins/demo/data/deep/er/ä file"} <= paths  # fmt: skip
    assert not [path for path in paths if "runtime" in path or "logs" in path]
    assert not [name for name in hidden(used) if name.startswith(backups.SCRATCH)]


def test_a_backup_comes_back_in_a_workspace_elsewhere(used: Path, tmp_path: Path) -> None:
    file, _ = backup(used, tmp_path / "to go.tar.gz")
    other = tmp_path / "other"
    (other / "plugins").mkdir(parents=True)
    _, aside = restore(other, file)
    assert aside is None
    assert state_of(other) == state_of(used)
    assert settings_of(other) == settings_of(used)


@pytest.mark.row("D12")
def test_a_backup_beside_a_running_host_is_of_one_moment(used: Path) -> None:
    with Host(used) as host:
        host.start("demo")
        done = threading.Event()

        def save() -> None:
            number = 0
            while not done.is_set():
                number += 1
                version = host.config("demo")["version"]
                host.save_config("demo", {"greeting": f"n{number}"}, version)

        saving = threading.Thread(target=save)
        saving.start()
        try:
            made = [backup(used)[0] for _ in range(5)]
        finally:
            done.set()
            saving.join()
        with pytest.raises(WorkspaceOwned, match=r"end it before a restore, with `bkg call"):
            restore(used, made[0])
    assert len(set(made)) == 5
    for file in made:
        restore(used, file)
        greeting = settings_of(used)["greeting"]
        with Host(used, autostart=False) as host:
            assert host.config("demo")["settings"]["greeting"] == greeting
            assert [n.text for n in host.state.notices] == []
        (mirrored,) = json.loads((used / "plugins" / "plugins.json").read_text())
        assert mirrored["settings"]["greeting"] == greeting


@pytest.mark.row("D12")
def test_a_plugins_own_database_in_use_is_copied_as_of_one_moment(used: Path) -> None:
    file = used / ".bkg" / "plugins" / "demo" / "data" / "demo.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('in the log, not in the file')")
        connection.commit()
        assert file.with_name("demo.db-wal").stat().st_size
        made, manifest = backup(used)
    assert not [m.path for m in manifest.members if m.path.endswith(("-wal", "-shm"))]
    restore(used, made)
    with closing(sqlite3.connect(file)) as connection:
        (row,) = connection.execute("SELECT text FROM notes")
    assert row == ("in the log, not in the file",)


def test_what_only_looks_like_a_database_is_a_file_like_any_other(used: Path) -> None:
    file = used / ".bkg" / "plugins" / "demo" / "data" / "broken.sqlite"
    file.write_bytes(b"SQLite format 3\0" + b"nonsense" * 99)
    made, _ = backup(used)
    content = file.read_bytes()
    file.unlink()
    restore(used, made)
    assert file.read_bytes() == content


def test_links_and_pipes_in_data_are_left_out_and_named(used: Path) -> None:
    data = used / ".bkg" / "plugins" / "demo" / "data"
    (data / "link").symlink_to("/etc/passwd")
    (data / "folder").symlink_to("/etc")
    os.mkfifo(data / "pipe")
    _, manifest = backup(used)
    named = [line.split(":")[0].rsplit("/", 1)[1] for line in manifest.left_out]
    assert sorted(named) == ["folder", "link", "pipe"]


def test_an_edit_by_hand_that_was_not_taken_yet_comes_back_as_one(used: Path) -> None:
    mirror = used / "plugins" / "plugins.json"
    edited = json.loads(mirror.read_text())
    edited[0]["description"] = "by hand"
    mirror.write_text(json.dumps(edited))
    file, _ = backup(used)
    spoil(used)
    restore(used, file)
    with Host(used, autostart=False) as host:
        assert host.plugin("demo").definition.description == "by hand"


# -- refusals -------------------------------------------------------------------------------------
def test_no_file_is_overwritten_and_none_is_made_in_no_folder(used: Path, tmp_path: Path) -> None:
    present = tmp_path / "present.tar.gz"
    present.write_text("mine")
    with pytest.raises(WorkspaceError, match="exists already"):
        backup(used, present)
    assert present.read_text() == "mine"
    with pytest.raises(WorkspaceError, match="make it first"):
        backup(used, tmp_path / "none" / "x.tar.gz")
    file, _ = backup(used, tmp_path)
    assert file.parent == tmp_path


def test_a_damaged_database_is_no_backup(used: Path, tmp_path: Path) -> None:
    database = used / ".bkg" / "bkg.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        backup(used, tmp_path / "x.tar.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["workspace"]


BAD: dict[str, Change] = {
    "climbs": add(".bkg/plugins/demo/data/../../../../../out"),
    "absolute": add("/tmp/out"),
    "elsewhere": add("plugins/demo/start.sh"),
    "the connection file": add(".bkg/host.json"),
    "a link": add(".bkg/plugins/demo/data/l", b"", type=tarfile.SYMTYPE, linkname="/etc"),
    "a hard link": add(".bkg/plugins/demo/data/h", b"", type=tarfile.LNKTYPE, linkname="/etc/x"),
    "a device": add(".bkg/plugins/demo/data/d", b"", type=tarfile.CHRTYPE),
    "a folder": add(".bkg/plugins/demo/data/f", b"", type=tarfile.DIRTYPE),
    "a file below a file": add(".bkg/plugins/demo/data/empty/x"),
    "an empty component": add(".bkg/plugins/demo/data//x"),
    "not in the manifest": lambda m: m.update(
        {"z": (tarfile.TarInfo(".bkg/plugins/demo/data/z"), b""), "m": m.pop("manifest.json")}
    ),
    "missing": lambda m: m.pop("plugins/plugins.json"),
    "other content": lambda m: m.update(
        {"plugins/plugins.json": (m["plugins/plugins.json"][0], b"[]")}
    ),
    "no manifest": lambda m: m.pop("manifest.json"),
    "a manifest of nonsense": lambda m: m.update(
        {"manifest.json": (m["manifest.json"][0], b'{"format": 1}')}
    ),
    "after the manifest": lambda m: m.update({"y": (tarfile.TarInfo("bkg.toml"), b"")}),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_an_archive_that_is_not_as_it_should_be_changes_nothing(
    used: Path, what: str, tmp_path: Path
) -> None:
    file = changed(backup(used, tmp_path / "b.tar.gz")[0], BAD[what])
    before, present = state_of(used), hidden(used)
    with pytest.raises(WorkspaceError, match=r"cannot be restored: .* Nothing was changed"):
        restore(used, file)
    assert (state_of(used), hidden(used)) == (before, present)
    assert not (tmp_path / "out").exists()


def test_a_backup_of_a_newer_version_is_refused_with_a_sentence(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = backup(used, tmp_path / "b.tar.gz")
    newer = changed(file, tell(format=archive.FORMAT + 1, version="9.1"))
    with pytest.raises(WorkspaceError, match=r"newer bkg-workbench \(9\.1\)"):
        restore(used, newer)
    monkeypatch.setitem(backups.DATABASES, "bkg.db", 0)
    with pytest.raises(WorkspaceError, match="newer bkg-workbench"):
        restore(used, file)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_archive_changes_nothing(used: Path, tmp_path: Path, share: float) -> None:
    file, _ = backup(used, tmp_path / "b.tar.gz")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    before = state_of(used)
    with pytest.raises(WorkspaceError, match="cannot be restored"):
        restore(used, file)
    assert state_of(used) == before


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", gzip.compress(b"nonsense" * 999)], ids=range(3)
)
def test_what_is_no_archive_is_refused(used: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "no.tar.gz"
    file.write_bytes(content)
    with pytest.raises(WorkspaceError, match="cannot be restored"):
        restore(used, file)
    with pytest.raises(WorkspaceError, match="There is no file"):
        restore(used, tmp_path / "none")


def test_a_link_in_the_workspace_leads_nothing_out_of_it(used: Path, tmp_path: Path) -> None:
    file, _ = backup(used)
    outside = tmp_path / "outside"
    (used / "plugins" / "demo").rename(outside)
    (used / "plugins" / "demo").symlink_to(outside)
    (outside / "config.json").write_text("theirs")
    with pytest.raises(WorkspaceError, match="leads out of it by a link"):
        restore(used, file)
    assert (outside / "config.json").read_text() == "theirs"


# -- cut short ------------------------------------------------------------------------------------
class Cut(BaseException):
    """The machine stops here."""


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the moves of an exchange; the first number says at which one it is cut."""
    real, counts = os.rename, [-1, 0]

    def rename(source: Any, target: Any) -> None:
        counts[1] += 1
        if counts[1] == counts[0]:
            raise Cut
        real(source, target)

    monkeypatch.setattr(backups.os, "rename", rename)
    return counts


def test_a_restore_cut_short_anywhere_is_completed_by_the_next_start(
    used: Path, tmp_path: Path, renames: list[int]
) -> None:
    file, _ = backup(used, tmp_path / "b.tar.gz")
    before = state_of(used)
    cut = 0
    while True:
        cut += 1
        spoil(used)
        renames[:] = [cut, 0]
        try:
            restore(used, file)
        except Cut:
            renames[:] = [-1, 0]
        else:
            break
        with pytest.raises(WorkspaceError, match="A restore is under way"):
            backup(used)
        with Host(used, autostart=False) as host:
            assert host.config("demo")["settings"]["greeting"] == "Moin"
        assert state_of(used) == before
        assert not (used / ".bkg" / JOURNAL).exists()
        assert not [name for name in hidden(used) if name.startswith(backups.STAGED)]
    assert cut > 8
    assert not finish(Workspace(used))


def test_a_restore_that_fails_half_way_leaves_everything_as_it_was(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = backup(used, tmp_path / "b.tar.gz")
    spoil(used)
    before, present, settings = state_of(used), hidden(used), settings_of(used)
    real = os.rename
    for failing in range(1, 30):
        count = 0

        def rename(source: Any, target: Any, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise PermissionError(13, "Permission denied", str(target))
            real(source, target)

        monkeypatch.setattr(backups.os, "rename", rename)
        failure: WorkspaceError | None = None
        try:
            restore(used, file)
        except WorkspaceError as error:
            failure = error
        if failure is None:
            break
        assert "Everything is as it was" in str(failure)
        assert (state_of(used), hidden(used)) == (before, present)
        assert settings_of(used) == settings
    assert failing > 8


def test_a_restore_that_was_killed_while_unpacking_leaves_no_trace(used: Path) -> None:
    left = used / ".bkg" / f"{backups.STAGED}killed"
    (left / ".bkg").mkdir(parents=True)
    with Host(used, autostart=False):
        assert not left.exists()


def test_two_restores_at_once_are_one_after_the_other_or_refused(used: Path) -> None:
    file, _ = backup(used)
    before = state_of(used)
    ends: list[BaseException | None] = []

    def run() -> None:
        try:
            restore(used, file)
            ends.append(None)
        except WorkspaceOwned as error:
            ends.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(ends) == 4, timeout=30)
    for thread in threads:
        thread.join()
    assert None in ends
    assert state_of(used) == before
