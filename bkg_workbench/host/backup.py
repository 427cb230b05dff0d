"""A workspace's backup, and its way back.

Owns which files go into the archive, the exchange of the present state for that of a backup, and
what is done about an exchange that a crash cut short. The archive's form is `store.archive`'s. A
backup needs nothing of the Host and may be made while one runs; a restore holds the Host's lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench._version import __version__
from bkg_workbench.client.attach import MARK
from bkg_workbench.errors import StoreError, WorkspaceError, WorkspaceOwned
from bkg_workbench.host import settings
from bkg_workbench.host.workspace import Workspace, write_private
from bkg_workbench.store import archive, configs, samples
from bkg_workbench.store.archive import Manifest, Source

DATABASES = {"bkg.db": len(configs.MIGRATIONS), "samples.db": len(samples.MIGRATIONS)}
"""The databases of a workspace, each with the newest layout that this version knows."""
JOURNAL = "restore.json"
SCRATCH, STAGED, ASIDE = ".backup-", ".restore-", "before-restore-"
"""How the names of folders in `.bkg` begin: at work, unpacked, and put aside."""
MIRROR_TRIES = 20
STALE_SECONDS = 24 * 3600.0


class Journal(msgspec.Struct):
    """A restore that is decided: `moves` are places in the workspace and whether they come back."""

    staged: str
    aside: str
    moves: list[tuple[str, bool]]


# -- backup -------------------------------------------------------------------------------------
def backup(root: Path, target: Path | None = None) -> tuple[Path, Manifest]:
    """Make a backup of the workspace; gives its file (0600, it holds secrets) and what is in it.

    `target` is a file that does not exist, or a folder; by default `.bkg/backups`. Raises
    `WorkspaceError`, `StoreError`.
    """
    workspace = Workspace(root)
    workspace.prepare()
    at = time.time_ns() // 1_000_000
    file = _target(workspace, target, at)
    _remove_stale(workspace)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=workspace.hidden))
    try:
        _refuse_during_restore(workspace)
        sources, left_out = _sources(workspace, scratch)
        manifest = Manifest(version=__version__, at=at, workspace=root.name, left_out=left_out)
        done = archive.write(file, sources, scratch, manifest)
        _refuse_during_restore(workspace, file)
    except OSError as error:
        why = f"{(error.strerror or str(error)).lower()} ({error.filename or file})"
        raise WorkspaceError(f"The backup was not made: {why}.", path=str(file)) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return file, done


def _target(workspace: Workspace, target: Path | None, at: int) -> Path:
    stamp = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{workspace.root.name}-{stamp}.tar.gz"
    if target is None:
        folder = workspace.hidden / "backups"
        folder.mkdir(mode=0o700, exist_ok=True)
        return _free(folder, name)
    place = target.expanduser().absolute()
    if place.is_dir():
        return _free(place, name)
    if os.path.lexists(place):
        raise WorkspaceError(
            f"{place} exists already; name another file, or remove it first.", path=str(place)
        )
    if not place.parent.is_dir():
        raise WorkspaceError(f"There is no folder {place.parent}; make it first.", path=str(place))
    return place


def _free(folder: Path, name: str) -> Path:
    """A name that is not taken: two backups may be made in one second."""
    place, number = folder / name, 1
    while os.path.lexists(place):
        number += 1
        place = folder / name.replace(".tar.gz", f"-{number}.tar.gz")
    return place


def _remove_stale(workspace: Workspace) -> None:
    """What a backup that was killed has left; one that is at work is younger."""
    for left in workspace.hidden.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _refuse_during_restore(workspace: Workspace, made: Path | None = None) -> None:
    if (workspace.hidden / JOURNAL).exists():
        if made is not None:
            made.unlink(missing_ok=True)
        raise WorkspaceError(
            "A restore is under way, or was cut short; make the backup once a Host has started.",
            path=str(workspace.root),
        )


def _sources(workspace: Workspace, scratch: Path) -> tuple[list[Source], list[str]]:
    left_out: list[str] = []
    sources = [*_settled(workspace, scratch)]
    toml = workspace.root / settings.FILE
    found = [toml] if toml.is_file() else []
    found += sorted(workspace.plugins.glob("*/config.json"))
    for folder in sorted(workspace.hidden.glob("plugins/*/data")):
        if not folder.is_symlink():
            found += _files_below(folder)
    for file in found:
        path = file.relative_to(workspace.root).as_posix()
        try:
            path.encode()
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("ascii", "backslashreplace")
            left_out.append(f"{name}: its name is not UTF-8")
            continue
        if file.is_symlink() or not file.is_file():
            left_out.append(f"{path}: it is no plain file")
        else:
            sources.append(Source(path, file))
    return sources, left_out


def _settled(workspace: Workspace, scratch: Path) -> Iterator[Source]:
    """The databases and the mirror, such that the mirror is not newer than its database."""
    mirror, copy = workspace.root / MARK, scratch / "bkg.db"
    kept = scratch / "plugins.json"
    for _ in range(MIRROR_TRIES):
        before = _read(mirror)
        copy.unlink(missing_ok=True)
        if workspace.database.is_file():
            archive.copy_database(workspace.database, copy)
        if _read(mirror) == before:
            break
    if copy.exists():
        yield Source(".bkg/bkg.db", copy, is_database=True)
    if (workspace.hidden / "samples.db").is_file():
        yield Source(".bkg/samples.db", workspace.hidden / "samples.db", is_database=True)
    if before is not None:
        kept.write_bytes(before)
        kept.chmod(mirror.stat().st_mode & 0o777)
        yield Source(MARK.as_posix(), kept)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _files_below(folder: Path) -> list[Path]:
    """Every entry that is no folder; links to folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name) for name in (*files, *links)]
    return sorted(found)


# -- restore ------------------------------------------------------------------------------------
def restore(root: Path, file: Path) -> tuple[Manifest, Path | None]:
    """Put the state of a backup in place of the present one, whole or not at all.

    Gives what came back, and the folder in `.bkg` where the state before now lies. Raises
    `WorkspaceOwned` while a Host runs, `WorkspaceError`, `StoreError`.
    """
    workspace = Workspace(root)
    workspace.prepare()
    try:
        workspace.lock()
    except WorkspaceOwned as error:
        raise WorkspaceOwned(
            f"Process {error.facts.get('pid') or '–'} is the Host of {root}; end it before a "
            "restore, with `bkg call host.stop`.",
            **error.facts,
        ) from None
    try:
        finish(workspace)
        return _restore(workspace, file.expanduser().absolute())
    finally:
        workspace.unlock()


def _restore(workspace: Workspace, file: Path) -> tuple[Manifest, Path | None]:
    staged = Path(tempfile.mkdtemp(prefix=STAGED, dir=workspace.hidden))
    try:
        manifest = archive.read(file, staged)
        _check_databases(staged, file)
        aside = f"{ASIDE}{time.time_ns() // 1_000_000}"
        journal = Journal(staged.name, aside, _moves(workspace, staged, manifest))
        _check_places(workspace, journal)
        # What the journal promises must be on the disk before it is.
        os.sync()
        write_private(workspace.hidden / JOURNAL, msgspec.json.encode(journal))
        try:
            _exchange(workspace, journal)
        except OSError as error:
            _undo_or_say(workspace, journal)
            why = f"{(error.strerror or str(error)).lower()} ({error.filename})"
            raise WorkspaceError(
                f"{file} was not restored: {why}. Everything is as it was.", path=str(file)
            ) from None
        (workspace.hidden / JOURNAL).unlink()
    finally:
        # A journal that is still there wants what is staged.
        if not (workspace.hidden / JOURNAL).exists():
            shutil.rmtree(staged, ignore_errors=True)
    before = workspace.hidden / aside
    return manifest, before if before.exists() else None


def finish(workspace: Workspace) -> bool:
    """Complete a restore that a crash cut short; True if there was one. Needs the Host's lock.

    Raises `WorkspaceError` where it cannot be completed.
    """
    place = workspace.hidden / JOURNAL
    try:
        journal = msgspec.json.decode(place.read_bytes(), type=Journal)
    except FileNotFoundError:
        journal = None
    except msgspec.DecodeError as error:
        raise WorkspaceError(path=str(workspace.root), reason=f"{place}: {error}") from None
    if journal is not None:
        try:
            _exchange(workspace, journal)
            place.unlink()
        except OSError as error:
            reason = f"a restore was cut short and cannot be completed: {error}"
            raise WorkspaceError(path=str(workspace.root), reason=reason) from None
    for left in workspace.hidden.glob(f"{STAGED}*"):
        shutil.rmtree(left, ignore_errors=True)
    return journal is not None


def _check_databases(staged: Path, file: Path) -> None:
    for name, newest in DATABASES.items():
        database = staged / ".bkg" / name
        if not database.exists():
            continue
        try:
            layout = archive.check_database(database, name)
        except StoreError as error:
            raise WorkspaceError(
                f"{file} cannot be restored: {error} Nothing was changed.", path=str(file)
            ) from None
        if layout > newest:
            raise WorkspaceError(
                f"{file} was written by a newer bkg-workbench (the layout of its {name} is "
                f"{layout}, this one knows {newest}); restore it with that version. Nothing was "
                "changed.",
                path=str(file),
            )


def _moves(workspace: Workspace, staged: Path, manifest: Manifest) -> list[tuple[str, bool]]:
    """Every place that is emptied, in order, and whether something comes there."""
    places = [
        f".bkg/{name}{ending}" for name in DATABASES for ending in ("", "-wal", "-shm", "-journal")
    ]
    places += [MARK.as_posix(), settings.FILE]
    paths = [member.path for member in manifest.members]
    places += [path for path in paths if path.endswith("/config.json") and path[0] != "."]
    data = {"/".join(path.split("/")[:4]) for path in paths if path.startswith(".bkg/plugins/")}
    present = workspace.hidden.glob("plugins/*/data")
    data |= {found.relative_to(workspace.root).as_posix() for found in present}
    places += sorted(data)
    return [(place, (staged / place).exists()) for place in places]


def _check_places(workspace: Workspace, journal: Journal) -> None:
    """No place may lead out of the workspace by a link that stands in it."""
    root = workspace.root.resolve()
    for place, _ in journal.moves:
        if not (root / place).parent.resolve().is_relative_to(root):
            raise WorkspaceError(
                path=str(root), reason=f"{place} leads out of it by a link; remove the link first"
            )


def _exchange(workspace: Workspace, journal: Journal) -> None:
    """Each present file aside, each staged one in its place. Doing it again changes nothing."""
    staged, aside = workspace.hidden / journal.staged, workspace.hidden / journal.aside
    for place, comes in journal.moves:
        now, new, old = workspace.root / place, staged / place, aside / place
        if os.path.lexists(now) and not os.path.lexists(old) and (new.exists() or not comes):
            old.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(now, old)
        if new.exists():
            now.parent.mkdir(parents=True, exist_ok=True)
            os.rename(new, now)
    _sync_folders({(workspace.root / place).parent for place, _ in journal.moves})


def _undo(workspace: Workspace, journal: Journal) -> None:
    """Put everything back. Where that fails too, the journal stays, for the next start."""
    staged, aside = workspace.hidden / journal.staged, workspace.hidden / journal.aside
    for place, comes in reversed(journal.moves):
        now, new, old = workspace.root / place, staged / place, aside / place
        if comes and not new.exists() and os.path.lexists(now):
            os.rename(now, new)
        if os.path.lexists(old):
            os.rename(old, now)
    shutil.rmtree(aside, ignore_errors=True)
    (workspace.hidden / JOURNAL).unlink()


def _undo_or_say(workspace: Workspace, journal: Journal) -> None:
    try:
        _undo(workspace, journal)
    except OSError as error:
        reason = f"a restore failed half way ({error}); the next start of a Host completes it"
        raise WorkspaceError(path=str(workspace.root), reason=reason) from None


def _sync_folders(folders: set[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def facts(manifest: Manifest) -> dict[str, Any]:
    """What is told of a backup: everything but the list of its files."""
    return {
        "version": manifest.version,
        "at": manifest.at,
        "files": len(manifest.members),
        "bytes": sum(member.size for member in manifest.members),
        "leftOut": manifest.left_out,
    }
