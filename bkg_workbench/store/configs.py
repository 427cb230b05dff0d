"""Definitions and settings of the workspace's plug-ins: read, saved, restored, told apart.

Owns the rules of saving (validate, version, author, difference, secrets) and the effective
settings. The table is the truth (`store.table`); plugins/plugins.json mirrors it
(`store.reconcile`). Does not own what a running plug-in does with new settings.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.errors import ConfigConflict, ConfigInvalid, PluginNotFound, StoreError
from bkg_workbench.protocol import schema as json_schema
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.values import MAX_SETTINGS_DEPTH, is_too_deep
from bkg_workbench.store import mirror, table
from bkg_workbench.store.database import Database, is_damage
from bkg_workbench.store.reconcile import Reconciler, masked_entry

MIGRATIONS = table.MIGRATIONS
"""For the `Database` that a `Configs` is made on."""

T = TypeVar("T")
Schema = dict[str, Any]
Settings = dict[str, Any]


class Loaded(msgspec.Struct, frozen=True):
    """What the workspace holds. Secrets in the definitions' settings are masked."""

    definitions: list[Definition]
    versions: dict[str, int]
    schemas: dict[str, Schema]
    notices: list[str]


class Stored(msgspec.Struct, frozen=True):
    """One plug-in; `settings` are the operator's own, secrets in clear. Not to be shown."""

    definition: Definition
    version: int
    settings: Settings
    schema: Schema | None


class Version(msgspec.Struct, frozen=True):
    """One version, all secrets masked. `diff` has paths of plugins.json (`/settings/users`)."""

    version: int
    at: int
    author: str
    reason: str | None
    diff: list[json_schema.Change]
    settings: Settings | None


class Configs:
    """The plug-ins of one workspace.

    Parameters: `database` made with `MIGRATIONS` (opened by `load` if it is not yet);
    `plugins_dir` holds plugins.json and the plug-ins' folders; `state_dir` is `.bkg`.
    Every method may raise `StoreError`; what it would have changed is then unchanged.
    """

    def __init__(
        self, database: Database, plugins_dir: Path, state_dir: Path, clock: Clock | None = None
    ) -> None:
        self._database = database
        self._plugins_dir = Path(plugins_dir)
        self._state_dir = Path(state_dir)
        self._clock = clock or SystemClock()
        self._reconciler = Reconciler(database, self._plugins_dir, self._clock)

    # The whole workspace

    async def load(self) -> Loaded:
        """Open, bring table and mirror together, and tell what there is."""
        await asyncio.to_thread(self._database.open)
        notices = self._database.notices
        try:
            return await self._brought_together(notices)
        except table.RowDamaged as error:
            reason = str(error)
        except StoreError as error:
            if not is_damage(error):
                raise
            reason = str(error.facts.get("reason", error))
        await asyncio.to_thread(self._database.start_afresh, reason)
        return await self._brought_together(self._database.notices)

    async def _brought_together(self, notices: list[str]) -> Loaded:
        await self._database.work(self._reconciler.start)
        told = await self._database.work(self._reconciler.take_notices)
        return await self._loaded([*notices, *told])

    async def rescan(self) -> Loaded | None:
        """As `load` for what was changed by hand since; None when there is nothing to tell.

        To be called every 2 s or so: a changed file is taken once two calls at least 0.5 s apart
        saw it alike.
        """
        changed = await self._database.work(self._reconciler.poll)
        notices = await self._database.work(self._reconciler.take_notices)
        return await self._loaded(notices) if changed or notices else None

    async def present(self) -> Loaded:
        """What the table holds, without looking for changes by hand."""
        return await self._loaded([])

    async def _loaded(self, notices: list[str]) -> Loaded:
        def read(connection: sqlite3.Connection) -> Loaded:
            rows, schemas = table.rows(connection), table.schemas(connection)
            return Loaded(
                [masked_entry(r.entry, schemas.get(n)).definition for n, r in rows.items()],
                {name: row.version for name, row in rows.items()},
                schemas,
                notices,
            )

        return await self._database.read(read)

    # Settings

    async def get(self, name: str) -> Stored:
        """One plug-in with its settings in clear. Raises `PluginNotFound`."""

        def read(connection: sqlite3.Connection) -> Stored:
            row = _row(connection, name)
            schema = table.schema(connection, name)
            settings = _known(schema, row.definition.settings)
            return Stored(row.definition, row.version, settings, schema)

        return await self._database.read(read)

    def effective(
        self, definition: Definition, settings: Settings, schema: Schema | None = None
    ) -> Settings:
        """Schema defaults, below the plug-in's config.json, below `settings`.

        Reads one small file. Raises `ConfigInvalid` when config.json is not a JSON object.
        """
        below = json_schema.merge(json_schema.defaults(schema), self._file_defaults(definition))
        return dict(json_schema.merge(below, _known(schema, settings)))

    def problems(
        self, definition: Definition, settings: Settings, schema: Schema | None
    ) -> json_schema.Errors:
        """What is wrong with the effective settings: {JSON pointer: message}."""
        try:
            effective = self.effective(definition, settings, schema)
            return json_schema.validate(schema, effective) if schema else {}
        except ConfigInvalid as error:
            return dict(error.facts["errors"])
        except json_schema.SchemaInvalid as error:
            return {"": str(error)}

    def plugin_dir(self, definition: Definition) -> Path:
        """The plug-in's folder: its own, or that of its entrypoint where two share one."""
        own = self._plugins_dir / definition.name
        shared = self._plugins_dir / definition.entrypoint
        if not (own / definition.entrypoint).exists() and shared.exists():
            return shared.parent
        return own

    def _file_defaults(self, definition: Definition) -> Settings:
        path = self.plugin_dir(definition) / "config.json"
        try:
            content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
            value = msgspec.json.decode(content) if content.strip() else {}
            if isinstance(value, dict):
                return value
            problem = "it is not an object"
        except FileNotFoundError:
            return {}
        except OSError as error:
            problem = error.strerror or str(error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problem = f"it is not JSON ({error})"
        errors = {"": f"config.json of {path.parent.name} cannot be used: {problem}"}
        raise ConfigInvalid(plugin=definition.name, errors=errors)

    async def save(
        self,
        name: str,
        settings: Settings,
        version: int,
        schema: Schema | None = None,
        author: str = "",
        reason: str | None = None,
    ) -> int:
        """Save the operator's settings, read at `version`; the new version.

        A secret given as `"***"` keeps its value. Without `schema` the remembered one counts.
        Equal settings make no new version. Raises `ConfigInvalid`, `ConfigConflict`,
        `PluginNotFound`.
        """

        def transact(connection: sqlite3.Connection) -> int:
            row = _row(connection, name)
            if version != row.version:
                raise ConfigConflict(plugin=name, version=version, current=row.version)
            return self._put_settings(connection, row, settings, schema, author, reason)

        return await self._write_and_publish(transact)

    def _put_settings(
        self,
        connection: sqlite3.Connection,
        row: table.Row,
        settings: Settings,
        schema: Schema | None,
        author: str,
        reason: str | None,
    ) -> int:
        definition = row.definition
        known = schema if schema is not None else table.schema(connection, definition.name)
        plain = _plain(definition.name, settings)
        clear = json_schema.unmask(known, plain, definition.settings)
        if errors := self.problems(definition, clear, known):
            raise ConfigInvalid(plugin=definition.name, errors=errors)
        entry = mirror.Entry(msgspec.structs.replace(definition, settings=clear), row.entry.extras)
        return table.put(connection, entry, author=author, at=self._clock.now_ms(), reason=reason)

    async def history(self, name: str) -> list[Version]:
        """Every kept version, newest first. Raises `PluginNotFound`."""

        def read(connection: sqlite3.Connection) -> list[Version]:
            _row(connection, name)
            schema = table.schema(connection, name)
            return _history(table.versions(connection, name), schema)

        return await self._database.read(read)

    async def restore(
        self, name: str, version: int, schema: Schema | None = None, author: str = ""
    ) -> int:
        """Make the settings of an earlier version the current ones; the new version.

        Raises `PluginNotFound`, and `ConfigInvalid` when there is no such version or its settings
        do not match the schema of today.
        """

        def transact(connection: sqlite3.Connection) -> int:
            row = _row(connection, name)
            kept = {v: item for v, *_, item in table.versions(connection, name) if item}
            if version not in kept:
                sentence = f"there is no version {version}; kept are {min(kept)} to {max(kept)}"
                raise ConfigInvalid(plugin=name, errors={"/version": sentence})
            settings = kept[version]["settings"]
            reason = f"version {version} restored"
            return self._put_settings(connection, row, settings, schema, author, reason)

        return await self._write_and_publish(transact)

    # Definitions

    async def set_definition(self, definition: Definition, author: str) -> int:
        """Add or change a definition; `"***"` in its settings keeps a secret. The version.

        An edit by hand of plugins.json that waits is taken first, as by `rescan`.
        """

        def transact(connection: sqlite3.Connection) -> int:
            old = table.row(connection, definition.name)
            schema = table.schema(connection, definition.name)
            plain = _plain(definition.name, definition.settings)
            stored = old.definition.settings if old else {}
            clear = json_schema.unmask(schema, plain, stored, keep_unknown=True)
            new = msgspec.structs.replace(definition, settings=clear)
            entry = mirror.Entry(new, old.entry.extras if old else {})
            at = self._clock.now_ms()
            return table.put(connection, entry, author=author, at=at, reason=None)

        return await self._write_and_publish(transact, after_edits=True)

    async def remove(self, name: str, author: str) -> None:
        """Remove a definition; its folder and versions stay. Raises `PluginNotFound`.

        An edit by hand of plugins.json that waits is taken first, as by `rescan`.
        """

        def transact(connection: sqlite3.Connection) -> None:
            _row(connection, name)
            at = self._clock.now_ms()
            table.delete(connection, name, author=author, at=at, reason="removed")

        await self._write_and_publish(transact, after_edits=True)

    async def remember_schema(self, name: str, schema: Schema | None) -> None:
        """Keep the configSchema that a plug-in registered: it checks and masks from now on."""

        def transact(connection: sqlite3.Connection) -> bool:
            old = table.schema(connection, name)
            if json_schema.is_same(old, schema):
                return False
            table.put_schema(connection, name, schema)
            return True

        await self._write_and_publish(transact)

    async def write_runtime(self, name: str, settings: Settings, path: Path) -> None:
        """Write the effective settings, secrets in clear, to `path` atomically (0600)."""
        content = msgspec.json.format(msgspec.json.encode(_plain(name, settings)), indent=2)

        def write() -> None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mirror.write_atomic(path, content + b"\n", 0o600)

        await asyncio.to_thread(write)

    async def _write_and_publish(
        self, transact: Callable[[sqlite3.Connection], T], *, after_edits: bool = False
    ) -> T:
        def run() -> T:
            if after_edits:
                self._reconciler.take_edit()
            result = self._database.write_here(transact)
            self._reconciler.publish()
            return result

        return await self._database.work(run)


def _row(connection: sqlite3.Connection, name: str) -> table.Row:
    row = table.row(connection, name)
    if row is None:
        raise PluginNotFound(plugin=name, known=sorted(table.rows(connection)))
    return row


def _plain(name: str, settings: Settings) -> Settings:
    """The settings as plain JSON values. Raises `ConfigInvalid` for what has no JSON form."""
    try:
        json.dumps(settings, allow_nan=False)
        value = msgspec.json.decode(msgspec.json.encode(settings))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigInvalid(plugin=name, errors={"": f"it has no JSON form: {error}"}) from None
    if not isinstance(value, dict):
        raise ConfigInvalid(plugin=name, errors={"": "must be an object"})
    if is_too_deep(value):
        problem = f"nests deeper than {MAX_SETTINGS_DEPTH} levels"
        raise ConfigInvalid(plugin=name, errors={"": problem})
    return value


def _known(schema: Schema | None, settings: Settings) -> Settings:
    """The settings without secrets whose value nobody has entered here yet."""
    return dict(json_schema.unmask(schema, settings, {}))


def _history(
    versions: list[tuple[int, int, str, str | None, Settings | None]], schema: Schema | None
) -> list[Version]:
    found: list[Version] = []
    before: Settings = {}
    for version, at, author, reason, item in versions:
        after = dict(item or {})
        settings = after.pop("settings", None)
        changes = json_schema.diff(_rest(before), after)
        changes += json_schema.masked_diff(
            schema, before.get("settings"), settings, path="/settings"
        )
        shown = json_schema.mask(schema, settings)
        found.append(Version(version, at, author, reason, changes, shown))
        before = item or {}
    return found[::-1]


def _rest(item: Settings) -> Settings:
    return {k: v for k, v in item.items() if k != "settings"}
