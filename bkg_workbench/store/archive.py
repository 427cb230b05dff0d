"""A backup's archive: a tar.gz whose last member, manifest.json, vouches for all the others.

Owns its form, the consistent copy of a database that may be in use, and the checks of an archive
from who knows where. Which files of a workspace go in, and how they come back, is `host.backup`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from bkg_workbench.errors import StoreError, WorkspaceError
from bkg_workbench.store.database import BUSY_SECONDS, told

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 1024 * 1024

_MAGIC = b"SQLite format 3\0"
_ALLOWED = re.compile(
    r"\.bkg/(?:bkg|samples)\.db|bkg\.toml|plugins/plugins\.json|plugins/[^/]+/config\.json"
    r"|\.bkg/plugins/[a-z][a-z0-9_-]{0,31}/data/.+",
    re.DOTALL,
)


class Source(msgspec.Struct, frozen=True):
    """A file that goes in under `path`. A database must be one; else that is seen by its head."""

    path: str
    file: Path
    is_database: bool = False


class Member(msgspec.Struct, frozen=True):
    """A file of the archive: its place in the workspace, bytes, hash and permission bits."""

    path: str
    size: int
    sha256: str
    mode: int


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What an archive holds. `at` is in ms since 1970; `schemas`: {database: its layout}."""

    format: int = FORMAT
    version: str
    at: int
    workspace: str
    schemas: dict[str, int] = {}
    members: list[Member] = []
    left_out: list[str] = []


# -- writing ------------------------------------------------------------------------------------
def write(target: Path, sources: Iterable[Source], scratch: Path, manifest: Manifest) -> Manifest:
    """Make the archive at `target` (0600), which must not exist; whole or not at all.

    One file at a time is copied into `scratch`, a private folder, so that each is of one moment.
    `manifest` is given without members and comes back with them; a file that cannot be copied is
    named in its `left_out`. Raises `StoreError` for a database that is damaged, `OSError`.
    """
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as stream:
            with tarfile.open(
                fileobj=stream, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT
            ) as tar:
                manifest = _fill(tar, sources, scratch, manifest)
            stream.flush()
            os.fsync(descriptor)
        _put(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return manifest


def _put(temporary: str, target: Path) -> None:
    """A link, unlike a rename, does not replace what came there meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(temporary, target)


def _fill(
    tar: tarfile.TarFile, sources: Iterable[Source], scratch: Path, manifest: Manifest
) -> Manifest:
    members: list[Member] = []
    schemas: dict[str, int] = {}
    left_out = list(manifest.left_out)
    part_of_a_copy: set[Path] = set()
    for source in sources:
        if source.file in part_of_a_copy:
            continue
        copy = scratch / "copy"
        try:
            layout = _copy(source, copy)
            if layout is not None:
                part_of_a_copy |= {
                    source.file.with_name(source.file.name + ending)
                    for ending in ("-wal", "-shm", "-journal")
                }
            if source.is_database and layout is not None:
                schemas[source.file.name] = layout
            members.append(_add(tar, source, copy))
        except (FileNotFoundError, PermissionError) as error:
            # Gone meanwhile, or not for this user.
            if source.is_database:
                raise
            left_out.append(f"{source.path}: {(error.strerror or str(error)).lower()}")
        finally:
            copy.unlink(missing_ok=True)
    manifest = msgspec.structs.replace(
        manifest, schemas=schemas, members=members, left_out=left_out
    )
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    info = tarfile.TarInfo(MANIFEST)
    info.size, info.mode, info.mtime = len(content), 0o600, manifest.at // 1000
    tar.addfile(info, io.BytesIO(content))
    return manifest


def _add(tar: tarfile.TarFile, source: Source, copy: Path) -> Member:
    found = source.file.stat()
    with copy.open("rb") as stream:
        sha256 = _hash(stream)
        size = stream.tell()
        stream.seek(0)
        info = tarfile.TarInfo(source.path)
        info.size, info.mode, info.mtime = size, found.st_mode & 0o777, int(found.st_mtime)
        tar.addfile(info, stream)
    return Member(source.path, size, sha256, info.mode)


def _copy(source: Source, copy: Path) -> int | None:
    """A copy as of one moment; the layout (`user_version`) where it is a database."""
    if source.is_database:
        return copy_database(source.file, copy)
    if _is_database(source.file):
        # One that cannot be read as such is a file like any other.
        with contextlib.suppress(StoreError):
            return copy_database(source.file, copy)
        copy.unlink(missing_ok=True)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with (
        open(os.open(source.file, flags), "rb") as reader,
        open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer,
    ):
        while piece := reader.read(PIECE_BYTES):
            writer.write(piece)
    return None


def _is_database(file: Path) -> bool:
    with contextlib.suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC
    return False


def copy_database(source: Path, target: Path) -> int:
    """Copy a database that may be in use, as of one moment; gives its `user_version`.

    Raises `StoreError`.
    """
    if not source.is_file():
        raise FileNotFoundError(2, "No such file", str(source))
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with told(source), contextlib.closing(_connect(source)) as connection:
        # VACUUM INTO takes an empty file, and so keeps its mode.
        connection.execute("VACUUM INTO ?", (str(target),))
    return check_database(target, source.name)


def check_database(file: Path, name: str) -> int:
    """The `user_version` of a sound database that nobody uses. Raises `StoreError`."""
    with told(file), contextlib.closing(_connect(file)) as connection:
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise StoreError(reason=f"{name}: its content is damaged ({answer})", path=str(file))
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )


# -- reading ------------------------------------------------------------------------------------
def read(archive: Path, into: Path) -> Manifest:
    """Unpack an archive below `into`, an empty private folder, and check every byte of it.

    Raises `WorkspaceError` for what is no backup, is damaged, or was written by a newer version;
    what was unpacked by then is to be thrown away.
    """
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            return _unpack(archive, tar, into)
    except FileNotFoundError:
        raise WorkspaceError(f"There is no file {archive}.", path=str(archive)) from None
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError) as error:
        raise _bad(archive, f"it is no whole tar.gz ({error})") from None
    except OSError as error:
        raise _bad(archive, (error.strerror or str(error)).lower()) from None


def _unpack(archive: Path, tar: tarfile.TarFile, into: Path) -> Manifest:
    found: dict[str, tuple[int, str]] = {}
    manifest: Manifest | None = None
    for info in tar:
        if manifest is not None:
            raise _bad(archive, f"{info.name!r} comes after the manifest")
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _bad(archive, f"{info.name!r} is no plain file")
        stream = tar.extractfile(info)
        assert stream is not None
        if info.name == MANIFEST:
            manifest = _manifest(archive, stream)
            continue
        if not _is_allowed(info.name) or info.name in found:
            raise _bad(archive, f"{info.name!r} has no place in a workspace")
        place = into / info.name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(place, flags, 0o600), "w+b") as file:
            while piece := stream.read(PIECE_BYTES):
                file.write(piece)
            file.seek(0)
            found[info.name] = (info.size, _hash(file))
    if manifest is None:
        raise _bad(archive, f"it has no {MANIFEST}")
    named = {member.path: (member.size, member.sha256) for member in manifest.members}
    for path in sorted(named.keys() | found.keys()):
        if named.get(path) != found.get(path):
            raise _bad(archive, f"{path} is not what its manifest says")
    for member in manifest.members:
        (into / member.path).chmod(member.mode & 0o777 | 0o600)
    return manifest


def _manifest(archive: Path, stream: IO[bytes]) -> Manifest:
    content = stream.read(MANIFEST_BYTES)
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format > FORMAT:
            raise WorkspaceError(
                f"{archive} was written by a newer bkg-workbench ({head.version}); "
                "restore it with that version.",
                path=str(archive),
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(archive, f"its {MANIFEST} cannot be read ({error})") from None


class _Head(msgspec.Struct):
    """What every format of the manifest has."""

    format: int
    version: str = "?"


def _is_allowed(name: str) -> bool:
    parts = name.split("/")
    is_plain = "\0" not in name and not {"", ".", ".."} & set(parts)
    return is_plain and _ALLOWED.fullmatch(name) is not None


def _bad(archive: Path, why: str) -> WorkspaceError:
    return WorkspaceError(
        f"{archive} cannot be restored: {why}. Nothing was changed.", path=str(archive), reason=why
    )


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(stream):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BYTES):
        yield piece
