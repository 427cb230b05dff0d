"""A plug-in's environment: built once, whole or not at all, shared, and quick the next time.

Everything here is offline: the locks are empty, or name what no registry is asked for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bkg_workbench import plugin_env
from tests.helpers import eventually, is_alive

HASH = "--hash=sha256:" + "0" * 64

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, current by `BKG_CACHE_DIR`."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BKG_CACHE_DIR", str(folder))
    monkeypatch.delenv("BKG_PLUGIN_CONFIG_PATH", raising=False)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A plug-in without dependencies."""
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "hello"\nversion = "1"\n')
    (folder / "requirements.lock").write_text("# nothing\n")
    return folder


def command(project: Path) -> list[str]:
    return [sys.executable, "-m", "bkg_workbench.plugin_env", str(project)]


def build(project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project), capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


def environments(cache: Path) -> list[Path]:
    return [path for path in (cache / "envs").glob("*") if path.is_dir()]


def fake_tool(folder: Path, script: str) -> str:
    """A PATH whose `uv` is this script."""
    folder.mkdir()
    tool = folder / "uv"
    tool.write_text("#!/bin/sh\n" + script)
    tool.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_an_environment_runs_the_sdk_and_holds_nothing_else(cache: Path, project: Path) -> None:
    done = build(project)
    assert done.returncode == 0, done.stderr
    python = Path(done.stdout.strip())
    assert done.stdout.count("\n") == 1
    assert python.is_relative_to(cache / "envs")
    assert all(line.startswith("preparing: ") for line in done.stderr.splitlines())
    # Of the host's libraries only what the SDK needs is lent, as a lock would bring it.
    lent = project.parent / "lent"
    lent.mkdir()
    for name in ("msgspec", "psutil", "websockets"):
        (lent / name).symlink_to(Path(__import__(name).__file__).parent)
    code = (
        "import sys; sys.path.append(sys.argv[1]); import bkg_workbench.sdk, bkg_workbench;"
        "import bkg_workbench.sdk.runner, bkg_workbench.bus.websocket;"
        "print(bkg_workbench.__file__); print(bkg_workbench.__version__)"
    )
    asked = subprocess.run(
        [str(python), "-I", "-c", code, str(lent)], capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    place, version = asked.stdout.split()
    assert Path(place).is_relative_to(python.parent.parent)
    from bkg_workbench import __version__

    assert version == __version__
    here = Path(place).parent
    parts = {path.name for path in here.iterdir()} - {"__pycache__"}
    assert parts == set(plugin_env.SDK_PARTS)


def test_the_second_start_changes_nothing_and_is_quick(cache: Path, project: Path) -> None:
    first = build(project)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    begun = time.monotonic()
    second = build(project)
    assert time.monotonic() - begun < 3  # 0.1 s where nothing else runs
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_a_start_with_an_environment_imports_next_to_nothing(cache: Path, project: Path) -> None:
    build(project)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command(project)[1:]],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"asyncio", "subprocess", "venv", "msgspec", "websockets", "shutil", "compileall"}
    assert loaded & heavy == set()


def test_the_key_changes_with_lock_project_sdk_and_python_only(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return plugin_env.Project(project).key()

    keys = [key()]
    (project / "code.py").write_text("x = 1\n")
    assert key() == keys[0]
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    keys.append(key())
    (project / "pyproject.toml").write_text('[project]\nname = "hello"\nversion = "2"\n')
    keys.append(key())
    monkeypatch.setattr(sys, "version", "4.0")
    keys.append(key())
    monkeypatch.setattr(plugin_env, "_sdk_digest", lambda: b"another")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_two_starts_at_once_build_once(cache: Path, project: Path, tmp_path: Path) -> None:
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    path = fake_tool(tmp_path / "bin", f"echo $1 >> {tmp_path}/runs\nsleep 1\n")
    both = [
        subprocess.Popen(
            command(project), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PATH": path},
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][0] == said[1][0] != ""
    assert (tmp_path / "runs").read_text().split().count("pip") == 1
    assert sum("waiting for another" in stderr for _, stderr in said) == 1
    assert len(environments(cache)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_builder_that_is_killed_leaves_no_half_environment(
    cache: Path, project: Path, tmp_path: Path, number: signal.Signals
) -> None:
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    pid_file = tmp_path / "pid"
    path = fake_tool(
        tmp_path / "bin", f'[ "$1" = pip ] || exit 0\necho $$ > {pid_file}\nexec sleep 60\n'
    )
    builder = subprocess.Popen(
        command(project), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    eventually(lambda: pid_file.exists() and pid_file.read_text().strip(), timeout=20)
    tool = int(pid_file.read_text())
    builder.send_signal(number)
    out, _ = builder.communicate(timeout=20)
    assert out == ""
    assert not [path for path in environments(cache) if not path.name.startswith(".")]
    if number == signal.SIGTERM:
        assert environments(cache) == []
        assert builder.returncode == 128 + signal.SIGTERM
        eventually(lambda: not is_alive(tool))
    else:
        os.kill(tool, signal.SIGKILL)  # the keeper's work in a real start
        assert len(environments(cache)) == 1
    (tmp_path / "bin" / "uv").write_text("#!/bin/sh\nexit 0\n")
    done = build(project, PATH=path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in environments(cache)] == [Path(done.stdout).parents[1].name]


SLOW_START = """
import subprocess, sys, time
from bkg_workbench import plugin_env

class Slow(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "pip" in args[0]:
            time.sleep(3)

subprocess.Popen = Slow
sys.exit(plugin_env.main(sys.argv[1:]))
"""


def test_a_stop_in_the_moment_in_which_a_tool_starts_ends_the_tool_too(
    cache: Path, project: Path, tmp_path: Path
) -> None:
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    pid_file = tmp_path / "pid"
    script = f'[ "$1" = pip ] || exit 0\necho $$ > {pid_file}\nexec sleep 60\n'
    path = fake_tool(tmp_path / "bin", script)
    builder = subprocess.Popen(
        [sys.executable, "-c", SLOW_START, str(project)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PATH": path},
    )  # fmt: skip
    eventually(lambda: pid_file.exists() and pid_file.read_text().strip(), timeout=20)
    builder.send_signal(signal.SIGTERM)
    assert builder.wait(timeout=20) == 128 + signal.SIGTERM
    tool = int(pid_file.read_text())
    eventually(lambda: not is_alive(tool))
    assert environments(cache) == []


def test_a_tool_that_fails_is_quoted_and_leaves_nothing(
    cache: Path, project: Path, tmp_path: Path
) -> None:
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    script = '[ "$1" = pip ] || exit 0\nseq 100\necho "hash mismatch for a" >&2\nexit 3\n'
    done = build(project, PATH=fake_tool(tmp_path / "bin", script))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ended with 3" in done.stderr
    assert "hash mismatch for a" in done.stderr
    assert "\n  10\n" not in done.stderr
    assert environments(cache) == []


def test_a_slow_tool_is_reported_while_it_works(
    cache: Path, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (project / "requirements.lock").write_text(f"a==1 {HASH}\n")
    script = '[ "$1" = pip ] || exit 0\necho "Downloading a"\nsleep 0.5\n'
    monkeypatch.setenv("PATH", fake_tool(tmp_path / "bin", script))
    monkeypatch.setattr(plugin_env, "PROGRESS_SECONDS", 0.05)
    assert plugin_env.prepare(project).exists()
    err = capfd.readouterr().err
    assert err.count("so far: Downloading a") >= 2
    assert all(line.startswith("preparing: ") for line in err.splitlines())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda project: (project / "requirements.lock").unlink(), "requirements.lock"),
        (lambda project: (project / "pyproject.toml").unlink(), "pyproject.toml"),
        (lambda project: shutil.rmtree(project), "pyproject.toml"),
        (
            lambda project: (project / "requirements.lock").write_text(f"a==1 {HASH}\nb==2\n"),
            "no hash for b==2",
        ),
    ],
)
def test_what_only_an_edit_can_mend_exits_with_78(
    cache: Path, project: Path, change: Callable[[Path], None], words: str
) -> None:
    change(project)
    done = build(project)
    assert (done.returncode, done.stdout) == (78, "")
    assert words in done.stderr
    assert not cache.exists()


def test_a_cache_that_cannot_be_made_is_said(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = build(project, BKG_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert done.returncode == 78
    assert "BKG_CACHE_DIR" in done.stderr


def test_without_a_folder_it_says_how_it_is_used() -> None:
    assert plugin_env.main([]) == 78
    assert plugin_env.main(["--help"]) == 78


def test_a_link_in_the_data_folder_leads_to_the_environment(
    cache: Path, project: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    config = str(data / "config.runtime.json")
    first = Path(build(project, BKG_PLUGIN_CONFIG_PATH=config).stdout.strip())
    assert (data / "venv").resolve() == first.parents[1]
    (project / "pyproject.toml").write_text('[project]\nname = "hello"\nversion = "2"\n')
    second = Path(build(project, BKG_PLUGIN_CONFIG_PATH=config).stdout.strip())
    assert second != first
    assert (data / "venv").resolve() == second.parents[1]
    assert [path.name for path in data.iterdir()] == ["venv"]


def test_an_environment_whose_python_has_gone_is_built_anew(cache: Path, project: Path) -> None:
    python = Path(build(project).stdout.strip())
    python.unlink()
    python.symlink_to("/nowhere/python")
    done = build(project)
    assert done.returncode == 0
    assert Path(done.stdout.strip()).exists()


@pytest.mark.slow
def test_an_environment_that_is_asked_for_anew_is_built_once_and_swapped_in(
    cache: Path, project: Path, tmp_path: Path
) -> None:
    config = tmp_path / "own" / "config.runtime.json"
    config.parent.mkdir()
    build(project, BKG_PLUGIN_CONFIG_PATH=str(config))
    (place,) = environments(cache)
    (place / "mark").write_text("")
    (config.parent / "rebuild").touch()
    done = build(project, BKG_PLUGIN_CONFIG_PATH=str(config))
    assert done.returncode == 0, done.stderr
    assert "preparing: environment ready" in done.stderr
    assert environments(cache) == [place]
    assert not (place / "mark").exists()
    assert list(config.parent.iterdir()) == [config.parent / "venv"]
    assert build(project, BKG_PLUGIN_CONFIG_PATH=str(config)).stderr == ""


def test_one_that_cannot_be_built_anew_leaves_the_old_one(
    cache: Path, project: Path, tmp_path: Path
) -> None:
    config = tmp_path / "own" / "config.runtime.json"
    config.parent.mkdir()
    path = fake_tool(tmp_path / "tools", 'case "$*" in *--version) exit 0;; esac; exit 9\n')
    good = tmp_path / "good"
    good.mkdir()
    (good / "uv").write_text("#!/bin/sh\nexit 0\n")
    (good / "uv").chmod(0o755)
    (project / "requirements.lock").write_text(f"x==1 {HASH}\n")
    variables = {"BKG_PLUGIN_CONFIG_PATH": str(config)}
    assert build(project, PATH=f"{good}:{os.environ['PATH']}", **variables).returncode == 0
    (place,) = environments(cache)
    (place / "mark").write_text("")
    (config.parent / "rebuild").touch()
    assert build(project, PATH=path, **variables).returncode == 1
    assert build(project, PATH=path, **variables).returncode == 0
    assert (place / "mark").exists()
    assert environments(cache) == [place]


def test_pip_takes_the_place_of_a_missing_uv(
    cache: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "requirements.lock").write_text(f"a-name-nobody-has==1 {HASH}\n")
    monkeypatch.setattr(plugin_env, "_uv", lambda: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(plugin_env.BuildFailed, match="installing packages failed"):
        plugin_env.prepare(project)
    assert "with pip" in capfd.readouterr().err
    assert environments(cache) == []
