"""A Host in a process of its own: however it ends, nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bkg_workbench import Host, attach, workbench
from bkg_workbench.client.attach import read_connection_file
from bkg_workbench.errors import HostNotFound, StartFailed, WorkspaceOwned
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

GONE_SECONDS = 7.0

NASTY = """#!/bin/bash
# No exec, ignores TERM, forks a daemon of its own session and a double fork.
trap '' TERM
(trap '' TERM; exec sleep 1000) &
setsid bash -c "trap '' TERM; sleep 1000" &
(setsid bash -c "trap '' TERM; sleep 1000 & sleep 1000" &) &
"$BKG_PYTHON" plugin.py
"""

SCRIPT = """
import sys
from bkg_workbench import Host
host = Host(sys.argv[1])
host.start("demo")
print("up", flush=True)
sys.stdin.read()
host.close()
"""


@pytest.fixture
def process(workspace: Path) -> Iterator[subprocess.Popen[str]]:
    """A script that owns the Host; its plug-in does all that a bad one can."""
    write_plugin(workspace, start=NASTY, autostart=True)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(workspace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as made:
        assert made.stdout is not None
        assert made.stdout.readline() == "up\n"
        yield made
        if made.poll() is None:
            made.kill()
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)


@pytest.mark.row("S17", "S2")
def test_a_killed_host_leaves_no_process(process: subprocess.Popen[str], workspace: Path) -> None:
    assert len(processes_of(workspace)) > 5
    process.kill()
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)


@pytest.mark.row("S2")
def test_a_closed_host_leaves_no_process_and_no_connection_file(
    process: subprocess.Popen[str], workspace: Path
) -> None:
    process.communicate("", timeout=30)
    assert process.returncode == 0
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)
    assert not (workspace / ".bkg" / "host.json").exists()


@pytest.mark.row("K1")
def test_an_interrupt_of_the_hosts_group_touches_no_plugin(
    process: subprocess.Popen[str], workspace: Path
) -> None:
    with attach(workspace) as bench:
        pid = bench.plugin("demo").pid
        assert pid is not None
        assert os.getpgid(pid) != os.getpgid(process.pid)
        assert os.getsid(pid) != os.getsid(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)


@pytest.mark.row("K8", "D11")
def test_a_second_process_answers_calls_and_cannot_become_the_host(
    process: subprocess.Popen[str], workspace: Path
) -> None:
    with attach(workspace) as bench:
        assert bench.call("demo.greet", {"name": "Ada"})["text"] == "Hello Ada"
        assert bench.info()["pid"] == process.pid
    with pytest.raises(WorkspaceOwned) as caught:
        Host(workspace)
    assert str(process.pid) in str(caught.value)
    with workbench(workspace) as joined:
        assert joined.info()["pid"] == process.pid


@pytest.mark.row("B28", "K17")
def test_the_connection_file_is_private(process: subprocess.Popen[str], workspace: Path) -> None:
    file = workspace / ".bkg" / "host.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (workspace / ".bkg").stat().st_mode & 0o777 == 0o700
    connection = read_connection_file(workspace)
    assert connection.pid == process.pid
    assert connection.token not in repr(connection)


@pytest.mark.row("S19", "S20")
def test_leftovers_of_a_crash_are_swept_by_their_tag_alone(workspace: Path) -> None:
    write_plugin(workspace)
    tag = "deadbeef00000000"
    (workspace / ".bkg").mkdir(mode=0o700)
    (workspace / ".bkg" / "instances.json").write_text(json.dumps([tag]))
    environment = {**os.environ, "BKG_INSTANCE": tag, "BKG_WORKSPACE": str(workspace)}
    leftover = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
    decoy = subprocess.Popen(["sleep", "1000"], env={**os.environ, "BKG_INSTANCE": "other"})
    try:
        with Host(workspace):
            assert leftover.wait(5) == -signal.SIGKILL
            assert decoy.poll() is None
    finally:
        for one in (leftover, decoy):
            one.kill()
            one.wait()


def test_a_host_beside_outlives_who_started_it(workspace: Path) -> None:
    write_plugin(workspace, autostart=True)
    with workbench(workspace, host="process") as bench:
        bench.start("demo")
        pid = bench.info()["pid"]
        assert pid != os.getpid()
    with attach(workspace) as again:
        assert again.info()["pid"] == pid
        again.stop_host()
    eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)
    with pytest.raises(HostNotFound):
        attach(workspace)


@pytest.mark.row("S7")
def test_a_plugin_that_cannot_start_says_why_with_its_last_lines(workspace: Path) -> None:
    write_plugin(workspace, start="#!/bin/sh\necho 'no such model' >&2\nexit 78\n")
    with Host(workspace) as host:
        with pytest.raises(StartFailed) as caught:
            host.start("demo")
        assert "78" in str(caught.value)
        assert "no such model" in "\n".join(caught.value.facts["log"])
        assert host.plugin("demo").state == "failed"


@pytest.mark.row("S35")
def test_an_entrypoint_outside_plugins_is_refused(workspace: Path) -> None:
    for name, entrypoint in (("up", "../../bin/x"), ("root", "/bin/true"), ("none", "gone.sh")):
        write_plugin(workspace, name, entrypoint=entrypoint)
    with Host(workspace) as host:
        for name in ("up", "root", "none"):
            with pytest.raises(StartFailed, match="entrypoint"):
                host.start(name)


@pytest.mark.row("S34")
def test_a_plugin_sees_no_secret_of_ours(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADMIN_PASSWORD", "AWS_SECRET_ACCESS_KEY", "JUPYTER_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "do-not-tell")
    write_plugin(workspace, start='#!/bin/sh\nenv > environment\nexec "$BKG_PYTHON" plugin.py\n')
    with Host(workspace) as host:
        host.start("demo")
    seen = (workspace / "plugins" / "demo" / "environment").read_text()
    assert "do-not-tell" not in seen
    assert "BKG_PLUGIN_BUS_TOKEN=" in seen


def test_a_definition_by_hand_appears_without_a_restart(workspace: Path) -> None:
    with Host(workspace) as host:
        assert host.plugins() == []
        write_plugin(workspace, "late", capabilities=["late.x"])
        eventually(lambda: "late" in host.state.plugins, timeout=15)
        assert host.plugin("late").state == "stopped"
