"""What happened, as rows: telemetry samples, lifecycle and config events, finished requests.

Owns their database, which nothing else depends on, and how long they are kept. Writing never
blocks the caller: rows wait in memory, bounded and counted, for the database's writer thread.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench.bus.calls import Finished
from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.errors import StoreError
from bkg_workbench.protocol.capabilities import QueryCalls, QueryEvents, QuerySamples
from bkg_workbench.store.database import Database, Migration

WAITING_ROWS = 100_000
"""Rows of each kind that may wait; beyond, they are dropped and counted."""
PRUNE_EVERY = 1_000

_DAY_MS = 24 * 3600 * 1000
KEPT: dict[str, tuple[int, int]] = {
    "samples": (200_000, _DAY_MS),
    "events": (100_000, 30 * _DAY_MS),
    "calls": (200_000, _DAY_MS),
}
"""Rows and milliseconds that are kept, whichever is less."""

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE samples (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, plugin TEXT NOT NULL,
            cpu REAL, mem_bytes REAL, numbers TEXT NOT NULL)""",
        "CREATE INDEX samples_plugin ON samples (plugin, seq)",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, plugin TEXT NOT NULL,
            event TEXT NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL)""",
        "CREATE INDEX events_plugin ON events (plugin, seq)",
        """CREATE TABLE calls (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, capability TEXT NOT NULL,
            plugin TEXT, caller TEXT NOT NULL, outcome TEXT NOT NULL, duration_ms REAL NOT NULL)""",
        "CREATE INDEX calls_capability ON calls (capability, seq)",
    ),
    (
        "ALTER TABLE calls ADD COLUMN trace_id TEXT",
        "ALTER TABLE calls ADD COLUMN span_id TEXT",
        "ALTER TABLE calls ADD COLUMN parent_id TEXT",
        "CREATE INDEX calls_trace ON calls (trace_id)",
    ),
)

_COLUMNS = {
    "samples": ("at", "plugin", "cpu", "mem_bytes", "numbers"),
    "events": ("at", "plugin", "event", "state", "why"),
    "calls": (
        "at", "capability", "plugin", "caller", "outcome", "duration_ms",
        "trace_id", "span_id", "parent_id",
    ),
}  # fmt: skip


class Samples:
    """The rows in the file `path`. Adding never raises and works from any thread.

    `kept`: rows and milliseconds that are kept of each kind, as `KEPT`.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        *,
        kept: Mapping[str, tuple[int, int]] = KEPT,
    ) -> None:
        self.dropped = 0
        """Rows that were not kept: too many waited, or the disk failed."""
        self.trouble: str | None = None
        """Why rows cannot be stored at the moment."""
        self._clock = clock or SystemClock()
        self._database = Database(path, MIGRATIONS, self._clock, check=False)
        self._kept = kept
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in KEPT}
        self._since_prune = dict.fromkeys(KEPT, PRUNE_EVERY)
        self._pending: Future[None] | None = None
        self._is_open = False

    def open(self) -> None:
        """Open; rows that were added before are written. Raises `StoreError`."""
        self._database.open()
        self._is_open = True
        self._wake()

    def close(self) -> None:
        """Write what waits and close; a second call does nothing."""
        if self._is_open:
            self._wake()
        self._is_open = False
        self._database.close()

    def journal_trouble(self) -> str | None:
        """As `Database.journal_trouble`."""
        return self._database.journal_trouble()

    # Adding

    def add_sample(
        self,
        plugin: str,
        at: int,
        cpu: float | None,
        mem_bytes: float | None,
        numbers: dict[str, float] | None = None,
    ) -> None:
        """A telemetry sample, `cpu` in percent of one core; only finite numbers are kept."""
        kept = {k: v for k, v in (numbers or {}).items() if _finite(v) is not None}
        text = msgspec.json.encode(kept).decode()
        self._add("samples", (at, plugin, _finite(cpu), _finite(mem_bytes), text))

    def add_event(self, plugin: str, event: str, state: str, why: str, at: int) -> None:
        """A lifecycle or config event, and the state after it."""
        self._add("events", (at, plugin, event, state, why))

    def add_call(self, call: Finished) -> None:
        """A request that has its answer."""
        span = call.span
        ids = (span.trace_id, span.span_id, span.parent_id) if span else (None, None, None)
        self._add(
            "calls",
            (
                call.at, call.capability, call.plugin, call.caller, call.outcome, call.duration_ms,
                *ids,
            ),
        )  # fmt: skip

    def _add(self, kind: str, row: tuple[Any, ...]) -> None:
        with self._lock:
            waiting = self._waiting[kind]
            if len(waiting) >= WAITING_ROWS:
                self.dropped += 1
                return
            waiting.append(row)
            is_first = len(waiting) == 1
        if is_first and self._is_open:
            self._wake()

    # Asking

    async def query_samples(self, query: QuerySamples) -> dict[str, Any]:
        """`{"records", "next"}`: `seq`, `at`, `plugin`, `cpu`, `mem_bytes` and further numbers."""
        reply = await self._query(
            "samples",
            [("plugin = ?", query.plugin), ("at >= ?", query.since), ("seq > ?", query.after)],
            query.after,
            query.limit,
        )
        for record in reply["records"]:
            numbers = msgspec.json.decode(record.pop("numbers"))
            record.update((k, v) for k, v in numbers.items() if k not in record)
        return reply

    async def query_events(self, query: QueryEvents) -> dict[str, Any]:
        """`{"records", "next"}`: `seq`, `at`, `plugin`, `event`, `state`, `why`."""
        return await self._query(
            "events",
            [("plugin = ?", query.plugin), ("seq > ?", query.after)],
            query.after,
            query.limit,
        )

    async def query_calls(self, query: QueryCalls) -> dict[str, Any]:
        """`{"records", "next"}`: `seq`, `at`, `capability`, `plugin`, `caller`, `outcome`, …

        `outcome` is "ok" or the error's code, `duration_ms` how long the answer took; `trace_id`,
        `span_id` and `parent_id` say which request it belongs below.
        """
        return await self._query(
            "calls",
            [
                ("capability = ?", query.capability),
                ("plugin = ?", query.plugin),
                ("outcome = ?", query.outcome),
                ("trace_id = ?", query.trace),
                ("seq > ?", query.after),
            ],
            query.after,
            query.limit,
        )

    async def _query(
        self, kind: str, conditions: list[tuple[str, Any]], after: int | None, limit: int
    ) -> dict[str, Any]:
        """Oldest first; without `after` the newest `limit` rows."""
        used = [(sql, value) for sql, value in conditions if value is not None]
        where = " AND ".join(sql for sql, _ in used) or "1"
        columns = ("seq", *_COLUMNS[kind])
        order = "DESC" if after is None else "ASC"
        sql = f"SELECT {', '.join(columns)} FROM {kind} WHERE {where} ORDER BY seq {order} LIMIT ?"
        values = [*(value for _, value in used), limit]
        await self._database.work(self._write)
        rows = await self._database.read(lambda c: c.execute(sql, values).fetchall())
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        if after is None:
            records.reverse()
        return {"records": records, "next": records[-1]["seq"] if records else after or 0}

    # Writing, in the database's thread

    def _wake(self) -> None:
        with contextlib.suppress(StoreError):
            self._pending = self._database.submit(self._write)

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {kind: [] for kind in KEPT}
        if not any(waiting.values()):
            return
        try:
            self._database.write_here(lambda connection: self._insert(connection, waiting))
            self.trouble = None
        except StoreError as error:
            self.trouble = str(error)
            self.dropped += sum(map(len, waiting.values()))

    def _insert(
        self, connection: sqlite3.Connection, waiting: dict[str, list[tuple[Any, ...]]]
    ) -> None:
        for kind, rows in waiting.items():
            if not rows:
                continue
            columns = _COLUMNS[kind]
            chosen = ", ".join(f"value->>{index}" for index in range(len(columns)))
            # One statement for all rows: the other threads run while SQLite unpacks them.
            connection.execute(
                f"INSERT INTO {kind} ({', '.join(columns)}) SELECT {chosen} FROM json_each(?)",
                (msgspec.json.encode(rows).decode(),),
            )
            self._since_prune[kind] += len(rows)
            if self._since_prune[kind] >= PRUNE_EVERY:
                self._since_prune[kind] = 0
                self._prune(connection, kind)

    def _prune(self, connection: sqlite3.Connection, kind: str) -> None:
        count, age = self._kept[kind]
        oldest = self._clock.now_ms() - age
        connection.execute(
            f"DELETE FROM {kind} WHERE seq <= (SELECT MAX(seq) FROM {kind}) - ? OR seq < "
            f"(SELECT seq FROM {kind} WHERE at >= ? ORDER BY seq LIMIT 1)",
            (count, oldest),
        )


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None
