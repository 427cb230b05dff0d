"""A supervisor over scripted processes and a clock that tests move by hand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import Moved
from bkg_workbench.supervisor.actor import OnLines
from bkg_workbench.supervisor.process import Exit, LaunchSpec, Sample
from bkg_workbench.supervisor.supervisor import Supervisor


class ScriptedProcess:
    """A process that ends when told to, unless it is `stubborn`."""

    def __init__(self, pid: int, on_lines: OnLines) -> None:
        self.pid: int | None = pid
        self.print = lambda *lines: on_lines("stdout", list(lines))
        self.stubborn = self.released = False
        self.memory = 0
        self.socket: str | None = None
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    def exit(self, code: int | None = 0, signal: int | None = None) -> None:
        if not self._exit.done():
            self._exit.set_result(Exit(code, signal))

    def terminate(self) -> None:
        if not self.stubborn:
            self.exit(None, 15)

    def kill(self) -> None:
        self.exit(None, 9)

    def release(self) -> None:
        self.released = True

    def sample(self) -> Sample:
        return Sample(1.0, self.memory, 1)

    def mem_bytes(self) -> int:
        return self.memory

    def holds_socket(self, socket: str) -> bool:
        return self.socket == socket

    @property
    def is_alive(self) -> bool:
        return not self._exit.done()


class Bench:
    """A Supervisor, what it told, and the processes that it spawned, by plug-in."""

    def __init__(self, max_starts: int = 8, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self.clock = ManualClock()
        self.moved: list[tuple[str, Moved]] = []
        self.prepared: list[tuple[str, str]] = []
        self.lines: list[tuple[str, str, str]] = []
        self.drained: list[tuple[str, float]] = []
        self.processes: dict[str, list[ScriptedProcess]] = {}
        self.problem: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.drain_gate: asyncio.Event | None = None
        self.most_alive = 0
        self.supervisor = Supervisor(
            prepare=self.prepare,
            on_moved=lambda name, moved: self.moved.append((name, moved)),
            on_prepared=lambda name, text: self.prepared.append((name, text)),
            on_lines=lambda name, stream, lines: self.lines.extend(
                (name, stream, line) for line in lines
            ),
            drain=self.drain,
            clock=self.clock,
            max_starts=max_starts,
            jitter=jitter,
            spawn=self.spawn,
        )

    async def prepare(self, definition: Definition, generation: int) -> LaunchSpec:
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        env = {"NAME": definition.name}
        return LaunchSpec((sys.executable,), Path("/"), env)

    async def spawn(self, spec: LaunchSpec, on_lines: OnLines) -> ScriptedProcess:
        made = self.processes.setdefault(spec.env["NAME"], [])
        process = ScriptedProcess(1000 + len(made), on_lines)
        made.append(process)
        alive = sum(p.is_alive for p in made)
        self.most_alive = max(self.most_alive, alive)
        return process

    async def drain(self, name: str, seconds: float) -> None:
        self.drained.append((name, seconds))
        if self.drain_gate is not None:
            await self.drain_gate.wait()

    # --- shorthands ----------------------------------------------------------------------------

    def define(self, name: str = "goose", **fields: object) -> str:
        self.supervisor.define(Definition(name=name, **fields))  # type: ignore[arg-type]
        return name

    def state(self, name: str = "goose") -> str:
        return next((m.chapter.state for n, m in reversed(self.moved) if n == name), "stopped")

    def reason(self, name: str = "goose") -> str:
        return next(m.chapter.why for n, m in reversed(self.moved) if n == name)

    def process(self, name: str = "goose") -> ScriptedProcess:
        return self.processes[name][-1]

    def spawns(self, name: str = "goose") -> int:
        return len(self.processes.get(name, []))

    async def settle(self) -> None:
        await self.clock.advance(0.0)

    async def up(self, name: str = "goose") -> ScriptedProcess:
        """Start it and let it say that it is up."""
        self.supervisor.start(name)
        await self.settle()
        await self.ready(name)
        return self.process(name)

    async def ready(self, name: str = "goose") -> None:
        generation = self.supervisor.generation(name)
        self.supervisor.registered(name, generation)
        self.supervisor.beat(name, generation, "up")
        assert self.state(name) == "running"

    async def pass_time(self, seconds: float, beating: bool = True) -> None:
        """Let time pass, with beats each 10 s."""
        while seconds > 0:
            step = min(seconds, 10.0)
            await self.clock.advance(step)
            seconds -= step
            for name in self.processes:
                if beating:
                    self.supervisor.beat(name, self.supervisor.generation(name), "up")

    async def close(self) -> None:
        for made in self.processes.values():
            for process in made:
                process.stubborn = False
        self.gate = self.drain_gate = None
        closing = asyncio.ensure_future(self.supervisor.aclose())
        while not closing.done():
            await self.clock.advance(1.0)
        await closing


class Problem(WorkbenchError):
    """Something that `prepare` says."""
