"""Process trees for tests: scripts that behave badly, and how to find what is left of them."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from bkg_workbench.protocol.definition import Limits
from bkg_workbench.supervisor.process import LaunchSpec, Process
from tests.helpers import aeventually

GRACE = 0.3

NASTY = """
# A wrapper without exec, a background child, a daemon of its own session, and a double fork that
# ignores TERM.
sleep 1000 &
setsid sleep 1001 &
( ( trap '' TERM; exec setsid sh -c 'while :; do sleep 1; done' ) & ) &
sh -c 'echo ready; while :; do sleep 1; done'
"""


def script(directory: Path, body: str, name: str = "start.sh") -> Path:
    """An executable bash script."""
    path = directory / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def living(instance: str) -> list[int]:
    """Pids of the processes whose environment carries the instance's tag."""
    mark, found = f"BKG_INSTANCE={instance}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in entry.joinpath("environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@dataclass
class Tree:
    """A script, its tag and what it printed."""

    directory: Path
    instance: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    lines: list[tuple[str, str]] = field(default_factory=list)

    def spec(self, body: str, limits: Limits | None = None, grace: float = GRACE) -> LaunchSpec:
        path = script(self.directory, body)
        env = {
            "PATH": os.environ["PATH"],
            "BKG_INSTANCE": self.instance,
            "BKG_PLUGIN_NAME": "goose",
        }
        return LaunchSpec((str(path),), self.directory, env, grace, limits or Limits())

    def on_lines(self, stream: str, lines: list[str]) -> None:
        self.lines.extend((stream, line) for line in lines)

    async def spawn(
        self, body: str, *, limits: Limits | None = None, grace: float = GRACE
    ) -> Process:
        return await Process.spawn(self.spec(body, limits, grace), self.on_lines)

    async def ready(self) -> None:
        """Wait for the line `ready`."""
        await aeventually(lambda: ("stdout", "ready") in self.lines)

    def text(self, stream: str = "stdout") -> list[str]:
        return [line for name, line in self.lines if name == stream]
