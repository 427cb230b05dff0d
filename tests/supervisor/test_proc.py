"""What is read of processes, with /proc and without."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from bkg_workbench.supervisor import proc
from tests.helpers import eventually


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("linux", [True, False])
def test_trees_and_their_load_are_known_with_and_without_proc(
    sleeper: int, linux: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proc, "LINUX", linux and proc.LINUX)
    assert sleeper in proc.descendants(os.getpid())
    [(key, seconds)] = proc.cpu_seconds([sleeper, 2**22]).items()
    assert key[0] == sleeper
    assert seconds >= 0
    assert eventually(lambda: proc.resident_bytes([sleeper, 2**22]) > 100_000)
    assert proc.descendants(2**22) == []


def test_a_sweep_without_proc_does_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proc, "LINUX", False)
    assert proc.sweep("anything") == []


@pytest.mark.row("S20")
def test_a_sweep_never_ends_us_or_those_above_us():
    spared = proc._self_and_above()
    assert {os.getpid(), os.getppid()} <= spared


@pytest.mark.row("S20")
def test_a_pid_that_is_somebody_else_by_now_is_not_signalled(sleeper: int):
    assert not proc._kill(sleeper, {b"BKG_INSTANCE=mine"}, trusted=False)
    assert not proc._kill(2**22, {b"BKG_INSTANCE=mine"}, trusted=True)
    os.kill(sleeper, 0)
