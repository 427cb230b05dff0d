"""The `plugins` table and what lies beside it in bkg.db: versions, schemas, removals, the mirror.

Owns the layout of these tables and how a row becomes a definition and back. Every function takes
an open connection; those that write are called inside a transaction. `put` alone makes versions.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.schema import is_same
from bkg_workbench.store.database import Migration
from bkg_workbench.store.mirror import Entry, MirrorInvalid, entry_of, object_of

KEPT_VERSIONS = 100
"""How many versions of a plug-in can be restored."""

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE plugins (
            name TEXT PRIMARY KEY, description TEXT NOT NULL, capabilities TEXT NOT NULL,
            autostart INTEGER NOT NULL, config TEXT NOT NULL, definition TEXT NOT NULL,
            version INTEGER NOT NULL, updated_at INTEGER NOT NULL, updated_by TEXT NOT NULL)""",
        """CREATE TABLE versions (
            name TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL,
            author TEXT NOT NULL, reason TEXT, definition TEXT,
            PRIMARY KEY (name, version))""",
        "CREATE TABLE schemas (name TEXT PRIMARY KEY, schema TEXT NOT NULL)",
        "CREATE TABLE removed (name TEXT PRIMARY KEY)",
        """CREATE TABLE mirror (
            id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL,
            mirrored_revision INTEGER NOT NULL, mirrored_sha256 TEXT)""",
        "INSERT INTO mirror VALUES (1, 0, 0, NULL)",
    ),
)

_COLUMNS = ("name", "description", "capabilities", "autostart", "settings")
"""Fields of a definition that have a column of their own; the rest is in `definition`."""


class RowDamaged(Exception):
    """A row does not hold what this code wrote."""


@dataclass(frozen=True)
class Row:
    """One plug-in: its definition with the settings in clear, and who changed it last."""

    entry: Entry
    version: int
    updated_at: int
    updated_by: str

    @property
    def definition(self) -> Definition:
        """The definition; `settings` are in clear."""
        return self.entry.definition


@dataclass(frozen=True)
class MirrorState:
    """Whether the mirror says what the table says: `revision` counts the table's changes."""

    revision: int
    mirrored_revision: int
    mirrored_sha256: str | None

    @property
    def is_current(self) -> bool:
        """Whether the table is unchanged since the mirror was last written or imported."""
        return self.revision == self.mirrored_revision


def rows(connection: sqlite3.Connection) -> dict[str, Row]:
    """Every plug-in by name, in the order of their coming. Raises `RowDamaged`."""
    found = connection.execute(f"SELECT {_SELECTED} FROM plugins ORDER BY rowid")
    return {row.definition.name: row for row in map(_row, found)}


def row(connection: sqlite3.Connection, name: str) -> Row | None:
    """One plug-in. Raises `RowDamaged`."""
    found = connection.execute(f"SELECT {_SELECTED} FROM plugins WHERE name = ?", (name,))
    one = found.fetchone()
    return None if one is None else _row(one)


_SELECTED = (
    "name, description, capabilities, autostart, config, definition, "
    "version, updated_at, updated_by"
)


def _row(columns: tuple[Any, ...]) -> Row:
    name, description, capabilities, autostart, config, rest, version, at, by = columns
    try:
        item = {
            **msgspec.json.decode(rest),
            "name": name,
            "description": description,
            "capabilities": msgspec.json.decode(capabilities),
            "autostart": bool(autostart),
            "settings": msgspec.json.decode(config),
        }
        return Row(entry_of(item, name), version, at, by)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, MirrorInvalid) as error:
        raise RowDamaged(f"the row of {name} cannot be read: {error}") from None


def put(
    connection: sqlite3.Connection, entry: Entry, *, author: str, at: int, reason: str | None
) -> int:
    """Write a plug-in, settings in clear; the version it has then. Equal to before: no change."""
    definition = entry.definition
    old = row(connection, definition.name)
    if old is not None and is_same(object_of(old.entry), object_of(entry)):
        return old.version
    item = object_of(entry)
    rest = {k: v for k, v in item.items() if k not in _COLUMNS}
    version = _last_version(connection, definition.name) + 1
    connection.execute(
        "INSERT INTO plugins VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "description = excluded.description, capabilities = excluded.capabilities, "
        "autostart = excluded.autostart, config = excluded.config, "
        "definition = excluded.definition, version = excluded.version, "
        "updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        (
            definition.name,
            definition.description,
            _json(definition.capabilities),
            int(definition.autostart),
            _json(definition.settings),
            _json(rest),
            version,
            at,
            author,
        ),
    )
    _add_version(connection, definition.name, version, at, author, reason, _json(item))
    connection.execute("DELETE FROM removed WHERE name = ?", (definition.name,))
    return version


def delete(
    connection: sqlite3.Connection, name: str, *, author: str, at: int, reason: str | None
) -> None:
    """Remove a plug-in; its versions stay, and its folder does not bring it back by itself."""
    connection.execute("DELETE FROM plugins WHERE name = ?", (name,))
    connection.execute("INSERT OR IGNORE INTO removed VALUES (?)", (name,))
    version = _last_version(connection, name) + 1
    _add_version(connection, name, version, at, author, reason, None)


def _last_version(connection: sqlite3.Connection, name: str) -> int:
    found = connection.execute("SELECT MAX(version) FROM versions WHERE name = ?", (name,))
    return found.fetchone()[0] or 0


def _add_version(
    connection: sqlite3.Connection, name: str, version: int, at: int, author: str,
    reason: str | None, definition: str | None,
) -> None:  # fmt: skip
    connection.execute(
        "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)",
        (name, version, at, author, reason, definition),
    )
    connection.execute(
        "DELETE FROM versions WHERE name = ? AND version <= ?", (name, version - KEPT_VERSIONS)
    )
    connection.execute("UPDATE mirror SET revision = revision + 1")


def versions(
    connection: sqlite3.Connection, name: str
) -> list[tuple[int, int, str, str | None, dict[str, Any] | None]]:
    """(version, at, author, reason, definition with settings in clear or None), oldest first."""
    found = connection.execute(
        "SELECT version, at, author, reason, definition FROM versions WHERE name = ? "
        "ORDER BY version",
        (name,),
    )
    return [(*rest, None if d is None else msgspec.json.decode(d)) for *rest, d in found]


def schema(connection: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """The configSchema that the plug-in registered last."""
    return schemas(connection).get(name)


def schemas(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Every remembered configSchema by plug-in."""
    found = connection.execute("SELECT name, schema FROM schemas")
    return {name: msgspec.json.decode(text) for name, text in found}


def put_schema(connection: sqlite3.Connection, name: str, value: dict[str, Any] | None) -> None:
    """Remember a configSchema, or forget it with None. The mirror's masks may change by it."""
    if value is None:
        connection.execute("DELETE FROM schemas WHERE name = ?", (name,))
    else:
        connection.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?)", (name, _json(value)))
    connection.execute("UPDATE mirror SET revision = revision + 1")


def removed(connection: sqlite3.Connection) -> set[str]:
    """Plug-ins that were removed while their folder stayed."""
    return {name for (name,) in connection.execute("SELECT name FROM removed")}


def forget_removed(connection: sqlite3.Connection, name: str) -> None:
    """A folder that comes again counts as new."""
    connection.execute("DELETE FROM removed WHERE name = ?", (name,))


def mirror_state(connection: sqlite3.Connection) -> MirrorState:
    """How the mirror and the table stand to each other."""
    found = connection.execute("SELECT revision, mirrored_revision, mirrored_sha256 FROM mirror")
    return MirrorState(*found.fetchone())


def set_mirrored(connection: sqlite3.Connection, sha256: str, *, is_current: bool = True) -> None:
    """The mirror's content has this hash; unless `is_current` it is still to be rewritten."""
    connection.execute(
        "UPDATE mirror SET mirrored_sha256 = ?, mirrored_revision = iif(?, revision, -1)",
        (sha256, is_current),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
