"""Log records as they come, without a gap and without one twice.

Owns how a query and a subscription are joined. The subscription only says which plug-in has news;
the records are asked for by number, plug-in by plug-in. So the Host's filters count, and a batch
that did not come is no loss. One plug-in's numbers only rise; across plug-ins a lower one may land
later, so how far it got is kept for each plug-in.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bkg_workbench.errors import HostGone, WorkbenchError

if TYPE_CHECKING:
    from bkg_workbench.client.records import Records
    from bkg_workbench.client.workbench import Workbench

PIECE = 2_000
"""Records asked for at once."""
BEHIND_SECONDS = 0.1
BEHIND_TRIES = 50
"""How long to wait where the Host could not look at its newest records yet, and how often."""
NOT_PLUGINS = ("host", "web")
"""Names of logs that no plug-in writes."""

Record = dict[str, Any]
After = int | Mapping[str, int] | None


class Tail:
    """The records of one plug-in (`plugin`) or of all, from now on or from a number on.

    Parameters: `after` is a seq, or {plugin: seq}, that was seen last (None: from now on); `lines`
    older records that match come first, with `after` none; `filters` are those of `logs`. It
    belongs to the workbench's own thread; `batches` elsewhere is the way to it.
    """

    def __init__(
        self,
        bench: Workbench,
        plugin: str | None = None,
        *,
        after: After = None,
        lines: int = 0,
        filters: Mapping[str, Any] | None = None,
    ) -> None:
        self._bench, self._plugin, self._lines = bench, plugin, lines
        self._filters = {k: v for k, v in (filters or {}).items() if v is not None}
        self._is_new = after is None
        self._floor = after if isinstance(after, int) else 0
        self._floors = dict(after) if isinstance(after, Mapping) else {}
        self._news: set[str] = set()
        self._changed = asyncio.Event()
        self._is_reset = False

    async def batches(self) -> AsyncGenerator[list[Record], None]:
        """Lists of records, never empty. Raises `HostGone` when the Host has gone."""
        end_changes = self._bench.on_change(self._on_change)
        topics = [f"logs.{self._plugin}" if self._plugin else "logs"]
        end = await self._bench.afollow(topics, self._on_batch)
        try:
            # Subscribed already: whatever is said from here on is told.
            async for records in self._begin():
                yield records
            while True:
                await self._changed.wait()
                self._changed.clear()
                if not self._bench.connected:
                    raise HostGone(path=self._bench.workspace)
                if self._is_reset:
                    # What was told meanwhile is lost; what was said is not.
                    self._is_reset = False
                    end()
                    end = await self._bench.afollow(topics, self._on_batch)
                    self._news.update(self._names())
                names, self._news = self._news, set()
                async for records in self._catch_up(names):
                    yield records
        finally:
            end_changes()
            end()

    # -- what is told ---------------------------------------------------------------------------
    def _on_change(self, _: object) -> None:
        if not self._bench.connected:
            self._changed.set()

    def _on_batch(self, topic: str, data: Any) -> None:
        name = data.get("plugin") if isinstance(data, dict) else None
        if topic == "reset":
            self._is_reset = True
        elif isinstance(name, str):
            self._news.add(name)
        else:
            return
        self._changed.set()

    def _names(self) -> list[str]:
        if self._plugin:
            return [self._plugin]
        return sorted({*self._bench.state.plugins, *self._floors, *NOT_PLUGINS})

    # -- asking ---------------------------------------------------------------------------------
    async def _begin(self) -> AsyncIterator[list[Record]]:
        if not self._is_new:
            async for records in self._catch_up(self._names()):
                yield records
            return
        for name in self._names():
            newest = await self._newest(name, limit=1)
            self._floors[name] = newest[-1]["seq"] if newest else 0
        if not self._lines:
            return
        shown = await self._newest(self._plugin, limit=self._lines, **self._filters)
        for record in shown:
            name = record["plugin"]
            self._floors[name] = max(record["seq"], self._floors.get(name, 0))
        if shown:
            yield list(shown)

    async def _newest(self, plugin: str | None, **query: Any) -> Records:
        for _ in range(BEHIND_TRIES):
            found = await self._bench.alogs(plugin, **query)
            if not found.behind:
                break
            await asyncio.sleep(BEHIND_SECONDS)
        return found

    async def _catch_up(self, names: set[str] | list[str]) -> AsyncIterator[list[Record]]:
        """What the named plug-ins have said, in the order of its numbers as far as that is known.

        Holds two pieces of each plug-in at most.
        """
        pages = {name: await self._page(name) for name in names}
        while pages:
            # A page that goes on says nothing of what follows its last number.
            edges = [records[-1]["seq"] for records, is_last in pages.values() if not is_last]
            edge = min(edges, default=None)
            ready = [
                record
                for records, _ in pages.values()
                for record in records
                if edge is None or record["seq"] <= edge
            ]
            ready.sort(key=lambda record: int(record["seq"]))
            for record in ready:
                self._floors[record["plugin"]] = record["seq"]
            if ready:
                yield ready
            if edge is None:
                return
            for name, (records, is_last) in pages.items():
                rest = [record for record in records if record["seq"] > edge]
                pages[name] = (rest, is_last) if rest or is_last else await self._page(name)

    async def _page(self, name: str) -> tuple[list[Record], bool]:
        """The next records of a plug-in, and whether they are the last for now."""
        floor = self._floors.get(name, self._floor)
        while True:
            found = await self._bench.alogs(name, after=floor, limit=PIECE, **self._filters)
            if found or not found.behind:
                return list(found), len(found) < PIECE and not found.behind
            await asyncio.sleep(BEHIND_SECONDS)


def batches(
    bench: Workbench, plugin: str | None = None, **options: Any
) -> Generator[list[Record], None, None]:
    """`Tail(...).batches()` for a caller in any thread; closing it ends the subscription."""
    followed = bench._portal.iterate(_made(bench, plugin, options))
    try:
        yield from followed
    except (concurrent.futures.CancelledError, WorkbenchError):
        # Closed in another thread meanwhile, there is nobody to be told.
        if not _is_closed(bench):
            raise


def _is_closed(bench: Workbench) -> bool:
    return not bench.connected and bench.lost is None


async def _made(
    bench: Workbench, plugin: str | None, options: dict[str, Any]
) -> AsyncGenerator[list[Record], None]:
    async with contextlib.aclosing(Tail(bench, plugin, **options).batches()) as found:
        async for records in found:
            yield records


def follow(bench: Workbench, plugin: str | None, **options: Any) -> Iterator[Record]:
    """The records of `batches`, one by one."""
    with contextlib.closing(batches(bench, plugin, **options)) as found:
        for records in found:
            yield from records


async def afollow(bench: Workbench, plugin: str | None, **options: Any) -> AsyncIterator[Record]:
    """The same for a caller in a loop of its own."""
    followed = bench._portal.iterate_from(_made(bench, plugin, options))
    try:
        async with contextlib.aclosing(followed) as found:
            async for records in found:
                for record in records:
                    yield record
    except WorkbenchError:
        if not _is_closed(bench):
            raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not _is_closed(bench) or task is None or task.cancelling():
            raise
