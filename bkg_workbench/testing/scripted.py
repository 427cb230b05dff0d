"""A bench that a test scripts: a state moved by events, and what was asked of it.

Owns no behaviour of a Host. It has what panels use of a `Workbench` (`widgets.bench.Bench`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from bkg_workbench.errors import CapabilityNotFound, WorkbenchError
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.envelopes import Progress
from bkg_workbench.protocol.state import (
    AnyStateEvent,
    Beat,
    Beaten,
    Chapter,
    Defined,
    Moved,
    Registered,
    StateName,
    WorkbenchState,
    fold,
)
from bkg_workbench.store.logsearch import select
from bkg_workbench.testing.scripted_configs import ScriptedConfigs

NOW = 1_790_000_000_000


class ScriptedBench(ScriptedConfigs):
    """Holds a `WorkbenchState`, folds events into it, and records intents."""

    def __init__(self, now_ms: int = NOW) -> None:
        super().__init__()
        self.now_ms = now_ms
        self.state = WorkbenchState(
            instance="0123456789abcdef",
            version="0.1.0",
            workspace="/home/team/forecast",
            started_at=now_ms - 600_000,
        )
        self.lost: str | None = None
        self.connected = True
        self.intents: list[tuple[str, str, bool]] = []
        self.refusal: WorkbenchError | None = None
        self.records: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self.happened: list[dict[str, Any]] = []
        self.finished: list[dict[str, Any]] = []
        self.requests: list[tuple[str, Any]] = []
        self.served: dict[str, Callable[..., Any]] = {}
        self.changes: list[Callable[[WorkbenchState], None]] = []
        self.followers: list[tuple[list[str], Callable[[str, dict[str, Any]], None]]] = []

    def on_change(self, fn: Callable[[WorkbenchState], None], /) -> Callable[[], None]:
        self.changes.append(fn)
        return lambda: self.changes.remove(fn)

    def follow(
        self, topics: list[str], fn: Callable[[str, dict[str, Any]], None], /
    ) -> Callable[[], None]:
        entry = (topics, fn)
        self.followers.append(entry)
        return lambda: self.followers.remove(entry)

    def start(self, name: str, *, wait: bool = True) -> None:
        self._take("start", name, wait)

    def stop(self, name: str, *, wait: bool = True) -> None:
        self._take("stop", name, wait)

    def restart(self, name: str, *, wait: bool = True) -> None:
        self._take("restart", name, wait)

    def info(self) -> dict[str, Any]:
        return {"pid": 4711, "instance": self.state.instance}

    def logs(
        self, plugin: str | None = None, *, limit: int = 500, **filters: Any
    ) -> list[dict[str, Any]]:
        query = QueryLogs(plugin=plugin, limit=limit, **filters)
        return select(iter(self.records), query)

    def telemetry(
        self,
        plugin: str | None = None,
        *,
        after: int | None = None,
        since: int | None = None,
        limit: int = 500,
    ) -> list[dict[str, Any]]:
        found = [s for s in self.samples if plugin in (None, s["plugin"])]
        return [s for s in found if s["at"] >= (since or 0)][-limit:]

    def events(self, plugin: str | None = None, *, limit: int = 500) -> list[dict[str, Any]]:
        return [e for e in self.happened if plugin in (None, e["plugin"])][-limit:]

    def calls(
        self, capability: str | None = None, *, plugin: str | None = None, limit: int = 500
    ) -> list[dict[str, Any]]:
        found = [c for c in self.finished if capability in (None, c["capability"])]
        return [c for c in found if plugin in (None, c["plugin"])][-limit:]

    async def acall(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:
        self.requests.append((capability, payload))
        return await self._served(capability)(payload, on_progress)

    async def astream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        self.requests.append((capability, payload))
        async for piece in self._served(capability)(payload):
            yield piece

    # --- what a test does to it ----------------------------------------------------------------

    def happen(self, *events: AnyStateEvent) -> None:
        """Fold events and tell the listeners once each."""
        for event in events:
            self.state = fold(self.state, event)
            for fn in list(self.changes):
                fn(self.state)

    def define(self, name: str, **fields: Any) -> None:
        """A definition appears."""
        self.happen(
            Defined(plugin=name, definition=Definition(name=name, **fields), config_version=1)
        )

    def move(self, name: str, state: StateName, why: str = "", **more: Any) -> None:
        """The plug-in's lifecycle moves to `state`, `seconds_ago` before now."""
        at = self.now_ms - int(more.pop("seconds_ago", 0) * 1000)
        chapter = Chapter(at=at, event="moved", state=state, why=why)
        wanted = "down" if state in ("stopped", "stopping") else "up"
        fields = {"wanted": wanted, "generation": 1, **more}
        self.happen(Moved(plugin=name, chapter=chapter, **fields))

    def run(self, name: str, *capabilities: str, seconds_ago: float = 60.0) -> None:
        """The plug-in starts, registers, beats and runs."""
        self.move(name, "starting", seconds_ago=seconds_ago + 1)
        self.happen(Registered(plugin=name, port="internal", capabilities=capabilities))
        self.move(name, "running", seconds_ago=seconds_ago)
        self.beat(name)

    def beat(self, name: str, seconds_ago: float = 2.0, **fields: Any) -> None:
        """A health beat."""
        beat = Beat(at=self.now_ms - int(seconds_ago * 1000), **{"status": "up", **fields})
        self.happen(Beaten(plugin=name, beat=beat))

    def log(self, *messages: str, plugin: str = "repoagent", level: str = "info") -> None:
        """Log records, kept and sent to who follows."""
        first = len(self.records) + 1
        batch = [
            {
                "seq": first + n,
                "at": self.now_ms + n,
                "plugin": plugin,
                "source": "log",
                "level": level,
                "message": message,
            }
            for n, message in enumerate(messages)
        ]
        self.records += batch
        data = {
            "plugin": plugin,
            "from": first,
            "to": first + len(batch) - 1,
            "dropped": 0,
            "total": sum(record["plugin"] == plugin for record in self.records),
            "records": batch,
        }
        self.send(f"logs.{plugin}", data)

    def serve(self, capability: str, handler: Callable[..., Any]) -> None:
        """Requests for `capability` are answered by `handler`.

        A coroutine function of (payload, on_progress), or an async generator function of (payload).
        """
        self.served[capability] = handler

    def sample(self, plugin: str, cpu: float, mem_bytes: int, **numbers: float) -> None:
        """A telemetry sample."""
        data = {"plugin": plugin, "at": self.now_ms, "cpu": cpu, "mem_bytes": mem_bytes, **numbers}
        self.samples.append(data)
        self.send("telemetry", data)

    def send(self, topic: str, data: dict[str, Any]) -> None:
        """An event of a topic, to who follows it or its area."""
        for topics, fn in list(self.followers):
            if topic in topics or topic.partition(".")[0] in topics:
                fn(topic, data)

    def _served(self, capability: str) -> Callable[..., Any]:
        if capability not in self.served:
            raise CapabilityNotFound(capability=capability)
        return self.served[capability]

    def _take(self, verb: str, name: str, wait: bool) -> None:
        self.intents.append((verb, name, wait))
        if self.refusal is not None:
            raise self.refusal
