"""The file plugins/plugins.json: reading it without harm, writing it atomically, putting it aside.

Owns the form of the mirror (an array of definitions) and every access to the file. Does not own
what an edit means: `store.configs` decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench.bus.clock import Clock
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.values import is_too_deep

LIMIT_BYTES = 10 * 1024 * 1024
TEMPORARY = ".plugins."
"""How the names of temporary files begin; leftovers of a crash are removed at start."""

_BOM = b"\xef\xbb\xbf"
_SHOWN = ("name", "description", "entrypoint", "autostart", "capabilities", "settings")


class MirrorInvalid(ValueError):
    """The file's content is not an array of definitions; the message says where."""


class MirrorUnusable(Exception):
    """The file cannot be read or written as it is: a link, a directory, no permission."""


@dataclass(frozen=True)
class Entry:
    """One definition of the mirror, with the fields that this version does not know."""

    definition: Definition
    extras: dict[str, Any]


def parse(content: bytes) -> list[Entry]:
    """The definitions in a mirror's content. Raises `MirrorInvalid`."""
    try:
        items = msgspec.json.decode(content.removeprefix(_BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MirrorInvalid(f"it is not JSON ({error})") from None
    if not isinstance(items, list):
        raise MirrorInvalid("it is not an array of definitions")
    entries, names = [], set()
    for index, item in enumerate(items):
        entry = entry_of(item, f"item {index + 1}")
        name = entry.definition.name
        if name in names:
            raise MirrorInvalid(f"the name {name} stands in it twice")
        names.add(name)
        entries.append(entry)
    return entries


def entry_of(item: Any, place: str) -> Entry:
    """One object of the mirror. Raises `MirrorInvalid`, naming `place` and the field at fault."""
    try:
        definition = msgspec.convert(item, Definition)
    except msgspec.ValidationError as error:
        name = item.get("name") if isinstance(item, dict) else None
        where = f"{place} ({name})" if isinstance(name, str) else place
        raise MirrorInvalid(f"{where}: {error}") from None
    if is_too_deep(definition.settings):
        raise MirrorInvalid(f"{place} ({definition.name}): its settings nest too deep")
    known = Definition.__struct_encode_fields__
    return Entry(definition, {k: v for k, v in item.items() if k not in known})


def object_of(entry: Entry) -> dict[str, Any]:
    """The JSON object of a definition: what is always shown first, then what is not default."""
    definition = entry.definition
    shown = {name: msgspec.to_builtins(getattr(definition, name)) for name in _SHOWN}
    return {**shown, **msgspec.to_builtins(definition), **entry.extras}


def render(entries: list[Entry]) -> bytes:
    """The mirror's content."""
    raw = msgspec.json.encode([object_of(entry) for entry in entries])
    return msgspec.json.format(raw, indent=2) + b"\n"


def is_same_content(content: bytes, entries: list[Entry]) -> bool:
    """Whether `content` says what `entries` say, whatever its formatting and order."""
    try:
        found = parse(content)
    except MirrorInvalid:
        return False
    return {e.definition.name: object_of(e) for e in found} == {
        e.definition.name: object_of(e) for e in entries
    }


def digest(content: bytes) -> str:
    """The hash by which a later change of the file is seen."""
    return hashlib.sha256(content).hexdigest()


class MirrorFile:
    """The file at `path`. Links are never followed, neither reading nor writing."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock

    def fingerprint(self) -> tuple[int, ...] | None:
        """Changes whenever the file may have changed; None when there is none."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def read(self) -> bytes | None:
        """The content; None when there is no file. Raises `MirrorUnusable`."""
        try:
            descriptor = os.open(
                self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MirrorUnusable(self._why(error)) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise MirrorUnusable("it is not a regular file")
        with open(descriptor, "rb") as file:
            content = file.read(LIMIT_BYTES + 1)
        if len(content) > LIMIT_BYTES:
            raise MirrorUnusable(f"it is larger than {LIMIT_BYTES >> 20} MiB")
        return content

    def write(self, content: bytes) -> None:
        """Replace the file atomically. Raises `MirrorUnusable`; the old file is then untouched."""
        mode = 0o644
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(self.path)
            if stat.S_ISLNK(found.st_mode):
                raise MirrorUnusable("it is a link")
            if not stat.S_ISREG(found.st_mode):
                raise MirrorUnusable("it is not a regular file")
            mode = stat.S_IMODE(found.st_mode)
            if not os.access(self.path, os.W_OK):
                raise MirrorUnusable("it is read-only")
        try:
            write_atomic(self.path, content, mode, prefix=TEMPORARY)
        except OSError as error:
            raise MirrorUnusable(self._why(error)) from None

    def put_aside(self, what: str, content: bytes) -> Path:
        """Keep `content` beside the file as `plugins.json.<what>-<ms>`."""
        stamp = self._clock.now_ms()
        aside = self.path.with_name(f"{self.path.name}.{what}-{stamp}")
        number = 1
        while aside.exists():
            aside = self.path.with_name(f"{self.path.name}.{what}-{stamp}-{number}")
            number += 1
        try:
            write_atomic(aside, content, 0o600, prefix=TEMPORARY)
        except OSError as error:
            raise MirrorUnusable(self._why(error)) from None
        return aside

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a writer that was killed."""
        with contextlib.suppress(OSError):
            for leftover in self.path.parent.glob(TEMPORARY + "*.tmp"):
                leftover.unlink(missing_ok=True)

    def _why(self, error: OSError) -> str:
        if self.path.is_symlink():
            return "it is a link"
        return (error.strerror or str(error)).lower()


def write_atomic(path: Path, content: bytes, mode: int, *, prefix: str = ".tmp.") -> None:
    """Put `content` at `path` with `mode`, so that a crash leaves the old file or the new one."""
    temporary = path.with_name(f"{prefix}{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
