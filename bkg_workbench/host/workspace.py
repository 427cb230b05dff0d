"""The workspace on disk: its paths, its lock, its connection file, and laying one out.

Owns `.bkg/` (0700) except for what the store keeps in it, and `bkg init`. At most one Host holds
the lock (`flock` on `.bkg/host.lock`); a forked child never does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bkg_workbench._version import __version__
from bkg_workbench.client.attach import CONNECTION_FILE, MARK, ConnectionFile
from bkg_workbench.errors import WorkspaceError, WorkspaceOwned

PACKAGE = Path(__file__).resolve().parent.parent
CONTENT = ("plugins", "notebooks", "dashboards")
SKIPPED = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".bkg", "node_modules", "tests"}
LAID_OUT = Path(".bkg") / "init.json"


class Workspace:
    """A workspace's folders. Making the object touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = root / "plugins"
        self.hidden = root / ".bkg"
        self.logs = self.hidden / "logs"
        self.database = self.hidden / "bkg.db"
        self.dashboards = root / "dashboards"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make `.bkg` with its modes. Raises `WorkspaceError` where that cannot be."""
        try:
            for folder in (self.hidden, self.logs, self.hidden / "plugins"):
                folder.mkdir(mode=0o700, exist_ok=True)
            os.chmod(self.hidden, 0o700)
        except PermissionError as error:
            raise self._not_ours() or WorkspaceError(
                path=str(self.root), reason=_why(error)
            ) from None
        except OSError as error:
            raise WorkspaceError(path=str(self.root), reason=_why(error)) from None

    def _not_ours(self) -> WorkspaceError | None:
        """The error that says whose workspace it is, where `.bkg` is another user's."""
        try:
            owner = self.hidden.stat().st_uid
        except OSError:
            return None
        if owner == os.geteuid():
            return None
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        return WorkspaceError(
            f"{self.root} is the workspace of another user, {name}: only they can run or join its "
            "Host. Work in a copy of your own.",
            path=str(self.root),
            user=name,
        )

    def plugin_folder(self, name: str) -> Path:
        """A plug-in's own part of `.bkg`, made where it is missing."""
        folder = self.hidden / "plugins" / name
        (folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    # -- lock -----------------------------------------------------------------------------------
    def lock(self) -> int:
        """Become the only Host; gives the descriptor. Raises `WorkspaceOwned`."""
        file = self.hidden / "host.lock"
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WorkspaceError(path=str(self.root), reason=_why(error)) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            owner = self.connection_file()
            raise WorkspaceOwned(
                path=str(self.root),
                pid=owner.pid if owner else None,
                url=owner.bus if owner else "it is just starting",
            ) from None
        except OSError as error:
            os.close(descriptor)
            reason = f"its file system has no locks ({error.strerror})"
            raise WorkspaceError(path=str(self.root), reason=reason) from None
        self._lock = descriptor
        return descriptor

    def unlock(self) -> None:
        """Let go of the lock; a second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- connection file ------------------------------------------------------------------------
    def connection_file(self) -> ConnectionFile | None:
        """The connection file as it is, of a live Host or of one that has gone."""
        try:
            data = (self.root / CONNECTION_FILE).read_bytes()
            return msgspec.json.decode(data, type=ConnectionFile)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write_connection_file(self, content: ConnectionFile) -> None:
        """Write it, 0600, whole or not at all."""
        write_private(self.root / CONNECTION_FILE, msgspec.json.encode(content))

    def remove_connection_file(self, instance: str) -> None:
        """Remove it, if it is still that of this instance."""
        present = self.connection_file()
        if present is not None and present.instance == instance:
            (self.root / CONNECTION_FILE).unlink(missing_ok=True)

    # -- instances ------------------------------------------------------------------------------
    def past_instances(self) -> list[str]:
        """Instance tags of earlier Hosts of this workspace whose leftovers may still run."""
        try:
            tags = json.loads((self.hidden / "instances.json").read_bytes())
        except (OSError, ValueError):
            return []
        return [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []

    def remember_instances(self, tags: list[str]) -> None:
        """Keep the tags (the newest 20)."""
        write_private(self.hidden / "instances.json", json.dumps(tags[-20:]).encode())


def write_private(file: Path, data: bytes) -> None:
    """Write a file with mode 0600, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _why(error: OSError) -> str:
    return f"{error.strerror or error} ({error.filename})"


# -- laying one out -----------------------------------------------------------------------------
def shipped() -> Path:
    """Where plug-ins, notebooks and dashboards come from: the wheel, else the checkout."""
    in_wheel = PACKAGE / "_workspace"
    if in_wheel.is_dir():
        return in_wheel
    checkout = PACKAGE.parent
    if (checkout / MARK).is_file():
        return checkout
    raise WorkspaceError(
        "This installation has no plug-ins to lay out; install bkg-workbench again.",
        path=str(PACKAGE),
    )


@dataclass
class LaidOut:
    """What `init` did: files by what happened to them, relative to the workspace."""

    root: Path
    written: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def init(target: Path) -> LaidOut:
    """Lay a workspace out in `target`, or bring an older one up to this version.

    A file that was changed since it was laid out is kept as it is. Raises `WorkspaceError`.
    """
    source, root = shipped(), target.expanduser().resolve()
    if root == source:
        raise WorkspaceError(
            f"{root} is the checkout of the workbench itself and a workspace already.",
            path=str(root),
        )
    done = LaidOut(root)
    workspace = Workspace(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        workspace.prepare()
        version, laid = _laid_out(root)
        if _number(version) > _number(__version__):
            raise WorkspaceError(
                f"{root} was laid out by bkg-workbench {version}, which is newer than this one "
                f"({__version__}); use that version, so that nothing goes back.",
                path=str(root),
            )
        for file in _files(source):
            _lay(source, root, file, laid, done)
        record = {"version": __version__, "files": laid}
        write_private(root / LAID_OUT, json.dumps(record, indent=1, sort_keys=True).encode())
        _ignore(root)
    except OSError as error:
        raise WorkspaceError(path=str(root), reason=_why(error)) from None
    return done


def _lay(source: Path, root: Path, file: str, laid: dict[str, str], done: LaidOut) -> None:
    data = (source / file).read_bytes()
    new, place = _hash(data), root / file
    if place.is_file():
        present = _hash(place.read_bytes())
        if present == new:
            laid[file] = new
            if _is_program(file, data):
                place.chmod(place.stat().st_mode | 0o111)
            return
        # plugins.json is the mirror of the operator's own definitions from the first start on.
        if present != laid.get(file) or file == str(MARK):
            done.kept.append(file)
            return
        done.updated.append(file)
    else:
        done.written.append(file)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.new")
    temporary.write_bytes(data)
    if _is_program(file, data):
        temporary.chmod(0o755)
    os.replace(temporary, place)
    laid[file] = new


def _is_program(file: str, data: bytes) -> bool:
    return Path(file).name == "start.sh" or data.startswith(b"#!")


def _files(source: Path) -> Iterator[str]:
    for top in CONTENT:
        for folder, folders, files in os.walk(source / top):
            folders[:] = sorted(set(folders) - SKIPPED)
            for name in sorted(files):
                if not name.endswith((".pyc", "~")) and name != "config.runtime.json":
                    yield str((Path(folder) / name).relative_to(source))


def _laid_out(root: Path) -> tuple[str, dict[str, str]]:
    """The version that laid the workspace out last, and the hash of each file as it was then."""
    try:
        record = json.loads((root / LAID_OUT).read_bytes())
    except (OSError, ValueError):
        return "0", {}
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict):
        # 0.1.0 kept the hashes alone.
        return "0", record if isinstance(record, dict) else {}
    return str(record.get("version", "0")), files


def _number(version: str) -> tuple[int, ...]:
    """A version as numbers that compare: 1.10 comes after 1.9."""
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version)[:3])


def _ignore(root: Path) -> None:
    file = root / ".gitignore"
    if not file.exists():
        file.write_text(".bkg/\n__pycache__/\n.ipynb_checkpoints/\n")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def free_space(path: Path) -> int:
    """Bytes free where `path` lies."""
    return shutil.disk_usage(path).free
