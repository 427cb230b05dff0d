"""One plug-in's actor: feeds events to its lifecycle machine and carries out the instructions.

Owns the plug-in's process, timers and last lines. Does not decide anything (that is
`protocol.lifecycle`) and knows no other plug-in (that is `supervisor.Supervisor`). Everything here
runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from bkg_workbench.bus.clock import Clock
from bkg_workbench.errors import InvalidTransition, StartFailed, StoreError, WorkbenchError
from bkg_workbench.protocol import lifecycle
from bkg_workbench.protocol import lifecycle_events as events
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import Chapter, Moved
from bkg_workbench.supervisor.entrypoint import check_entrypoint
from bkg_workbench.supervisor.process import Exit, LaunchSpec, Sample

TAIL_LINES = 20
PREPARING = "preparing:"

_log = logging.getLogger(__name__)

OnLines = Callable[[str, list[str]], None]


class Running(Protocol):
    """What an actor needs of a process; `process.Process` is the real one."""

    pid: int | None

    async def wait(self) -> Exit: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def release(self) -> None: ...
    def sample(self) -> Sample: ...
    def mem_bytes(self) -> int: ...
    def holds_socket(self, socket: str) -> bool: ...


class SteadyTime:
    """Monotonic time in which the Host's own stalls have not passed.

    While the loop stood still (a computing cell, a stopped machine) no beat could be heard, so
    that time counts against nobody. `now` has to be asked at least each second.
    """

    TICK = 1.0
    LATE = 2.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: float | None = None
        self.stalled = 0.0

    def now(self) -> float:
        """Seconds; a look that comes more than 2 s late does not count the gap."""
        now = self._clock.monotonic()
        if self._seen is not None and now - self._seen > self.TICK + self.LATE:
            self.stalled += now - self._seen - self.TICK
        self._seen = now
        return now - self.stalled


@dataclass
class Outside:
    """What the actors of one supervisor share: callbacks, time, start slots."""

    prepare: Callable[[Definition, int], Awaitable[LaunchSpec]]
    spawn: Callable[[LaunchSpec, OnLines], Awaitable[Running]]
    on_moved: Callable[[str, Moved], None]
    on_prepared: Callable[[str, str], None]
    on_lines: Callable[[str, str, list[str]], None]
    drain: Callable[[str, float], Awaitable[None]]
    clock: Clock
    time: SteadyTime
    jitter: Callable[[], float]
    slots: asyncio.Semaphore
    closing: bool = False
    drain_limit: float = float("inf")
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work`; its failure is logged, since nobody awaits it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", task.get_name(), exc_info=error)


class Actor:
    """One plug-in under supervision."""

    def __init__(self, definition: Definition, outside: Outside) -> None:
        self.definition = definition
        self.name = definition.name
        self.machine = lifecycle.Machine(plugin=definition.name)
        self.process: Running | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.beaten_at = self.heard_at = 0.0
        self.memory_warned = False
        self.last_moved: Moved | None = None
        self._outside = outside
        self._grace = 5.0
        self._inbox: deque[events.Event] = deque()
        self._busy = False
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._preparing: asyncio.Task[None] | None = None
        self._has_slot = False
        self._changed: asyncio.Future[None] | None = None

    @property
    def policy(self) -> events.Policy:
        """As the present definition says."""
        return events.Policy.of(self.definition, self._grace)

    # --- events in -----------------------------------------------------------------------------

    def take(self, event: events.Event) -> None:
        """Feed one event; those that come up meanwhile are taken after it."""
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
        finally:
            self._busy = False

    def _step(self, event: events.Event) -> None:
        before = self.machine
        try:
            after, instructions = lifecycle.handle(before, event, self.policy)
        except InvalidTransition as error:
            _log.warning("%s Story: %s", error, error.facts["story"])
            return
        self.machine = after
        if after.state != "starting":
            self._free_slot()
        if _shown(before) != _shown(after):
            self._tell(event)
        for instruction in instructions:
            self._carry_out(instruction)

    def _free_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._outside.slots.release()

    def _tell(self, event: events.Event) -> None:
        self.last_moved = self.moved(lifecycle.event_name(event))
        try:
            self._outside.on_moved(self.name, self.last_moved)
        except Exception:
            # Whoever looks on must not keep the plug-in from moving.
            _log.exception("a transition of %s could not be shown", self.name)
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    def moved(self, event: str) -> Moved:
        """The present state as the event that everybody folds."""
        m = self.machine
        at = self._outside.clock.now_ms()
        return Moved(
            plugin=self.name,
            chapter=Chapter(at=at, event=event, state=m.state, why=m.reason),
            wanted=m.wanted,
            generation=m.generation,
            pid=m.pid,
            restarts=m.restarts,
            last_exit=m.last_exit,
        )

    def change(self) -> asyncio.Future[None]:
        """Done at the next transition from now on; shared, so it must not be cancelled."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    async def stopped(self) -> None:
        """Return once it is stopped."""
        while self.machine.state != "stopped":
            await asyncio.shield(self.change())

    # --- instructions out ----------------------------------------------------------------------

    def _carry_out(self, instruction: events.Instruction) -> None:
        match instruction:
            case events.Spawn(generation):
                task = self._outside.task(self._spawn(generation), f"spawn {self.name}")
                self._preparing = task
                task.add_done_callback(lambda done: self._spawn_ended(done, generation))
            case events.Drain(generation):
                self._outside.task(self._drain(generation), f"drain {self.name}")
            case events.Terminate():
                if self.process is not None:
                    self.process.terminate()
                elif self._preparing is not None:
                    self._preparing.cancel()
            case events.Kill():
                if self.process is not None:
                    self.process.kill()
            case events.StartTimer(name, seconds, generation):
                self._cancel(name)
                # Counted from now, not from whenever the task gets its first turn.
                due = self._outside.time.now() + seconds
                work = self._timer(name, due, generation)
                self._timers[name] = self._outside.task(work, f"{name} timer {self.name}")
            case events.CancelTimer(name):
                self._cancel(name)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    async def _timer(self, name: events.TimerName, due: float, generation: int) -> None:
        while (left := due - self._outside.time.now()) > 1e-6:
            await self._outside.clock.sleep(left)
        self._timers.pop(name, None)
        at = self._outside.time.now()
        self.take(events.TimerFired(at=at, timer=name, generation=generation))

    async def _drain(self, generation: int) -> None:
        outside = self._outside
        seconds = min(self.definition.drain_seconds, outside.drain_limit)
        work = asyncio.ensure_future(outside.drain(self.name, seconds))
        # The engine keeps to `seconds` by itself; a stop must not hang if it does not.
        guard = asyncio.ensure_future(outside.clock.sleep(seconds + 1.0))
        try:
            await asyncio.wait({work, guard}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            guard.cancel()
            work.cancel()
        if work.done() and not work.cancelled() and (error := work.exception()):
            _log.error("draining %s failed", self.name, exc_info=error)
        self.take(events.Drained(at=outside.time.now(), generation=generation))

    async def _spawn(self, generation: int) -> None:
        outside = self._outside
        await outside.slots.acquire()
        self._has_slot = True
        try:
            spec = await self._prepared(generation)
        except StoreError as error:
            # A full or busy disk may be well again in a moment.
            self._spawn_failed(generation, str(error), retry=True)
            return
        except WorkbenchError as error:
            self._spawn_failed(generation, str(error), retry=False)
            return
        except Exception as error:
            _log.exception("preparing %s failed", self.name)
            self._spawn_failed(generation, f"it could not be prepared: {error}", retry=True)
            return
        self._preparing = None
        self._grace = spec.grace_seconds
        self.tail.clear()
        self.beaten_at = self.heard_at = outside.time.now()
        self.memory_warned = False
        try:
            process = await outside.spawn(spec, lambda *said: self._on_lines(generation, *said))
        except OSError as error:
            self._spawn_failed(generation, f"it could not be spawned: {error}", retry=True)
            return
        except ValueError as error:
            # A NUL or the like in its arguments or variables: another try would end the same way.
            self._spawn_failed(generation, f"it cannot be spawned: {error}", retry=False)
            return
        self.process = process
        now = outside.time.now()
        self.take(events.Spawned(at=now, generation=generation, pid=process.pid))
        if outside.closing and self.machine.wanted == "up":
            process.terminate()
        self._end_of(process, generation, await process.wait())

    async def _prepared(self, generation: int) -> LaunchSpec:
        if self._outside.closing:
            raise StartFailed("the Host is stopping", plugin=self.name)
        spec = await self._outside.prepare(self.definition, generation)
        path = spec.cwd / spec.argv[0]
        if problem := check_entrypoint(path, spec.cwd, spec.inside):
            raise StartFailed(problem, plugin=self.name)
        return spec

    def _spawn_ended(self, task: asyncio.Task[None], generation: int) -> None:
        """A spawn that was given up before there was a process still has to be answered."""
        if self._preparing is task:
            self._preparing = None
        if task.cancelled() and not self.machine.spawned:
            self._spawn_failed(generation, "stopped before it was spawned", retry=True)

    def _spawn_failed(self, generation: int, message: str, *, retry: bool) -> None:
        self._free_slot()
        outside = self._outside
        self.take(
            events.SpawnFailed(
                at=outside.time.now(),
                generation=generation,
                message=message,
                retry=retry,
                jitter=outside.jitter(),
            )
        )

    def _end_of(self, process: Running, generation: int, end: Exit) -> None:
        if self.process is process:
            self.process = None
        text = f"{end}; KILL was needed" if end.escalated else str(end)
        self.take(
            events.Exited(
                at=self._outside.time.now(),
                generation=generation,
                code=end.code,
                signal=end.signal,
                text=text,
                jitter=self._outside.jitter(),
            )
        )

    def _on_lines(self, generation: int, stream: str, lines: list[str]) -> None:
        self.heard_at = self._outside.time.now()
        self.tail.extend(lines[-TAIL_LINES:])
        self._outside.on_lines(self.name, stream, lines)
        if self.machine.state == "starting" and stream == "stdout":
            for line in lines:
                if line.startswith(PREPARING):
                    self._outside.on_prepared(self.name, line.removeprefix(PREPARING).strip())
                    self.take(events.PreparedLine(at=self.heard_at, generation=generation))

    # --- judgement by the sweeper --------------------------------------------------------------

    def check_health(self) -> None:
        """Say how long it has been silent, once that is too long."""
        if not self.machine.is_up:
            return
        now = self._outside.time.now()
        seconds = now - self.beaten_at
        if seconds >= self.policy.silent_degraded:
            quiet = now - max(self.beaten_at, self.heard_at)
            generation = self.machine.generation
            self.take(events.Silent(at=now, generation=generation, seconds=seconds, quiet=quiet))

    def check_memory(self) -> None:
        """Warn at 80 % of the memory limit; above the limit the machine is told."""
        limit = self.definition.limits.memory_mb
        if limit is None or self.process is None:
            return
        used = self.process.mem_bytes() / (1 << 20)
        text = f"it uses {used:.0f} MB of the {limit} MB that it may"
        if used >= limit:
            now, generation = self._outside.time.now(), self.machine.generation
            self.take(events.MemoryExceeded(at=now, generation=generation, detail=text))
        elif used >= 0.8 * limit and not self.memory_warned:
            self.memory_warned = True
            self._outside.on_lines(self.name, "host", [f"memory: {text}"])
        elif used < 0.7 * limit:
            self.memory_warned = False

    def failure(self) -> StartFailed:
        """Why it is not up, with the last lines that it printed."""
        reason = self.machine.reason or f"it is {self.machine.state}"
        return StartFailed(plugin=self.name, reason=reason, log=list(self.tail))


def _shown(m: lifecycle.Machine) -> tuple[object, ...]:
    return m.state, m.wanted, m.reason, m.generation, m.pid, m.restarts, m.last_exit
