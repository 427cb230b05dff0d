"""New settings on probation: watched for a stated time, and taken back when they do harm.

Owns the verdict (the plug-in degrades, fails, goes, or its error rate jumps) and the way back. A
watch that its Host did not outlive is begun again at the next start. Saving is the configurator's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.bus.calls import Finished
from bkg_workbench.errors import WorkbenchError
from bkg_workbench.host.workspace import write_private
from bkg_workbench.protocol.state import Moved, Watched

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

BASELINE_CALLS = 200
"""How many finished requests before the change make the error rate to compare with."""
FEWEST_CALLS = 10
"""Below so many requests since the change no error rate is judged."""
JUMP = 0.2
"""How far the error rate may rise above the baseline (share of requests, 0 to 1)."""

CALLERS_FAULTS = {
    "invalid_params", "forbidden", "unauthenticated", "request_cancelled",
    "capability_not_found", "overloaded",
}  # fmt: skip
BAD_STATES = {"degraded", "backoff", "failed", "stopped"}


class Pending(msgspec.Struct):
    """One watch as it lies in `.bkg/canaries.json`."""

    version: int
    previous: int
    seconds: float


@dataclass
class Watch:
    """One plug-in's new settings while they are watched."""

    name: str
    pending: Pending
    baseline: float
    calls: int = 0
    failed: int = 0
    is_settled: bool = False
    verdict: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def condemn(self, why: str) -> None:
        """The settings do harm."""
        if not self.verdict.done():
            self.verdict.set_result(why)


class Canaries:
    """The watches of one Host. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: dict[str, Watch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._recent: dict[str, deque[bool]] = {}

    @property
    def _file(self) -> Path:
        return self._engine.workspace.hidden / "canaries.json"

    # -- what happens ---------------------------------------------------------------------------
    def observe(self, record: Finished) -> None:
        """A request has its answer."""
        if record.plugin is None or record.outcome in CALLERS_FAULTS:
            return
        is_ok = record.outcome == "ok"
        watch = self._watches.get(record.plugin)
        if watch is None:
            recent = self._recent.setdefault(record.plugin, deque(maxlen=BASELINE_CALLS))
            recent.append(is_ok)
            return
        watch.calls += 1
        watch.failed += not is_ok
        rate = watch.failed / watch.calls
        if watch.calls >= FEWEST_CALLS and rate > watch.baseline + JUMP:
            watch.condemn(
                f"{watch.failed} of {watch.calls} requests failed "
                f"({rate:.0%}; {watch.baseline:.0%} before)"
            )

    def moved(self, name: str, event: Moved) -> None:
        """A plug-in's state changed."""
        watch = self._watches.get(name)
        if watch is None:
            return
        state = event.chapter.state
        if event.chapter.event == "stop asked":
            self.end(name)
        elif state == "running":
            watch.is_settled = True
        elif state in ("backoff", "failed") or (watch.is_settled and state in BAD_STATES):
            watch.condemn(f"it became {state}: {event.chapter.why or event.chapter.event}")

    # -- watching -------------------------------------------------------------------------------
    def begin(self, name: str, pending: Pending) -> None:
        """Watch the settings of `pending.version`; an earlier watch of the plug-in ends."""
        self.end(name)
        recent = self._recent.get(name, deque())
        baseline = 1 - sum(recent) / len(recent) if recent else 0.0
        watch = self._watches[name] = Watch(name, pending, baseline)
        watch.is_settled = self._engine.state.plugins[name].state == "running"
        until = self._engine.clock.now_ms() + int(pending.seconds * 1000)
        self._engine.emit(Watched(plugin=name, until=until))
        self._keep()
        self._tasks[name] = asyncio.create_task(self._watch(watch), name=f"host-canary-{name}")

    def end(self, name: str) -> None:
        """End a watch without a verdict: somebody saved again, or the plug-in is removed."""
        if self._watches.pop(name, None) is None:
            return
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._keep()
        if name in self._engine.state.plugins:
            self._engine.emit(Watched(plugin=name, until=None))

    def resume(self) -> None:
        """Begin the watches again that an earlier Host did not outlive."""
        try:
            kept = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Pending])
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return
        for name, pending in kept.items():
            plugin = self._engine.state.plugins.get(name)
            if plugin is not None and plugin.config_version == pending.version:
                self.begin(name, pending)
        self._keep()

    async def close(self) -> None:
        """End every watch; they stay in their file for the next Host."""
        self._watches.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, watch: Watch) -> None:
        engine, name, pending = self._engine, watch.name, watch.pending
        timer = asyncio.ensure_future(engine.clock.sleep(pending.seconds))
        either: set[asyncio.Future[Any]] = {timer, watch.verdict}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not watch.verdict.done():
            text = f"version {pending.version} held for {pending.seconds:g} s"
            self._tell(name, "confirmed", text)
            self.end(name)
            return
        why = watch.verdict.result()
        self.end(name)
        await self._revert(name, pending, why)

    async def _revert(self, name: str, pending: Pending, why: str) -> None:
        engine = self._engine
        text = (
            f"The settings of {name} (version {pending.version}) were taken back to version "
            f"{pending.previous}: {why}."
        )
        try:
            done = await engine.configurator.restore(name, pending.previous, "canary")
        except WorkbenchError as error:
            engine.notice(f"canary:{name}", f"{text} That failed: {error}", "error")
            return
        if done["applied"] != "live" and engine.state.plugins[name].wanted == "up":
            engine.supervisor.restart(name, "settings taken back")
        self._tell(name, "reverted", text)
        engine.notice(f"canary:{name}", text, "warn")

    def _tell(self, name: str, event: str, why: str) -> None:
        engine = self._engine
        state = engine.state.plugins[name].state
        engine.samples.add_event(name, event, state, why, engine.clock.now_ms())

    def _keep(self) -> None:
        pending = {name: watch.pending for name, watch in self._watches.items()}
        if pending or self._file.exists():
            write_private(self._file, msgspec.json.encode(pending))
