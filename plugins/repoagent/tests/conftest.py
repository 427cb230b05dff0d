"""Fixtures of repoagent's tests: a root in a temporary folder, and both ways of opening."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repoagent import jail
from repoagent.jail import Jail, Root

Git = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the workspace root; `tmp_path` itself is outside."""
    folder = tmp_path / "ws"
    folder.mkdir()
    return folder


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    """`place` as an open root."""
    opened = Jail([str(place)], "", place)
    yield opened.root(None)
    opened.close()


@pytest.fixture(params=["openat2", "component walk"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with openat2 and with the fallback."""
    way = str(request.param)
    monkeypatch.setattr(jail, "has_openat2", way == "openat2" and jail.has_openat2)
    return way


@pytest.fixture
def git(place: Path) -> Git:
    """Runs git in the root, without anybody's configuration; `place` is a repository."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }

    def run(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            ["git", "-c", "core.quotePath=false", *arguments],
            cwd=place,
            env=environment,
            input=stdin.encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout.decode("utf-8", "surrogateescape")

    run("init", "-q")
    return run
