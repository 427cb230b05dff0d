"""Keeps the `plugins` table and the mirror plugins/plugins.json of one mind.

Owns the rules: the table is the truth; an edit by hand is imported, or kept beside when it cannot
be; a plug-in's folder without a definition gets one. Everything here runs in the database's writer
thread. Does not own the tables (`store.table`) or the file (`store.mirror`).
"""

from __future__ import annotations

import os
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench.bus.clock import Clock
from bkg_workbench.protocol import schema as json_schema
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.store import mirror, table
from bkg_workbench.store.database import Database

SETTLE_SECONDS = 0.5
"""How long a changed file must stay the same before it is read, so that no torn one is."""

MIRROR_AUTHOR = "plugins.json"
FOLDER_AUTHOR = "plugins folder"

_FOLDER_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,31}\Z")


@dataclass
class _Pending:
    """A change on disk that has been seen, but not acted on."""

    seen: tuple[Any, ...]
    since: float
    polls: int = 0


@dataclass
class _Verdict:
    """What one look at the mirror came to."""

    notices: list[str] = field(default_factory=list)
    is_changed: bool = False


class Reconciler:
    """The table and the mirror of one workspace. `notices` collects what to tell the operator."""

    def __init__(self, database: Database, plugins_dir: Path, clock: Clock) -> None:
        self.notices: list[str] = []
        self._database = database
        self._plugins_dir = plugins_dir
        self._clock = clock
        self._file = mirror.MirrorFile(plugins_dir / "plugins.json", clock)
        self._settled: tuple[Any, ...] | None = None
        self._pending: _Pending | None = None
        self._standing: str | None = None
        self._is_behind = False

    def start(self) -> None:
        """Bring both together at once, and remove what a killed writer left behind."""
        self._file.remove_leftovers()
        self._look()

    def poll(self) -> bool:
        """Whether the table changed because of the mirror or the folders. Waits out torn writes."""
        seen = self._seen()
        if seen == self._settled and not self._is_behind:
            self._pending = None
            return False
        now = self._clock.monotonic()
        if self._pending is None or self._pending.seen != seen:
            self._pending = _Pending(seen, now)
            return False
        if now - self._pending.since < SETTLE_SECONDS:
            return False
        self._pending.polls += 1
        if self._pending.polls < 2 and self._looks_torn():
            return False
        return self._look()

    def take_edit(self) -> None:
        """Import an edit by hand before the table changes; a torn one is left to `poll`."""
        settled = self._settled
        if settled is None or (self._file.fingerprint() == settled[0] and not self._is_behind):
            return
        if not self._looks_torn():
            # Folders are left to `poll`: one may just be coming, with its definition.
            self._look(settled[1])

    def take_notices(self) -> list[str]:
        """What is to be told to the operator since the last call."""
        taken, self.notices = self.notices, []
        return taken

    def publish(self) -> None:
        """Bring a change of the table to the mirror. A waiting edit by hand is left to `poll`."""
        try:
            content = self._file.read()
        except mirror.MirrorUnusable as error:
            self._stand(error)
            return
        self._is_behind = False
        state = self._database.write_here(table.mirror_state)
        if content and mirror.digest(content) != state.mirrored_sha256:
            self._is_behind = True
            return
        if self._write(content) and self._settled is not None:
            self._settled = (self._file.fingerprint(), self._settled[1])

    # Looking

    def _seen(self) -> tuple[Any, ...]:
        return self._file.fingerprint(), tuple(self._folders())

    def _folders(self) -> list[str]:
        """Folders of plugins/ that hold a start.sh."""
        try:
            with os.scandir(self._plugins_dir) as found:
                return sorted(
                    entry.name
                    for entry in found
                    if _FOLDER_NAME.match(entry.name)
                    and entry.is_dir(follow_symlinks=False)
                    and os.path.exists(os.path.join(entry.path, "start.sh"))
                )
        except OSError:
            return []

    def _looks_torn(self) -> bool:
        try:
            content = self._file.read()
            return not content or not mirror.parse(content)
        except mirror.MirrorInvalid:
            return True
        except mirror.MirrorUnusable:
            return False

    def _look(self, folders: tuple[str, ...] | None = None) -> bool:
        self._pending = None
        self._is_behind = False
        seen = self._seen() if folders is None else (self._file.fingerprint(), folders)
        self._settled = seen
        try:
            content = self._file.read()
            verdict = self._database.write_here(lambda c: self._judge(c, content, seen[1]))
        except mirror.MirrorUnusable as error:
            verdict = self._database.write_here(lambda c: self._judge(c, None, seen[1], False))
            self.notices += verdict.notices
            self._stand(error)
            return verdict.is_changed
        self.notices += verdict.notices
        if self._write(content):
            self._settled = (self._file.fingerprint(), seen[1])
        return verdict.is_changed

    def _judge(
        self,
        connection: sqlite3.Connection,
        content: bytes | None,
        folders: tuple[str, ...],
        has_mirror: bool = True,
    ) -> _Verdict:
        verdict = _Verdict()
        before = table.mirror_state(connection).revision
        if has_mirror:
            self._judge_mirror(connection, content, verdict)
        self._adopt_folders(connection, folders, verdict)
        verdict.is_changed = table.mirror_state(connection).revision != before
        return verdict

    def _judge_mirror(
        self, connection: sqlite3.Connection, content: bytes | None, verdict: _Verdict
    ) -> None:
        state = table.mirror_state(connection)
        rows = table.rows(connection)
        if content is None or not content.removeprefix(b"\xef\xbb\xbf").strip():
            if rows:
                what = "is missing" if content is None else "is empty"
                verdict.notices.append(f"plugins.json {what}; it is written anew, nothing is lost.")
            return
        if mirror.digest(content) == state.mirrored_sha256:
            return
        try:
            entries = mirror.parse(content)
        except mirror.MirrorInvalid as error:
            aside = self._file.put_aside("invalid", content).name
            verdict.notices.append(
                f"plugins.json was not taken: {error}. It lies beside as {aside}; "
                "mend it and put it back."
            )
            return
        if self._says_the_same(connection, content):
            return
        if rows and not entries:
            verdict.notices.append(
                "plugins.json held no definition at all; it is written anew, nothing is removed."
            )
            return
        if not state.is_current:
            aside = self._file.put_aside("conflict", content).name
            verdict.notices.append(
                "plugins.json was edited while the settings were changed elsewhere; the edit lies "
                f"beside as {aside}, and plugins.json is written anew."
            )
            return
        self._import(connection, entries, rows, verdict)
        table.set_mirrored(connection, mirror.digest(content), is_current=False)

    # Importing

    def _import(
        self,
        connection: sqlite3.Connection,
        entries: list[mirror.Entry],
        rows: dict[str, table.Row],
        verdict: _Verdict,
    ) -> None:
        is_first = not rows
        reason = "first import" if is_first else "edited by hand"
        schemas = table.schemas(connection)
        told = []
        for entry in entries:
            name = entry.definition.name
            old = rows.get(name)
            schema = schemas.get(name)
            clear = _with_secrets(entry, old, schema)
            stored = clear.definition.settings
            known = json_schema.unmask(schema, stored, {})
            lost = [c.path for c in json_schema.diff(stored, known) if c.op == "remove"]
            if lost:
                verdict.notices.append(
                    f"{name}: {', '.join(lost)} stands as *** in plugins.json, but no value of it "
                    "is stored; enter it again."
                )
            at = self._clock.now_ms()
            table.put(connection, clear, author=MIRROR_AUTHOR, at=at, reason=reason)
            if unknown := sorted(entry.extras):
                told_unknown = f"{name}: plugins.json has fields that mean nothing here: "
                verdict.notices.append(told_unknown + ", ".join(unknown) + ".")
            changes = _changed_paths(old, clear)
            told += [f"{name} ({', '.join(changes)})"] if changes else []
        gone = [name for name in rows if name not in {e.definition.name for e in entries}]
        for name in gone:
            at = self._clock.now_ms()
            table.delete(connection, name, author=MIRROR_AUTHOR, at=at, reason=reason)
        told += [f"{name} (removed)" for name in gone]
        if told and not is_first:
            verdict.notices.append(f"plugins.json was edited by hand; taken: {'; '.join(told)}.")

    def _adopt_folders(
        self, connection: sqlite3.Connection, folders: tuple[str, ...], verdict: _Verdict
    ) -> None:
        rows = table.rows(connection)
        used = {r.definition.entrypoint.split("/")[0] for r in rows.values()}
        removed = table.removed(connection)
        for name in removed - set(folders):
            table.forget_removed(connection, name)
        found = [n for n in folders if n not in rows and n not in used and n not in removed]
        for name in found:
            table.put(
                connection,
                mirror.Entry(Definition(name=name), {}),
                author=FOLDER_AUTHOR,
                at=self._clock.now_ms(),
                reason=f"plugins/{name} has a start.sh",
            )
            verdict.notices.append(
                f"{name}: found in plugins/{name} and added; list its capabilities in plugins.json."
            )

    # Writing

    def _entries(self, connection: sqlite3.Connection) -> list[mirror.Entry]:
        """What the mirror shall say: every definition, with its secrets masked."""
        schemas = table.schemas(connection)
        return [
            masked_entry(row.entry, schemas.get(name))
            for name, row in table.rows(connection).items()
        ]

    def _says_the_same(self, connection: sqlite3.Connection, content: bytes) -> bool:
        return mirror.is_same_content(content, self._entries(connection))

    def _write(self, content: bytes | None) -> bool:
        """Rewrite the mirror, whose content was `content`, if it says something else."""
        state, entries = self._database.write_here(
            lambda c: (table.mirror_state(c), self._entries(c))
        )
        if content and state.is_current and mirror.digest(content) == state.mirrored_sha256:
            self._standing = None
            return False
        is_new = not content or not mirror.is_same_content(content, entries)
        written = mirror.render(entries) if is_new else content or b""
        if is_new:
            try:
                self._file.write(written)
            except mirror.MirrorUnusable as error:
                self._stand(error)
                return False
        sha256 = mirror.digest(written)
        self._database.write_here(lambda c: table.set_mirrored(c, sha256))
        self._standing = None
        return is_new

    def _stand(self, error: mirror.MirrorUnusable) -> None:
        """Say once that the mirror cannot be used; the database goes on without it."""
        text = (
            f"plugins.json is left alone, since {error}; settings are kept in the database, and "
            "the file is not up to date."
        )
        if text != self._standing:
            self.notices.append(text)
        self._standing = text
        self._is_behind = True


def masked_entry(entry: mirror.Entry, schema: dict[str, Any] | None) -> mirror.Entry:
    """The entry as it may be shown."""
    masked = json_schema.mask(schema, entry.definition.settings)
    definition = msgspec.structs.replace(entry.definition, settings=masked)
    return mirror.Entry(definition, entry.extras)


def _with_secrets(
    entry: mirror.Entry, old: table.Row | None, schema: dict[str, Any] | None
) -> mirror.Entry:
    """The entry with its secrets in clear; `"***"` stays where none is stored yet.

    So a fresh checkout, which has the mirror but no database, finds its mirror unchanged.
    """
    settings = json_schema.unmask(
        schema,
        entry.definition.settings,
        old.definition.settings if old else {},
        keep_unknown=True,
    )
    definition = msgspec.structs.replace(entry.definition, settings=settings)
    return mirror.Entry(definition, entry.extras)


def _changed_paths(old: table.Row | None, new: mirror.Entry) -> list[str]:
    if old is None:
        return ["added"]
    before, after = mirror.object_of(old.entry), mirror.object_of(new)
    return [change.path for change in json_schema.diff(before, after)]
