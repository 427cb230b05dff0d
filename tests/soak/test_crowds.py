"""Many at once: plug-ins that start, heirs that race, visitors of a page; and a hungry one."""

from __future__ import annotations

import http.cookiejar
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bkg_workbench import Host
from bkg_workbench.host.workspace import init
from bkg_workbench.protocol.state import WorkbenchState
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin
from tests.reliability import Record
from tests.soak.budget import Budget
from tests.soak.lag import Lag
from tests.takeover import race

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PLUGINS, VISITORS = 50, 10
MEMORY_MB = 256

HOG = """
import time
from bkg_workbench.sdk import Plugin
plugin = Plugin("hog")
kept = []

@plugin.capability("hog.eat", thread=True)
def eat(payload: dict) -> dict:
    for _ in range(64):
        kept.append(b"x" * (16 << 20))
        time.sleep(0.25)
    return {}

plugin.run()
"""


@pytest.mark.row("S31")
def test_fifty_plugins_start_at_most_eight_at_a_time(workspace: Path, record: Record) -> None:
    for number in range(PLUGINS):
        write_plugin(workspace, f"demo{number}", autostart=True, startTimeoutSeconds=300)
    most = 0

    def look(state: WorkbenchState) -> None:
        nonlocal most
        starting = [p for p in state.plugins.values() if p.state == "starting" and p.pid]
        most = max(most, len(starting))

    with Lag() as lag, Host(workspace, autostart=False) as host:
        host.on_change(look)
        measuring = host._portal.start(lag.measure())
        begun = time.monotonic()
        host._portal.run(_autostart(host))
        eventually(
            lambda: {p.state for p in host.state.plugins.values()} == {"running"}, timeout=300
        )
        record.figure("plug-ins", PLUGINS)
        record.figure("all up after", time.monotonic() - begun, "s")
        record.figure("starting at a time", most)
        record.figure("the loop's worst lag", 1000 * max(lag.samples), "ms")
        measuring.cancel()
        assert most <= 8
        assert max(lag.samples) < 2.0
        assert len(processes_of(workspace)) >= 2 * PLUGINS
    assert processes_of(workspace) == {}


async def _autostart(host: Host) -> None:
    host.engine.supervisor.autostart()


@pytest.mark.row("S29")
def test_memory_without_bound_restarts_the_plugin_and_leaves_the_host_alone(
    workspace: Path, record: Record
) -> None:
    write_plugin(workspace, "hog", HOG, capabilities=["hog.eat"], limits={"memoryMb": MEMORY_MB})
    write_plugin(workspace)
    with Host(workspace) as host:
        host.start("demo")
        host.start("hog")
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            eating = pool.submit(host.call, "hog.eat", timeout=120)
            slowest = 0.0
            while host.plugin("hog").generation == 1:
                asked = time.monotonic()
                host.call("demo.greet", {"name": "Ada"})
                slowest = max(slowest, time.monotonic() - asked)
                assert time.monotonic() - begun < 120
            assert eating.exception(timeout=30) is not None
        record.figure("replaced after", time.monotonic() - begun, "s")
        record.figure("slowest answer of another", 1000 * slowest, "ms")
        assert [e for e in host.events("hog", limit=1000) if "memory-limit" in e["why"]]
        eventually(lambda: host.plugin("hog").state == "running", timeout=30)
        assert host.plugin("demo").generation == 1


@pytest.mark.row("K10")
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_exactly_one_of_two_heirs_wins_each_time(
    workspace: Path, budget: Budget, record: Record, how: str
) -> None:
    rounds = budget.times(10)
    slowest = race(workspace, rounds, how)
    record.figure("races", rounds)
    record.figure("known after at most", slowest, "s")
    assert slowest <= 20


@pytest.mark.row("K9")
@pytest.mark.shared_host
def test_ten_visitors_share_one_host_and_their_kernels_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    place = tmp_path / "workspace"
    init(place)
    write_plugin(place)
    (place / "bkg.toml").write_text("[pages]\nspare_kernels = 0\nlease_seconds = 600\n")
    for variable in ("BKG_WEB_PORT", "BKG_API_PORT", "BKG_PLUGIN_BUS_PORT"):
        monkeypatch.setenv(variable, "0")
    with Host(place) as host:
        pid = host.start("demo").pid
        address = host.serve_web()
        before = psutil.Process().memory_info().rss
        with ThreadPoolExecutor(3) as pool:
            pages = list(pool.map(visit, [address] * VISITORS))
        assert all("bkg" in page for page in pages)
        clients = eventually(lambda: len(host.engine.hub.clients) == VISITORS and VISITORS)
        grown = psutil.Process().memory_info().rss - before
        kernels = kernels_of(place)
        record.figure("visitors", clients)
        record.figure("the Host's memory per visitor", grown / VISITORS / (1 << 20), "MB")
        assert len(kernels) == VISITORS
        assert len(list(place.glob(".bkg/host.json"))) == 1
        assert grown / VISITORS < 20 << 20
        for kernel in kernels:
            os.kill(kernel, signal.SIGKILL)
        eventually(lambda: not host.engine.hub.clients, timeout=20)
        assert host.plugin("demo").pid == pid
        assert host.call("demo.greet", {"name": "Ada"}) == {"text": "Hello Ada"}
    eventually(lambda: not processes_of(place), timeout=10)


def visit(address: str) -> str:
    """Open a dashboard as a browser without JavaScript does; its page."""
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener: Callable[..., object] = urllib.request.build_opener(cookies).open
    with opener(address, timeout=180) as answer:  # type: ignore[attr-defined]
        return str(answer.read().decode())


def kernels_of(place: Path) -> list[int]:
    """Pids of the pages' kernels."""
    return [pid for pid, line in processes_of(place).items() if "ipykernel_launcher" in line]
