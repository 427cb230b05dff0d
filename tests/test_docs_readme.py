"""Every command of the README runs, and its plug-in works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.host.workspace import init
from tests.helpers import eventually, processes_of

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.shared_host]


def blocks(kind: str) -> list[str]:
    """The code blocks whose opening line says exactly `kind`."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A workspace as `bkg init` lays it out, with its Host."""
    place = tmp_path_factory.mktemp("readme") / "workspace"
    init(place)
    with Host(place) as made:
        made.start("repoagent")
        yield made
    eventually(lambda: not processes_of(place))


@pytest.fixture
def environment(host: Host, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "BKG_WORKSPACE": host.workspace, "HOME": str(tmp_path)}


@pytest.mark.parametrize("line", [line for b in blocks("sh") for line in b.splitlines()])
def test_each_command_runs(line: str, environment: dict[str, str]) -> None:
    words = shlex.split(line)
    assert words[0] == ".venv/bin/bkg"
    arguments = [word.replace("~", environment["HOME"]) for word in words[1:]]
    done = subprocess.run(
        [str(BIN / "bkg"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_python_runs(environment: dict[str, str], host: Host) -> None:
    host.start("repoagent")
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[1-9]\d* matches$", done.stdout, re.MULTILINE)


def test_the_plugin_of_ones_own_works(host: Host, environment: dict[str, str]) -> None:
    folder = Path(host.workspace, "plugins", "hello")
    folder.mkdir()
    (folder / "plugin.py").write_text(blocks("python hello")[0])
    (folder / "start.sh").write_text(blocks("bash hello")[0])
    (folder / "start.sh").chmod(0o755)
    mirror = Path(host.workspace, "plugins", "plugins.json")
    entry = blocks("json hello")[0].strip()
    mirror.write_text(mirror.read_text().rstrip().removesuffix("]").rstrip() + f",\n{entry}]\n")
    eventually(lambda: "hello" in host.state.plugins, timeout=20)
    host.start("hello")
    assert host.call("hello.greet", {"name": "Ada"}) == {"text": "Hello, Ada!"}


def test_what_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_make_has_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in blocks("")[0].splitlines():
        target = line.split()[1]
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
