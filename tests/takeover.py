"""Races for a workspace whose owner has gone, between processes that were attached to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import eventually
from tests.plugins import write_plugin

OWNER = """
import sys
from bkg_workbench import Host
host = Host(sys.argv[1])
host.start("demo")
print("up", flush=True)
sys.stdin.readline()
host.close()
"""

HEIR = """
import sys, time
from bkg_workbench import workbench
for line in sys.stdin:
    if line == "attach\\n":
        bench = workbench(sys.argv[1])
        print(type(bench).__name__, flush=True)
    elif line == "gone\\n":
        begun = time.monotonic()
        while bench.connected and time.monotonic() - begun < 30:
            time.sleep(0.01)
        print(bench.connected, bench.lost, flush=True)
    elif line == "take over\\n":
        bench.close()
        bench = workbench(sys.argv[1])
        print(type(bench).__name__, bench.info()["pid"], flush=True)
    else:
        bench.close()
        print("closed", flush=True)
"""


@contextlib.contextmanager
def script(code: str, workspace: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is told by lines what to do."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(workspace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def race(workspace: Path, rounds: int, how: str) -> float:
    """Let two attached processes race for the workspace each time that its owner goes.

    `how` is "killed" or "closed". Asserts that exactly one becomes the Host and that the other is
    attached to it. The longest time, in seconds, until an heir knew that the owner had gone.
    """
    write_plugin(workspace, autostart=True)
    slowest = 0.0
    with script(HEIR, workspace) as one, script(HEIR, workspace) as other:
        heirs = (one, other)
        for _ in range(rounds):
            slowest = max(slowest, _round(workspace, heirs, how))
            # Those who lost leave first, so that nobody takes over from the winner.
            for heir in heirs:
                tell(heir, "leave")
            assert [hear(heir) for heir in heirs] == ["closed", "closed"]
            eventually(lambda: not (workspace / ".bkg" / "host.json").exists(), timeout=20)
    return slowest


def _round(workspace: Path, heirs: tuple[subprocess.Popen[str], ...], how: str) -> float:
    with script(OWNER, workspace) as owner:
        assert hear(owner) == "up"
        for heir in heirs:
            tell(heir, "attach")
        assert [hear(heir) for heir in heirs] == ["Workbench", "Workbench"]
        begun = time.monotonic()
        if how == "killed":
            owner.kill()
        else:
            tell(owner, "close")
        for heir in heirs:
            tell(heir, "gone")
        said = [hear(heir) for heir in heirs]
        seconds = time.monotonic() - begun
        assert all(words.startswith("False ") for words in said), said
        owner.wait(20)
    for heir in heirs:
        tell(heir, "take over")
    took = [hear(heir).split() for heir in heirs]
    assert sorted(kind for kind, _ in took) == ["Host", "Workbench"], took
    winner = heirs[[kind for kind, _ in took].index("Host")]
    assert {pid for _, pid in took} == {str(winner.pid)}
    return seconds
