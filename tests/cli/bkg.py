"""Running `bkg` as a program: what the tests of the command share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import eventually, kill, processes_of

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0


def environment(workspace: Path) -> dict[str, str]:
    """This process's, with the workspace and without any port of the caller's."""
    ports = ("BKG_WEB_PORT", "BKG_API_PORT", "BKG_PLUGIN_BUS_PORT")
    kept = {k: v for k, v in os.environ.items() if k not in ports}
    return {**kept, "BKG_WORKSPACE": str(workspace), "PYTHONWARNINGS": "error"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bkg_workbench", *arguments]


def run(workspace: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=environment(workspace),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


class Running:
    """A command that goes on, its output in files."""

    def __init__(self, workspace: Path, *arguments: str, place: Path) -> None:
        self.workspace = workspace
        self.out, self.err = place / "out.txt", place / "err.txt"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(workspace),
                start_new_session=True,
            )

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What `host --json` has printed so far."""
        whole = self.out.read_text().rpartition("\n")[0]
        found = [json.loads(line) for line in whole.splitlines()]
        return [event for event in found if kind in (None, event["event"])]

    def wait_for(self, text: str) -> None:
        """Until `text` was printed; fails at once where the command has ended."""

        def printed() -> bool:
            if text in self.out.read_text():
                return True
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended: {self.process.returncode} {self.err.read_text()}")
            return False

        eventually(printed, SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(SECONDS)


@contextmanager
def running(workspace: Path, *arguments: str, place: Path) -> Iterator[Running]:
    """A command that is ended at the end, whatever happens."""
    one = Running(workspace, *arguments, place=place)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.signal(signal.SIGTERM)
            try:
                one.process.wait(20)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        if "host" in arguments:
            kill(processes_of(workspace))


def nothing_left(workspace: Path, seconds: float = 10.0) -> None:
    """Until no process of the workspace is there."""
    eventually(lambda: not processes_of(workspace), seconds)
