"""How fast log lines are taken, written, indexed and found. No assertion: figures only.

    python benchmarks/logs.py [LINES]

Lines are taken one by one in one thread, as a plug-in's output is; then each kind of question is
asked of all of them, the best of five counting.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.logs import Logs

QUESTIONS = {
    "the newest 500": QueryLogs(),
    "a common text": QueryLogs(text="answered"),
    "a rare text": QueryLogs(text="needle in"),
    "a text that is not there": QueryLogs(text="haystack"),
    "errors of one plug-in": QueryLogs(plugin="goose", level="error"),
    "a regular expression": QueryLogs(regex=r"id \d*777$"),
}


def lines(count: int) -> list[str]:
    """Lines of a hundred characters or so, one of them with a needle."""
    text = "request to the plug-in was answered in 12 ms by the second worker, all is well, id"
    said = [f"{n:07d} {text} {n * 7919 % 1_000_003}" for n in range(count)]
    said[count // 20] += " needle in"
    return said


async def ask(logs: Logs, query: QueryLogs) -> tuple[float, int]:
    """The best time in seconds, and how many records came."""
    best, found = 1e9, 0
    for _ in range(5):
        start = time.perf_counter()
        found = len((await logs.query(query))["records"])
        best = min(best, time.perf_counter() - start)
    return best, found


async def measure(folder: Path, count: int) -> None:
    """Print the figures."""
    logs = Logs(folder)
    logs.open()
    said = lines(count)
    start = time.perf_counter()
    for line in said:
        logs.append("goose", "stdout", "info", line)
    taken = time.perf_counter() - start
    await logs.flush()
    written = time.perf_counter() - start
    while not (await logs.query(QueryLogs(after=count - 1)))["records"]:
        pass
    indexed = time.perf_counter() - start
    counters = logs.counters("goose")
    print(f"{count:,} lines: {counters.received:,} received, {counters.dropped:,} dropped")
    for what, seconds in (("taken", taken), ("written", written), ("to be found", indexed)):
        print(f"  {what:<26}{count / seconds:>12,.0f} lines/s")
    await logs.idle()
    for what, query in QUESTIONS.items():
        seconds, found = await ask(logs, query)
        print(f"  {what:<26}{seconds * 1000:>12.1f} ms {found:>6} found")
    logs.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(Path(place), int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
