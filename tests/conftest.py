"""Fixtures of the tests of the package."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import eventually, kill, processes_of

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty workspace, current by `BKG_WORKSPACE`; fails where a process of it is left."""
    place = tmp_path / "workspace"
    (place / "plugins").mkdir(parents=True)
    (place / "plugins" / "plugins.json").write_text("[]\n")
    monkeypatch.setenv("BKG_WORKSPACE", str(place))
    yield place
    try:
        eventually(lambda: not processes_of(place), timeout=2.0)
    except AssertionError:
        left = processes_of(place)
        kill(left)
        pytest.fail(f"processes of the workspace are left: {left}", pytrace=False)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The `node_modules` folder that holds `ws`, from the shared cache (`make node-modules`)."""
    command = [str(ROOT / "scripts" / "node-modules.sh")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(f"no Node packages: {done.stderr.strip()}", pytrace=False)
    return Path(done.stdout.strip(), "node_modules")
