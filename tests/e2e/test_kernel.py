"""A Host in a real notebook kernel: alive while cells compute, and nothing is left when it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bkg_workbench import attach
from bkg_workbench.errors import HostNotFound
from tests.e2e.kernels import Kernel, kernel
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GONE_SECONDS = 7.0
"""5 s grace and 2 s more."""

SIGNALS = """
import signal, sys, time, pathlib
from bkg_workbench.sdk import Plugin
pathlib.Path("signals").write_text("")
def note(number, frame):
    with open("signals", "a") as file:
        file.write(f"{number}\\n")
plugin = Plugin("demo")
@plugin.capability("demo.greet", idempotent=True)
async def greet(payload: dict) -> dict:
    return {"text": "hi"}
@plugin.on_start
async def listen():
    signal.signal(signal.SIGINT, note)
plugin.run()
"""


@pytest.fixture
def owner(workspace: Path) -> Iterator[Kernel]:
    """A kernel that owns the Host of a workspace with the demo plug-in running."""
    write_plugin(workspace, code=SIGNALS, autostart=True, capabilities=["demo.greet"])
    with kernel(workspace, dict(os.environ)) as made:
        made.run("from bkg_workbench import Host\nhost = Host()\nhost.start('demo')\nprint('up')")
        yield made


def plugins_of(workspace: Path) -> dict[int, str]:
    """The workspace's processes that are not kernels."""
    found = processes_of(workspace)
    return {pid: line for pid, line in found.items() if "ipykernel" not in line}


@pytest.mark.row("S27")
def test_requests_beats_and_logs_go_on_while_a_cell_computes(
    owner: Kernel, workspace: Path
) -> None:
    before = owner.run("import sys; sys.getswitchinterval()")
    computing = owner.begin(
        "import time\nend = time.monotonic() + 4\nn = 0\nwhile time.monotonic() < end: n += 1\n"
        "print('computed')"
    )
    with attach(workspace) as bench:
        end = time.monotonic() + 3
        answers = 0
        while time.monotonic() < end:
            assert bench.call("demo.greet", timeout=5)["text"] == "hi"
            answers += 1
        assert answers > 50
        assert bench.plugin("demo").state == "running"
    assert "computed" in owner.finish(computing)
    assert float(before) <= 0.0005
    owner.run("host.close()")
    assert float(owner.run("sys.getswitchinterval()")) > 0.0005


@pytest.mark.row("K1")
def test_an_interrupt_reaches_no_plugin(owner: Kernel, workspace: Path) -> None:
    with attach(workspace) as bench:
        pid = bench.plugin("demo").pid
        for _ in range(3):
            owner.manager.interrupt_kernel()
        computing = owner.begin("import time\nopen('begun', 'w').close()\ntime.sleep(30)")
        eventually((workspace / "begun").exists, timeout=20)
        owner.manager.interrupt_kernel()
        with pytest.raises(AssertionError, match="KeyboardInterrupt"):
            owner.finish(computing)
        assert bench.call("demo.greet")["text"] == "hi"
        assert bench.plugin("demo").pid == pid
    assert (workspace / "plugins" / "demo" / "signals").read_text() == ""


@pytest.mark.row("K7")
def test_the_cell_run_twice_gives_the_same_host(owner: Kernel) -> None:
    again = owner.run("second = Host()\nprint(second is host, len(second.plugins()))")
    assert again.split() == ["True", "1"]


@pytest.mark.row("K3")
def test_a_restart_of_the_kernel_leaves_nothing_and_a_new_host_starts(
    owner: Kernel, workspace: Path
) -> None:
    owner.manager.restart_kernel()
    owner.client.wait_for_ready(timeout=60)
    eventually(lambda: not plugins_of(workspace), timeout=GONE_SECONDS)
    owner.run("from bkg_workbench import workbench\nbench = workbench()")
    assert "running" in owner.run("print(bench.start('demo').state)")


@pytest.mark.row("K4", "S17")
def test_a_kernel_that_is_killed_leaves_nothing(owner: Kernel, workspace: Path) -> None:
    assert plugins_of(workspace)
    pid = owner.manager.provisioner.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)
    with pytest.raises(HostNotFound):
        attach(workspace)


@pytest.mark.row("K6")
def test_a_kernel_that_is_shut_down_leaves_nothing(owner: Kernel, workspace: Path) -> None:
    begin = time.monotonic()
    owner.manager.shutdown_kernel()
    assert time.monotonic() - begin < 10
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)


@pytest.mark.row("K8", "K10")
def test_a_second_notebook_attaches_and_hears_when_the_owner_goes(
    owner: Kernel, workspace: Path
) -> None:
    with kernel(workspace, dict(os.environ)) as second:
        second.run("from bkg_workbench import workbench\nbench = workbench()")
        assert second.run("print(type(bench).__name__)").strip() == "Workbench"
        assert "running" in second.run("print(bench.stop('demo').state, bench.start('demo').state)")
        assert "running" in owner.run("print(host.plugin('demo').state)")
        owner.manager.shutdown_kernel()
        gone = (
            "import time\nend = time.monotonic() + 20\n"
            "while bench.connected and time.monotonic() < end: time.sleep(0.05)\n"
            "print(bench.connected, bench.lost)\n"
            "try:\n    bench.call('demo.greet')\nexcept Exception as error:\n    print(error)"
        )
        said = second.run(gone)
        assert said.startswith("False the Host")
        assert "bkg host" in said
        assert second.run("bench = workbench()\nprint(type(bench).__name__)").strip() == "Host"


@pytest.mark.row("K11", "S18")
def test_a_forked_child_holds_neither_lock_nor_plugins(owner: Kernel, workspace: Path) -> None:
    owner.run(
        "import os, time\nchild = os.fork()\nif child == 0:\n    time.sleep(30)\n    os._exit(0)"
    )
    pid = owner.manager.provisioner.pid
    child = int(owner.run("print(child)"))
    os.kill(pid, signal.SIGKILL)
    try:
        eventually(
            lambda: not [p for p in plugins_of(workspace) if p != child], timeout=GONE_SECONDS
        )
        from bkg_workbench import Host

        with Host(workspace, autostart=False) as host:
            assert host.plugins()
    finally:
        os.kill(child, signal.SIGKILL)
