"""Every line that a plug-in or the Host says: kept on disk, searchable, and sent on as it comes.

Owns numbering, the bounded queue between those who speak and the writer's thread, and what is told
about lines that were dropped. The files are `store.logfiles`, their index `store.logindex`, the
cleaning of a line `store.logtext`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store import logtext
from bkg_workbench.store.logfiles import LogFile, names_in
from bkg_workbench.store.logindex import LogIndex
from bkg_workbench.store.logsearch import select

QUEUE_RECORDS = 500_000
QUEUE_BYTES = 64 * 1024 * 1024
"""What may wait for the writer; beyond, lines are dropped and counted."""
ROUND_SECONDS = 0.1
"""Listeners are told at most this often."""
BATCH_RECORDS = 2_000
"""Records in one batch; of more, the newest are given and the others counted as dropped from it."""
RING_RECORDS = 5_000
"""What each plug-in has in memory for when the disk fails."""
SEARCH_WAIT_SECONDS = 1.0
WARN_SECONDS = 60.0

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_log = logging.getLogger(__name__)


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """One line. `at` is the Host's time in ms since 1970, `timestamp` the plug-in's own."""

    seq: int
    at: int
    plugin: str
    source: str
    level: str
    message: str
    timestamp: int | float | str | None = None


class Batch(msgspec.Struct, frozen=True):
    """Records of one plug-in numbered `first` to `last`; `dropped` of its lines are not among them.

    Numbers are of the whole workspace, so those of one plug-in have gaps. `total` are the lines of
    the plug-in that were told of so far, dropped ones too: who missed a batch learns how much.
    """

    plugin: str
    first: int
    last: int
    dropped: int
    records: list[Record]
    total: int = 0

    def to_wire(self) -> dict[str, Any]:
        """The data of topic `logs.<plugin>`."""
        return {
            "plugin": self.plugin,
            "from": self.first,
            "to": self.last,
            "dropped": self.dropped,
            "total": self.total,
            "records": self.records,
        }


class Counters(msgspec.Struct):
    """Lines of a plug-in so far: `received` = stored + `dropped`."""

    received: int = 0
    dropped: int = 0


class Logs:
    """The logs in `folder`. `append` may be called before `open`: the lines wait."""

    def __init__(self, folder: Path, clock: Clock | None = None, *, files: Any = LogFile) -> None:
        self.folder = Path(folder)
        self.trouble: str | None = None
        """Why lines cannot be stored at the moment; they are kept in memory then."""
        self._clock = clock or SystemClock()
        self._make_file = files
        self._index = LogIndex(self.folder / "index.db", self._clock)
        self._files: dict[str, LogFile] = {}
        self._rings: dict[str, deque[Record]] = {}
        self._listeners: list[Callable[[Batch], None]] = []
        self._lock = threading.Lock()
        self._queue: list[tuple[Any, ...]] = []
        self._queued_bytes = 0
        self._counters: dict[str, Counters] = {}
        self._untold: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._taken = 0
        self._accepted = 0
        self._waiters: list[tuple[int, Future[None]]] = []
        self._something = threading.Event()
        self._urgent = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._next_seq = 1
        self._warned_at: float | None = None

    # Speaking and listening

    def append(
        self,
        plugin: str,
        source: str,
        level: str,
        message: str,
        at: int | None = None,
        timestamp: int | float | str | None = None,
    ) -> None:
        """Take one line. Never blocks and never raises; from any thread.

        `source` is stdout, stderr, log or host; `at` the Host's time in ms since 1970 (now);
        `timestamp` the plug-in's own. When too much waits, the line is dropped and counted.
        """
        if type(message) is not str:
            message = str(message)
        if len(message) > logtext.MAX_BYTES:
            message = logtext.clean(message)
        when = self._clock.now_ms() if at is None else at
        with self._lock:
            counters = self._counters.get(plugin)
            if counters is None:
                plugin = plugin if _NAME.match(plugin) else "host"
                counters = self._counters.setdefault(plugin, Counters())
            counters.received += 1
            if len(self._queue) >= QUEUE_RECORDS or self._queued_bytes >= QUEUE_BYTES:
                counters.dropped += 1
                self._untold[plugin] = self._untold.get(plugin, 0) + 1
                return
            self._queue.append((plugin, source, level, message, when, timestamp))
            self._queued_bytes += len(message)
            self._accepted += 1
            count = len(self._queue)
        if count == 1:
            self._something.set()
        elif count == QUEUE_RECORDS // 8:
            self._urgent.set()

    def miss(self, plugin: str, lines: int) -> None:
        """Count lines that were dropped before they came here; the log says how many."""
        with self._lock:
            counters = self._counters.setdefault(plugin, Counters())
            counters.received += lines
            counters.dropped += lines
            self._untold[plugin] = self._untold.get(plugin, 0) + lines
        self._something.set()

    def listen(self, callback: Callable[[Batch], None]) -> Callable[[], None]:
        """Call `callback` with each batch, in the writer's thread; the result unsubscribes."""
        self._listeners = [*self._listeners, callback]

        def unsubscribe() -> None:
            self._listeners = [one for one in self._listeners if one is not callback]

        return unsubscribe

    def counters(self, plugin: str) -> Counters:
        """Lines received and dropped so far."""
        with self._lock:
            found = self._counters.get(plugin, Counters())
            return Counters(found.received, found.dropped)

    async def query(self, query: QueryLogs) -> dict[str, Any]:
        """`{"records": […], "next": seq}`, oldest first; `next` is the `after` of the next query.

        Without `after` the newest `limit` records. What was said before the call is among them.
        `text` is found anywhere in a message, upper and lower case alike (a-z). In a flood the
        answer may be `behind` (true): what was said last cannot be found yet. Raises
        `InvalidParams` for a regex that is none or takes too long, `StoreError`.
        """
        is_behind = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEARCH_WAIT_SECONDS):
                await self.flush()
                await self._index.catch_up()
                is_behind = False
        if self.trouble or self._index.trouble:
            kept = sorted(
                (record for ring in list(self._rings.values()) for record in list(ring)),
                key=lambda record: record.seq,
            )
            records = select((msgspec.to_builtins(record) for record in kept), query)
            is_behind = False
        else:
            records = await self._index.search(query)
        last = records[-1]["seq"] if records else query.after or 0
        return {"records": records, "next": last, **({"behind": True} if is_behind else {})}

    def journal_trouble(self) -> str | None:
        """As `Database.journal_trouble`, of the index."""
        return self._index.journal_trouble()

    async def flush(self) -> None:
        """Return once every line taken before is written."""
        with self._lock:
            if self._thread is None or self._taken >= self._accepted:
                return
            future: Future[None] = Future()
            self._waiters.append((self._accepted, future))
        self._urgent.set()
        self._something.set()
        await asyncio.wrap_future(future)

    async def idle(self) -> None:
        """Return once the full-text index has everything too; searching does not wait for it."""
        await self.flush()
        await self._index.idle()

    # Life

    def open(self) -> None:
        """Start the writer; numbers go on where the files end. A second call does nothing.

        A folder that cannot be used is no reason to fail: see `trouble`.
        """
        if self._thread is not None:
            return
        self._is_closing = False
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._suffer(error)
        self._index.open()
        for name in names_in(self.folder):
            self._file(name)
        last = max([self._index.last_seq, *(file.last_seq for file in self._files.values())])
        self._next_seq = max(self._next_seq, last + 1)
        self._index.wake()
        self._thread = threading.Thread(target=self._run, name="logs-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and stop; a second call does nothing."""
        if self._thread is None:
            return
        self._is_closing = True
        self._urgent.set()
        self._something.set()
        self._thread.join()
        self._thread = None
        self._index.close()
        for file in self._files.values():
            file.close()

    # The writer's thread

    def _run(self) -> None:
        while True:
            self._something.wait()
            with self._lock:
                self._something.clear()
                taken, self._queue = self._queue, []
                untold: dict[str, int] = {}
                if self.trouble is None:
                    untold, self._untold = self._untold, {}
                self._queued_bytes = 0
                accepted = self._accepted
            try:
                self._take(taken, untold)
            except Exception:
                # The thread must outlive any one line.
                _log.exception("A round of log lines failed")
                self._lose(taken, untold)
            self._release(accepted)
            if self._is_closing and not self._queue:
                self._release(None)
                return
            self._urgent.wait(ROUND_SECONDS)
            self._urgent.clear()

    def _lose(self, taken: list[tuple[Any, ...]], untold: dict[str, int]) -> None:
        with self._lock:
            for plugin, *_ in taken:
                self._counters[plugin].dropped += 1
                self._untold[plugin] = self._untold.get(plugin, 0) + 1
            for plugin, count in untold.items():
                self._untold[plugin] = self._untold.get(plugin, 0) + count

    def _release(self, accepted: int | None) -> None:
        with self._lock:
            self._taken = self._accepted if accepted is None else accepted
            done = [f for target, f in self._waiters if target <= self._taken]
            self._waiters = [w for w in self._waiters if w[0] > self._taken]
        for future in done:
            future.set_result(None)

    def _take(self, taken: list[tuple[Any, ...]], untold: dict[str, int]) -> None:
        by_plugin: dict[str, list[Record]] = {}
        numbers = itertools.count(self._next_seq)
        messages = logtext.clean_all([line[3] for line in taken])
        for (plugin, source, level, _, at, timestamp), message in zip(taken, messages, strict=True):
            record = Record(
                next(numbers),
                at,
                plugin,
                source if source in logtext.SOURCES else "log",
                logtext.level_of(level),
                message,
                None if timestamp is None else logtext.timestamp_of(timestamp),
            )
            found = by_plugin.get(plugin)
            if found is None:
                found = by_plugin[plugin] = []
            found.append(record)
        for plugin, count in untold.items():
            text = f"{count} lines dropped: more came than could be kept"
            marker = Record(next(numbers), self._clock.now_ms(), plugin, "host", "warn", text)
            by_plugin.setdefault(plugin, []).append(marker)
        self._next_seq = next(numbers)
        for plugin, records in by_plugin.items():
            count = untold.get(plugin, 0)
            self._keep(plugin, records, count)
            self._tell(plugin, records, count)
        self._index.wake()

    def _keep(self, plugin: str, records: list[Record], told: int) -> None:
        """Store records; with `told`, the last of them says that so many lines were dropped."""
        self._rings.setdefault(plugin, deque(maxlen=RING_RECORDS)).extend(records)
        file = self._file(plugin)
        encode = msgspec.json.encode
        lines = [encode(record) + b"\n" for record in records]
        written = file.write(lines, [record.seq for record in records])
        if written.given_up is not None:
            self._index.forget(plugin, written.given_up)
        if written.error is None:
            self.trouble = None
            return
        self._suffer(written.error)
        lost = len(records) - written.count
        with self._lock:
            self._counters[plugin].dropped += lost - (1 if told else 0)
            untold = lost + (told - 1 if told else 0)
            self._untold[plugin] = self._untold.get(plugin, 0) + untold

    def _file(self, name: str) -> LogFile:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = self._make_file(self.folder, name)
            self._index.add(file)
            if file.given_up is not None:
                self._index.forget(name, file.given_up)
        return file

    def _tell(self, plugin: str, records: list[Record], dropped: int) -> None:
        shown = records[-BATCH_RECORDS:]
        dropped += len(records) - len(shown)
        total = self._told[plugin] = self._told.get(plugin, 0) + len(shown) + dropped
        batch = Batch(plugin, records[0].seq, records[-1].seq, dropped, shown, total)
        for callback in self._listeners:
            try:
                callback(batch)
            except Exception:
                _log.exception("A listener of logs failed")

    def _suffer(self, error: OSError) -> None:
        self.trouble = f"Log lines cannot be stored: {error.strerror or error}."
        now = self._clock.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            _log.warning("%s They are kept in memory (%d a plug-in).", self.trouble, RING_RECORDS)
