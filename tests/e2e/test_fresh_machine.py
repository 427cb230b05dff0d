"""What a stranger does first: a clone with `make run`, and the wheel with `bkg init`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import eventually, processes_of

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@contextmanager
def running(command: list[str], cwd: Path, env: dict[str, str]) -> Iterator[Callable[[], str]]:
    """A command in its own session; gives a function for what it has printed so far."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or []))
        reader.start()
        try:
            yield lambda: "".join(lines)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            reader.join(30)


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what belongs to this checkout or to the workbench."""
    keep = {n: v for n, v in os.environ.items() if not n.startswith(("BKG_", "VIRTUAL_ENV"))}
    if cache := os.environ.get("BKG_CACHE_DIR"):
        keep["BKG_CACHE_DIR"] = cache
    return {**keep, **more}


def free_ports() -> dict[str, str]:
    """Port 0 everywhere: this machine may have a Host of its own."""
    return {"BKG_PLUGIN_BUS_PORT": "0", "BKG_WEB_PORT": "0", "BKG_API_PORT": "0"}


def test_make_run_in_a_fresh_clone_brings_up_the_control_centre(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    # What is tracked, as it is in the working tree.
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    before = (clone / "plugins" / "plugins.json").read_bytes()
    environment = clean_environment(**free_ports())
    with running(["make", "run"], clone, environment) as printed:
        found = eventually(
            lambda: re.search(r"(http://127\.0\.0\.1:\d+)/\?token=\S+", printed()), timeout=300
        )
        assert re.search(r"^bus +\d+", printed(), re.MULTILINE)
        eventually(lambda: re.search(r"repoagent +running", printed()), timeout=180)
        with urllib.request.urlopen(found.group(0), timeout=60) as page:
            assert page.status == 200
        with urllib.request.urlopen(found.group(1) + "/plugins", timeout=60) as page:
            assert "/login" in page.url
        done = subprocess.run(
            [".venv/bin/bkg", "--json", "call", "repo.search", '{"query": "flock"}'],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert json.loads(done.stdout)["hits"]
    eventually(lambda: not processes_of(clone), timeout=15)
    assert (clone / "plugins" / "plugins.json").read_bytes() == before


def test_the_wheel_in_a_clean_environment_gives_a_workspace_that_starts(tmp_path: Path) -> None:
    if shutil.which("uv"):
        venv, install = ["uv", "venv", "-q"], ["uv", "pip", "install", "-q", "--python"]
    else:
        venv, install = [sys.executable, "-m", "venv"], []
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "env"
    subprocess.run([*venv, "--python", sys.executable, str(place)] if install else [*venv, place],
                   check=True, timeout=120)  # fmt: skip
    python = str(place / "bin" / "python")
    pip = [*install, python] if install else [python, "-m", "pip", "install", "-q"]
    lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock")]
    subprocess.run([*pip, *lock], check=True, timeout=500)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, timeout=120)

    bkg, workspace = str(place / "bin" / "bkg"), tmp_path / "workspace"
    environment = clean_environment(**free_ports())
    subprocess.run([bkg, "init", str(workspace)], cwd=tmp_path, env=environment, check=True,
                   capture_output=True, timeout=60)  # fmt: skip
    assert (workspace / "plugins" / "repoagent" / "start.sh").stat().st_mode & 0o111
    assert (workspace / "notebooks" / "00_tour.ipynb").exists()
    with running([bkg, "--workspace", str(workspace), "host"], tmp_path, environment) as printed:
        eventually(lambda: re.search(r"repoagent +running", printed()), timeout=180)
        done = subprocess.run(
            [bkg, "--workspace", str(workspace), "--json", "call", "repo.search",
             '{"query": "workbench"}'],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["hits"]
    eventually(lambda: not processes_of(workspace), timeout=15)
