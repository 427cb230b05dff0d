"""Steady load on a plug-in that keeps count itself, so that both counts can be compared.

Owns the plug-in `counter` and the asker. A request that was refused as busy (429) reached nobody,
so it is asked again, as any client would; how many were is counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bkg_workbench import Workbench
from bkg_workbench.errors import Overloaded, WorkbenchError
from tests.plugins import write_plugin

BUSY_SECONDS = 0.25

COUNTER = """
import os
from bkg_workbench.sdk import Plugin

plugin = Plugin("counter")
done = os.open("executed", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@plugin.capability("counter.count")
async def count(payload: dict) -> dict:
    os.write(done, b"%d\\n" % payload["n"])
    return {"n": payload["n"]}


plugin.run()
"""


def write_counter(workspace: Path) -> Path:
    """Write the plug-in; gives the file in which it counts, over all its processes."""
    write_plugin(workspace, "counter", COUNTER, capabilities=["counter.count"])
    return workspace / "plugins" / "counter" / "executed"


@dataclass
class Load:
    """What a steady load asked for and got. Numbers of requests count from 0."""

    asked: int = 0
    seconds: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    busy: int = 0
    slowest: float = 0.0

    @property
    def per_second(self) -> float:
        return self.asked / self.seconds

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.asked - len(self.answers)

    def twice(self, executed: Path) -> int:
        """Requests that were answered, or executed, more than once."""
        counted = Counter(int(line) for line in executed.read_text().split())
        assert set(counted) >= set(self.answers), "answered, but never executed"
        more = [n for n, times in counted.items() if times > 1]
        return len({*more, *(n for n, times in self.answers.items() if times > 1)})

    def never(self, executed: Path) -> int:
        """Requests that were never executed."""
        return self.asked - len(set(executed.read_text().split()))


async def steady(bench: Workbench, per_second: float, going: Callable[[], bool]) -> Load:
    """Ask `per_second` times a second, evenly, while `going`; then wait for the answers."""
    load, loop = Load(), asyncio.get_running_loop()
    begun, tasks = loop.time(), set()

    async def ask(n: int) -> None:
        started = loop.time()
        while True:
            try:
                answer = await bench.acall("counter.count", {"n": n}, timeout=60)
            except Overloaded:
                load.busy += 1
                await asyncio.sleep(BUSY_SECONDS)
                continue
            except WorkbenchError as error:
                load.failures.append(f"{n}: {type(error).__name__}: {error}")
                return
            load.answers[answer["n"]] += 1
            load.slowest = max(load.slowest, loop.time() - started)
            return

    while going():
        # By the clock and not by pauses: what came late is made up for.
        await asyncio.sleep(max(0.0, begun + load.asked / per_second - loop.time()))
        task = asyncio.create_task(ask(load.asked))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        load.asked += 1
    load.seconds = loop.time() - begun
    await asyncio.gather(*tasks)
    return load


async def restarts_under_load(bench: Workbench, restarts: int, per_second: float) -> Load:
    """Restart the counter again and again while the load goes on."""

    async def restart() -> None:
        for _ in range(restarts):
            await bench.arestart("counter")
            await asyncio.sleep(0.1)  # some requests go through without any restart

    restarting = asyncio.create_task(restart())
    load = await steady(bench, per_second, lambda: not restarting.done())
    await restarting
    return load
