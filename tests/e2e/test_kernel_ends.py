"""The ways in which a notebook kernel ends, is interrupted, or loses its server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bkg_workbench import Workbench, attach
from bkg_workbench.errors import HostNotFound
from tests.e2e.kernels import GONE_SECONDS, UP, Kernel, gone, interrupt_starts, kernel
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin
from tests.reliability import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SERVER = """
import sys
from jupyter_server.serverapp import ServerApp
ServerApp.launch_instance(sys.argv[1:])
"""


@pytest.fixture
def owner(workspace: Path) -> Iterator[Kernel]:
    """A kernel that owns the Host of a workspace with the demo plug-in running."""
    write_plugin(workspace, autostart=True)
    with kernel(workspace, dict(os.environ)) as made:
        assert "up" in made.run(UP)
        yield made


@pytest.mark.row("K4")
@pytest.mark.parametrize("how", ["restart now", "exits", "crashes"])
def test_a_kernel_without_a_goodbye_leaves_nothing(
    owner: Kernel, workspace: Path, how: str
) -> None:
    assert not gone(workspace)
    if how == "restart now":
        owner.manager.restart_kernel(now=True)
    elif how == "exits":
        owner.begin("import os; os._exit(7)")
    else:
        owner.begin("import ctypes; ctypes.string_at(0)")
    eventually(lambda: gone(workspace), timeout=GONE_SECONDS)
    if how == "restart now":
        owner.client.wait_for_ready(timeout=60)
        assert "up" in owner.run(UP)
        owner.run("host.close()")


@pytest.mark.row("K6")
def test_seven_plugins_do_not_delay_the_kernels_end(workspace: Path, record: Record) -> None:
    for number in range(7):
        write_plugin(workspace, f"demo{number}", start="#!/bin/sh\nsleep 1000\n", code="")
    with kernel(workspace, dict(os.environ)) as made:
        made.run(
            "from bkg_workbench import Host\nhost = Host()\n"
            "for n in range(7): host.start(f'demo{n}', wait=False)"
        )
        eventually(lambda: sum("sleep" in c for c in processes_of(workspace).values()) == 7)
        begun = time.monotonic()
        made.manager.shutdown_kernel()
        seconds = time.monotonic() - begun
        record.figure("kernel's end", seconds, "s")
        # A graceful end that was not in time is followed by TERM after 2.5 s.
        assert seconds < 2.5
        eventually(lambda: gone(workspace), timeout=GONE_SECONDS)


@pytest.mark.row("K2")
def test_interrupts_while_a_host_starts_leave_it_up_or_down_and_the_next_try_works(
    workspace: Path,
) -> None:
    interrupt_starts(workspace, moments=4)


def has_started_kernel(url: str) -> bool:
    """Ask the server for a kernel; False where it does not listen yet."""
    headers = {"Authorization": "token t", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}api/kernels", data=b"{}", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.URLError:
        return False
    return True


@contextmanager
def jupyter_server(workspace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server with one kernel, whose first act is to become the Host."""
    runtime = workspace.parent / "runtime"
    runtime.mkdir(mode=0o700)
    startup = runtime / "ipython" / "profile_default" / "startup" / "host.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(UP)
    env = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(runtime),
        "JUPYTER_TOKEN": "t",
        "IPYTHONDIR": str(runtime / "ipython"),
    }
    options = ["--no-browser", "--port=0", "--ServerApp.allow_root=True", "--ip=127.0.0.1"]
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *options, f"--ServerApp.root_dir={workspace}"],
        cwd=workspace,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            file = eventually(lambda: next(runtime.glob("jpserver-*.json"), None), timeout=60)
            url = eventually(lambda: json.loads(file.read_text() or "{}").get("url"))
            eventually(lambda: has_started_kernel(url), timeout=60)
            yield server
        finally:
            server.kill()


@pytest.mark.row("K5")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_servers_end_ends_kernel_host_and_plugins(
    workspace: Path, number: signal.Signals, record: Record
) -> None:
    write_plugin(workspace, autostart=True)
    with jupyter_server(workspace) as server:
        with eventually(lambda: attached(workspace), timeout=60) as bench:
            bench.start("demo")
            kernel_pid = bench.info()["pid"]
        assert kernel_pid != server.pid
        server.send_signal(number)
        begun = time.monotonic()
        eventually(lambda: not processes_of(workspace), timeout=10 * GONE_SECONDS)
        record.figure(f"all gone after {number.name}", time.monotonic() - begun, "s")


def attached(workspace: Path) -> Workbench | None:
    """A workbench, as soon as there is a Host."""
    try:
        return attach(workspace)
    except HostNotFound:
        return None
