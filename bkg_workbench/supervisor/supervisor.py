"""Every plug-in of a workspace under supervision: wishes in, transitions out.

Owns the actors, the sweep over their health and memory each second, and the order of starting and
stopping. Does not know the bus, the store or the workspace: the Host gives callbacks. All methods
but `abandon` belong to the Host's event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable

from bkg_workbench.bus.clock import Clock, SystemClock
from bkg_workbench.errors import LifecycleError, PluginNotFound
from bkg_workbench.protocol import lifecycle_events as events
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import Moved
from bkg_workbench.supervisor import proc
from bkg_workbench.supervisor.actor import Actor, OnLines, Outside, Running, SteadyTime
from bkg_workbench.supervisor.order import start_order, stop_waves
from bkg_workbench.supervisor.process import LaunchSpec, Process, Sample

MEMORY_CHECK_TICKS = 5
STOP_SECONDS = 12.0
"""The default of `aclose`: 5 s for requests in flight, 5 s grace, and a little."""


def _jitter() -> float:
    return random.uniform(0.8, 1.2)


class Supervisor:
    """Starts, watches and stops plug-ins.

    Parameters: `prepare(definition, generation)` makes everything ready and says how to launch; its
    WorkbenchError is a failure without retry. `on_moved(name, moved)` sees every transition,
    `on_prepared(name, text)` each `preparing:` line, `on_lines(name, stream, lines)` all output
    ("stdout", "stderr", and "host" for remarks of the supervisor). `drain(name, seconds)` stops
    routing and waits for requests in flight. `jitter()` gives a factor from 0.8 to 1.2.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[Definition, int], Awaitable[LaunchSpec]],
        on_moved: Callable[[str, Moved], None],
        on_prepared: Callable[[str, str], None],
        on_lines: Callable[[str, str, list[str]], None],
        drain: Callable[[str, float], Awaitable[None]],
        clock: Clock | None = None,
        max_starts: int = 8,
        jitter: Callable[[], float] = _jitter,
        spawn: Callable[[LaunchSpec, OnLines], Awaitable[Running]] = Process.spawn,
    ) -> None:
        clock = clock or SystemClock()
        self._outside = Outside(
            prepare=prepare,
            spawn=spawn,
            on_moved=on_moved,
            on_prepared=on_prepared,
            on_lines=on_lines,
            drain=drain,
            clock=clock,
            time=SteadyTime(clock),
            jitter=jitter,
            slots=asyncio.Semaphore(max_starts),
        )
        self._actors: dict[str, Actor] = {}
        self._sweeper: asyncio.Task[None] | None = None

    # --- definitions ---------------------------------------------------------------------------

    def define(self, definition: Definition) -> None:
        """Take a plug-in, or a new definition of one; a running one keeps its process."""
        actor = self._actors.get(definition.name)
        if actor is None:
            self._actors[definition.name] = Actor(definition, self._outside)
        else:
            actor.definition = definition

    async def remove(self, name: str) -> None:
        """Stop a plug-in and forget it. Raises PluginNotFound."""
        actor = self._actor(name)
        actor.take(events.StopAsked(at=self._now(), why="removed"))
        await actor.stopped()
        self._actors.pop(name, None)

    def names(self) -> list[str]:
        """The plug-ins, in the order of their definition."""
        return list(self._actors)

    # --- wishes --------------------------------------------------------------------------------

    def start(self, name: str, why: str = "") -> None:
        """Want it up. Raises PluginNotFound, LifecycleError once closed."""
        self._wish(events.StartAsked(at=self._now(), why=why), name)

    def stop(self, name: str, why: str = "") -> None:
        """Want it down. Raises PluginNotFound."""
        self._actor(name).take(events.StopAsked(at=self._now(), why=why))

    def restart(self, name: str, why: str = "") -> None:
        """Want it up in a fresh process. Raises PluginNotFound, LifecycleError once closed."""
        self._wish(events.RestartAsked(at=self._now(), why=why), name)

    def autostart(self, why: str = "autostart", *, but: Collection[str] = ()) -> list[str]:
        """Start those that want it, the ones that others call first; their names in order.

        Those named in `but` are left alone.
        """
        definitions = [actor.definition for actor in self._actors.values()]
        order = start_order(definitions)
        autostarted = (name for name in order if self._actors[name].definition.autostart)
        names = [name for name in autostarted if name not in but]
        for name in names:
            self.start(name, why)
        return names

    async def wait(self, name: str, *, timeout: float) -> Moved:
        """Return when the wish is fact: running or degraded, or stopped.

        Raises StartFailed (facts `reason`, `log`) when it is wanted up and fails, ends or takes
        longer than `timeout` seconds; LifecycleError when it has not stopped by then.
        """
        actor = self._actor(name)
        wish = actor.machine.wanted
        deadline = asyncio.ensure_future(self._outside.clock.sleep(timeout))
        try:
            while not self._is_settled(actor, wish):
                await asyncio.wait({actor.change(), deadline}, return_when=asyncio.FIRST_COMPLETED)
                if deadline.done() and not self._is_settled(actor, wish):
                    raise _too_late(actor, timeout)
                wish = "up" if actor.machine.wanted == "up" else wish
        finally:
            deadline.cancel()
        return actor.last_moved or actor.moved("defined")

    def _is_settled(self, actor: Actor, wish: str) -> bool:
        machine = actor.machine
        if machine.wanted == "up":
            if machine.state in ("backoff", "failed"):
                raise actor.failure()
            return machine.is_up
        if machine.state == "stopped" and wish == "up":
            raise actor.failure()
        return machine.state == "stopped"

    # --- what the hub says ---------------------------------------------------------------------

    def generation(self, name: str) -> int:
        """The number of its latest spawn; 0 before the first. Raises PluginNotFound."""
        return self._actor(name).machine.generation

    def registered(self, name: str, generation: int) -> None:
        """It has registered on the bus."""
        if actor := self._actors.get(name):
            now = self._now()
            if generation == actor.machine.generation:
                actor.beaten_at = now
            actor.take(events.Registered(at=now, generation=generation))

    def beat(
        self,
        name: str,
        generation: int,
        status: events.Status,
        sign: events.Sign = "beat",
        detail: str = "",
    ) -> None:
        """A sign of its health came: its beat, or with `sign` "http" that of its health path."""
        actor = self._actors.get(name)
        if actor is None:
            return
        now = self._now()
        if sign == "beat" and generation == actor.machine.generation:
            actor.beaten_at = now
        actor.take(
            events.Beat(at=now, generation=generation, status=status, sign=sign, detail=detail)
        )

    def disconnected(self, name: str, generation: int) -> None:
        """Its connection has gone."""
        if actor := self._actors.get(name):
            actor.take(events.Disconnected(at=self._now(), generation=generation))

    def owner_of_connection(self, peer_port: int, host_port: int) -> tuple[str, int] | None:
        """The plug-in, and its generation, whose tree holds this TCP connection to the Host."""
        socket = proc.socket_inode(peer_port, host_port)
        if socket is None:
            return None
        for actor in self._actors.values():
            if actor.process is not None and actor.process.holds_socket(socket):
                return actor.name, actor.machine.generation
        return None

    def samples(self) -> dict[str, Sample]:
        """The load of each tree; CPU since the call before."""
        return {
            name: actor.process.sample()
            for name, actor in self._actors.items()
            if actor.process is not None
        }

    # --- the end -------------------------------------------------------------------------------

    async def aclose(self, wait_seconds: float = STOP_SECONDS) -> None:
        """Stop all: callers before those that they call, apikeys last. Twice does nothing more.

        Takes `wait_seconds` at most; keepers then end by themselves what is left.
        """
        self._outside.closing = True
        self._outside.drain_limit = max(0.0, wait_seconds - 6.0)
        try:
            await self._stop_all(wait_seconds)
        finally:
            # Also where the wait was cancelled: nothing of it may go on by itself.
            self.abandon()
            tasks = [*self._outside.tasks, *([self._sweeper] if self._sweeper else [])]
            self._sweeper = None
            for actor in self._actors.values():
                if actor.process is not None:
                    actor.process.release()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_all(self, wait_seconds: float) -> None:
        started = self._outside.clock.monotonic()
        waves = stop_waves(actor.definition for actor in self._actors.values())
        for number, wave in enumerate(waves, 1):
            for name in wave:
                self._actors[name].take(events.StopAsked(at=self._now(), why="the Host stops"))
            # Each wave has its share; a slow one does not use up the time of those after it.
            share = wait_seconds * number / len(waves)
            left = started + share - self._outside.clock.monotonic()
            await self._all_stopped(wave, max(left, 0.0))
        left = started + wait_seconds - self._outside.clock.monotonic()
        await self._all_stopped(self._actors, max(left, 0.0))

    def abandon(self) -> None:
        """Let go of all lifelines at once and wait for nothing; from any thread, at any time."""
        self._outside.closing = True
        for actor in list(self._actors.values()):
            if actor.process is not None:
                actor.process.terminate()

    async def _all_stopped(self, names: Iterable[str], seconds: float) -> None:
        async def stopped() -> None:
            for name in names:
                await self._actors[name].stopped()

        work = asyncio.ensure_future(stopped())
        deadline = asyncio.ensure_future(self._outside.clock.sleep(seconds))
        try:
            await asyncio.wait({work, deadline}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            deadline.cancel()

    # --- inside --------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._outside.time.now()

    def _actor(self, name: str) -> Actor:
        actor = self._actors.get(name)
        if actor is None:
            raise PluginNotFound(name=name, plugin=name, known=self.names())
        return actor

    def _wish(self, event: events.StartAsked | events.RestartAsked, name: str) -> None:
        actor = self._actor(name)
        if self._outside.closing:
            raise LifecycleError(f"{name} cannot start: the Host is stopping.", plugin=name)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="sweeper")
        actor.take(event)

    async def _sweep(self) -> None:
        """Judge health each second and memory each fifth."""
        tick = 0
        while True:
            self._now()
            await self._outside.clock.sleep(SteadyTime.TICK)
            self._now()
            tick += 1
            for actor in list(self._actors.values()):
                actor.check_health()
                if tick % MEMORY_CHECK_TICKS == 0:
                    actor.check_memory()


def _too_late(actor: Actor, timeout: float) -> LifecycleError:
    machine = actor.machine
    if machine.wanted == "up":
        failure = actor.failure()
        reason = f"it is still {machine.state} after {timeout:g} s"
        return type(failure)(plugin=actor.name, reason=reason, log=list(actor.tail))
    return LifecycleError(
        f"{actor.name} has not stopped within {timeout:g} s; it is {machine.state}.",
        plugin=actor.name,
        state=machine.state,
    )
