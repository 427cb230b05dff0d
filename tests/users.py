"""Running a Python script as another user: what root passes unseen is seen then."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SOMEBODY, NOBODY = 54_321, 65_534
"""Two users; the first is nobody else's, so that its processes are counted alone."""


@contextmanager
def place_of(user: int) -> Iterator[Path]:
    """A folder that belongs to `user` and that others may enter, as not those of pytest."""
    place = Path(tempfile.mkdtemp(prefix="bkg-user-"))
    try:
        place.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(place, user, user)
        yield place
    finally:
        shutil.rmtree(place)


PATHS = [path for path in sys.path if path and "lib-dynload" not in path]
ON_PATHS = f"import sys; sys.path[:0] = [p for p in {PATHS!r} if p not in sys.path]\n"
"""The first line of a plug-in that a Python without our packages may run."""


def need(user: int) -> None:
    """Skip the test where we cannot be `user`."""
    if python_for(user) is None:
        pytest.skip("needs root, and a Python that other users may run")


def start_as(user: int, code: str, *words: str) -> subprocess.Popen[str]:
    """A Python script as `user`, in a session of its own."""
    python = python_for(user)
    assert python is not None
    return subprocess.Popen(
        [python, "-c", code, *words],
        **_as(user),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@functools.cache
def python_for(user: int) -> str | None:
    """A Python of our version that this process may start as `user`: ours may lie in a home."""
    if os.geteuid() != 0:
        return None
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = [python, "-c", "import bkg_workbench.host.host"]
        try:
            done = subprocess.run(command, **_as(user), capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


def _as(user: int) -> dict[str, Any]:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(PATHS)}
    return {"user": user, "group": user, "extra_groups": [], "cwd": "/", "env": env}
