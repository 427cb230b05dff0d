"""Log floods through the whole of a Host, and into a page."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
import pytest

from bkg_workbench import Host, attach
from tests.e2e.kernels import Kernel, kernel
from tests.helpers import eventually
from tests.plugins import write_plugin
from tests.reliability import Record
from tests.soak.budget import Budget
from tests.soak.lag import Lag
from tests.takeover import OWNER, hear, script, tell

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

FLOOD = r"""
import sys, time
from bkg_workbench.sdk import Plugin
plugin = Plugin("demo")

@plugin.capability("demo.flood", thread=True)
def flood(payload: dict) -> dict:
    lines, per_second = payload["lines"], payload["per_second"]
    begun, written = time.monotonic(), 0
    while written < lines:
        due = min(lines, int((time.monotonic() - begun) * per_second))
        sys.stdout.write("".join(f"line {n} of a flood\n" for n in range(written, due)))
        sys.stdout.flush()
        written = due
        time.sleep(0.01)
    return {"seconds": time.monotonic() - begun}

plugin.run()
"""
PER_SECOND = 10_000


def write_flood(workspace: Path) -> None:
    write_plugin(workspace, code=FLOOD, capabilities=["demo.flood"])


@pytest.mark.row("L1", "L10")
def test_ten_thousand_lines_a_second_are_all_kept_or_counted(
    workspace: Path, budget: Budget, record: Record
) -> None:
    lines = int(PER_SECOND * budget.seconds(60, least=10))
    write_flood(workspace)
    with Lag() as lag, Host(workspace) as host:
        host.start("demo")
        measuring = host._portal.start(lag.measure())
        answer = host.call(
            "demo.flood", {"lines": lines, "per_second": PER_SECOND}, timeout=lines / 1000
        )
        last = f"line {lines - 1} of a flood"
        eventually(lambda: host.logs("demo", text=last, source="stdout"), timeout=60)
        measuring.cancel()
        counts = host.engine.logs.counters("demo")
        kept = sorted((workspace / ".bkg" / "logs").glob("demo*.jsonl"))
        used = sum(file.stat().st_size for file in kept)
    record.figure("log lines/s", lines / answer["seconds"])
    record.figure("log lines lost", max(0, lines - counts.received))
    record.figure("log lines dropped and counted", counts.dropped)
    record.figure("the loop's lag, p99", 1000 * statistics.quantiles(lag.samples, n=100)[98], "ms")
    record.figure("on disk", used / (1 << 20), "MiB")
    assert counts.received >= lines
    assert counts.dropped == 0
    assert used <= 60 << 20
    numbers = [
        int(message.split()[1])
        for file in kept
        for line in file.read_text().splitlines()
        if (message := json.loads(line)["message"]).endswith("of a flood")
    ]
    assert sorted(numbers) == list(range(min(numbers), lines))


@pytest.mark.row("L9")
def test_a_host_that_does_not_read_for_a_while_loses_no_line(
    workspace: Path, record: Record
) -> None:
    lines = 50_000
    write_flood(workspace)
    with script(OWNER, workspace) as owner:
        assert hear(owner) == "up"
        with attach(workspace) as bench, ThreadPoolExecutor(1) as pool:
            flooding: Future[Any] = pool.submit(
                bench.call, "demo.flood", {"lines": lines, "per_second": PER_SECOND}, timeout=120
            )
            eventually(lambda: bench.logs("demo", text="line 1000 of"), timeout=30)
            os.kill(owner.pid, signal.SIGSTOP)
            time.sleep(5)
            os.kill(owner.pid, signal.SIGCONT)
            flooding.result()
            last = f"line {lines - 1} of a flood"
            eventually(lambda: bench.logs("demo", text=last), timeout=30)
            numbers, after = [], 0
            while found := list(bench.logs("demo", after=after, limit=5000, source="stdout")):
                numbers += [int(r["message"].split()[1]) for r in found]
                after = found[-1]["seq"]
        tell(owner, "close")
        owner.wait(30)
    assert numbers == list(range(lines))
    record.figure("log lines lost", lines - len(numbers))


@pytest.mark.row("K14")
def test_a_flood_into_a_page_comes_in_few_messages_and_every_line_is_accounted_for(
    workspace: Path, budget: Budget, record: Record
) -> None:
    seconds = budget.seconds(20, least=10)
    lines = int(PER_SECOND * seconds)
    write_flood(workspace)
    with kernel(workspace, dict(os.environ)) as owner:
        logs, presence = owner.run(
            "from bkg_workbench import Host\nhost = Host(); host.start('demo')\n"
            "from bkg_workbench.widgets.display import ControlCentre\n"
            "import threading\n"
            "centre = ControlCentre(host)\n"
            "def flood(): host.call('demo.flood', "
            f"{{'lines': {lines}, 'per_second': {PER_SECOND}}}, timeout=600)\n"
            "print(centre.logs.model_id, centre.presence.model_id)"
        ).split()
        process = psutil.Process(owner.manager.provisioner.pid)
        quiet = cpu_of(process, lambda: owner.run("flood()", timeout=600))
        say(owner, logs, {"kind": "hello", "after": {}, "floor": 0, "token": "t"})
        say(owner, presence, {"kind": "beat"})
        page = Page(owner, logs)
        page.read_until(lambda: page.backlogs == 1)
        owner.run("thread = threading.Thread(target=flood); thread.start()")
        begun = time.monotonic()
        watched = cpu_of(
            process, lambda: page.read_until(lambda: page.lines >= lines, 60 + 4 * seconds)
        )
        took = time.monotonic() - begun
        owner.run("thread.join(); host.close()")
    record.figure("messages to the page", page.batches / took, "/s")
    record.figure("shown and dropped, of received", page.lines / lines)
    record.figure("dropped and counted", page.dropped)
    record.figure("kernel's CPU for the page", max(0.0, watched - quiet), "%")
    assert page.lines == lines
    assert page.batches / took <= 15


class Page:
    """The page's end of a log: counts what it is sent."""

    def __init__(self, owner: Kernel, model: str) -> None:
        self._owner, self._model = owner, model
        self.batches = self.backlogs = self.shown = self.dropped = 0
        self._before = self._given = 0

    @property
    def lines(self) -> int:
        return self.shown + self.dropped

    def read_until(self, done: Any, timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < end, (self.shown, self.dropped, self.batches)
            try:
                message = self._owner.client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            content = message["content"]
            if message["msg_type"] != "comm_msg" or content["comm_id"] != self._model:
                continue
            said = content["data"].get("content", {})
            if said.get("kind") == "backlog":
                self.backlogs += 1
                self._before = said["said"].get("demo", [0, 0])[1]
            elif said.get("kind") == "batch":
                self.batches += 1
                records = json.loads(bytes(message["buffers"][0]))
                self._given += sum(record[2] == "demo" for record in records)
                if "demo" in said["said"]:
                    self.dropped = said["said"]["demo"][1] - self._before - self._given
                self.shown += sum("of a flood" in record[5] for record in records)


def say(owner: Kernel, model: str, content: dict[str, Any]) -> None:
    """Send a widget's message, as its page would."""
    data = {"method": "custom", "content": content}
    message = owner.client.session.msg("comm_msg", {"comm_id": model, "data": data})
    owner.client.shell_channel.send(message)


def cpu_of(process: psutil.Process, work: Any) -> float:
    """Percent of one core that the process uses while `work` runs."""
    used, begun = sum(process.cpu_times()[:2]), time.monotonic()
    work()
    return 100 * (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - begun)
