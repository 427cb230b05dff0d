"""The keeper by itself, as a program: nothing of its tree outlives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bkg_workbench.supervisor import keeper
from tests.helpers import eventually
from tests.supervisor.trees import NASTY, Tree, living, script

KEEPER = keeper.__file__

HOST = """
import subprocess, sys, time, os
command = sys.argv[1:]
lifeline, end = os.pipe()
subprocess.Popen(command, stdin=lifeline, start_new_session=True)
os.close(lifeline)
if os.environ.get("FORK"):
    if os.fork() == 0:
        time.sleep(1000)  # holds the lifeline open
print("up", flush=True)
time.sleep(1000)
"""

DESCRIPTORS = """
import json, os
found = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        found[fd] = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        pass  # that of the listing itself
print(json.dumps(found))
"""


def run(*words: str, stdin: int = subprocess.PIPE, env: dict[str, str] | None = None):
    """A finished keeper whose lifeline stays open, and its reports."""
    status, end = os.pipe()
    command = [sys.executable, "-I", "-S", KEEPER, "--status", str(end), *words]
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(end,),
        env=env,
    ) as process:  # fmt: skip
        os.close(end)
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        process.wait(timeout=10)
    with os.fdopen(status) as reports:
        return process.returncode, [json.loads(line) for line in reports], out, err


@pytest.mark.parametrize("code", [0, 3, 78])
def test_it_ends_with_the_exit_code_of_the_command(tmp_path: Path, code: int):
    path = script(tmp_path, f"exit {code}")
    returned, reports, _, _ = run("--", str(path))
    assert returned == code
    assert reports[0]["spawned"] > 0
    assert reports[1:] == [{"exited": code, "signal": None, "escalated": False}]


def test_a_signal_is_reported_as_such(tmp_path: Path):
    returned, reports, _, _ = run("--", str(script(tmp_path, "kill -KILL $$")))
    assert returned == 128 + 9
    assert reports[-1] == {"exited": None, "signal": 9, "escalated": False}


@pytest.mark.parametrize(("mode", "code"), [(0o644, 126), (None, 127)])
def test_a_command_that_cannot_run_is_said(tmp_path: Path, mode: int | None, code: int):
    path = tmp_path / "start.sh"
    if mode is not None:
        path.touch(mode)
    returned, _, _, err = run("--", str(path))
    assert returned == code
    assert str(path).encode() in err


@pytest.mark.parametrize("words", [[], ["--"], ["--nonsense"], ["--limit", "CPU=1", "--", "x"]])
def test_a_wrong_command_line_is_refused(words: list[str]):
    done = subprocess.run(
        [sys.executable, "-I", "-S", KEEPER, *words], capture_output=True, check=False
    )
    assert done.returncode == 64
    assert done.stderr.startswith(b"keeper: ")


@pytest.mark.row("S23")
def test_the_command_has_no_stdin_and_no_other_descriptors(tmp_path: Path):
    other = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(other, True)
    try:
        _, _, out, _ = run("--", sys.executable, "-I", "-S", "-c", DESCRIPTORS)
    finally:
        os.close(other)
    assert json.loads(out)["0"] == "/dev/null"
    assert set(json.loads(out)) == {"0", "1", "2"}


def test_the_command_has_default_signals_and_no_core_dumps(tmp_path: Path):
    grep = script(tmp_path, "exec grep -E '^Sig(Ign|Blk)' /proc/self/status", "grep.sh")
    _, _, out, _ = run("--", str(grep))
    # 32 and 33 are the C library's own: it blocks them for moments, and lets nobody change them.
    own = 0b11 << 31
    assert [int(line.split()[1], 16) & ~own for line in out.splitlines()] == [0, 0]
    _, _, out, _ = run("--", str(script(tmp_path, "ulimit -c; ulimit -Sn; ulimit -Hn")))
    core, soft, hard = out.split()
    assert core == b"0"
    assert soft == hard


@pytest.mark.row("S30")
def test_limits_and_nice_are_set_before_the_command(tmp_path: Path):
    path = script(tmp_path, "ulimit -n; ulimit -u; ulimit -v; nice")
    limits = ("--limit", "NOFILE=64", "--limit", "NPROC=900", "--limit", "AS=4294967296")
    _, _, out, _ = run(*limits, "--nice", "7", "--", str(path))
    assert out.split() == [b"64", b"900", b"4194304", b"7"]


def test_it_leads_a_session_of_its_own_and_so_does_the_command(tmp_path: Path):
    path = script(tmp_path, "ps -o pid=,sid= -p $$,$PPID || cat /proc/$$/stat /proc/$PPID/stat")
    _, _, out, _ = run("--", str(path))
    rows = [line.split() for line in out.decode().splitlines()]
    sessions = {row[1] if len(row) == 2 else row[5] for row in rows}
    assert len(sessions) == 2
    assert str(os.getsid(0)) not in sessions


def test_a_closed_lifeline_before_the_start_spawns_nothing(tmp_path: Path):
    path = script(tmp_path, f"touch {tmp_path}/ran")
    returned, reports, _, _ = run("--", str(path), stdin=subprocess.DEVNULL)
    assert (returned, reports) == (0, [])
    assert not (tmp_path / "ran").exists()


def test_term_to_the_keeper_ends_the_tree(tree: Tree):
    spec = tree.spec("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", KEEPER, "--", *spec.argv],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=spec.env,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(timeout=5) == 5


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.row("S17", "S18")
def test_a_killed_host_leaves_nothing(tree: Tree, forked: bool):
    spec = tree.spec(NASTY)
    command = [sys.executable, "-I", "-S", KEEPER, "--grace", "0.3", "--", *spec.argv]
    env = {**os.environ, **({"FORK": "1"} if forked else {})}
    with subprocess.Popen(
        [sys.executable, "-c", HOST, "env", f"BKG_INSTANCE={tree.instance}", *command],
        stdout=subprocess.PIPE, env=env, start_new_session=True,
    ) as host:  # fmt: skip
        assert host.stdout is not None
        assert {host.stdout.readline(), host.stdout.readline()} == {b"up\n", b"ready\n"}
        assert len(living(tree.instance)) >= 5
        host.kill()
        host.wait()
        try:
            # At once by the lifeline; by the parent's change, within a second, if it is held.
            eventually(lambda: not living(tree.instance), timeout=5.0)
        finally:
            if forked:
                os.killpg(host.pid, signal.SIGKILL)


@pytest.mark.parametrize("python", ["python3", "/usr/bin/python3"])
def test_it_needs_nothing_but_a_python(tmp_path: Path, python: str):
    found = shutil.which(python)
    if found is None:
        pytest.skip(f"there is no {python}")
    alone = shutil.copy(KEEPER, tmp_path / "alone.py")
    with subprocess.Popen(
        [found, "-I", "-S", alone, "--", "/bin/sh", "-c", "exit 9"], stdin=subprocess.PIPE, cwd="/"
    ) as process:
        assert process.wait(timeout=10) == 9


def test_descendants_are_found_without_children_lists(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    with subprocess.Popen(["/bin/sh", "-c", "sleep 100 & wait"], start_new_session=True) as process:
        try:
            listed = eventually(lambda: sorted(keeper.descendants(process.pid)))
            monkeypatch.setattr(keeper, "children_of", lambda pid: None)
            assert sorted(keeper.descendants(process.pid)) == listed
        finally:
            os.killpg(process.pid, signal.SIGKILL)
