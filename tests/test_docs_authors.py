"""docs/authors.md is what an author can do: its commands are understood, its code runs."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from bkg_workbench import testing
from bkg_workbench.cli.parser import make_parser
from tests.cli.bkg import run

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("bkg")]


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_is_understood(line: str) -> None:
    assert make_parser().parse_args(shlex.split(line)[1:]).command


def test_the_names_of_testing_are_there() -> None:
    named = re.findall(r"^\| `(\w+)\(?.*?` \|", TEXT, re.MULTILINE)
    known = [name for name in named if hasattr(testing, name)]
    assert {"plugin_host", "check_conformance", "MemoryHost", "ManualClock"} <= set(known)


@pytest.mark.timeout(120)
def test_the_plugin_and_the_code_of_the_page_work(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(workspace, *shlex.split(COMMANDS[0])[1:])
    assert made.returncode == 0, made.stderr
    for place in re.findall(r"^\| `((?:plugins|docs)/[^`]*)`", TEXT, re.MULTILINE):
        assert (workspace / place).is_file(), place
    monkeypatch.chdir(workspace)
    [code] = blocks("python")
    exec(compile(code, "docs/authors.md", "exec"), {"__name__": "docs"})
    assert "docs" not in sys.modules
