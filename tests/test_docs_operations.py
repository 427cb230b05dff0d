"""What docs/operations.md shows is what the code takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import msgspec
import pytest

from bkg_workbench.cli.parser import make_parser
from bkg_workbench.host.settings import FILE, WorkspaceSettings, read

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
COMMANDS = [
    line.removeprefix("$ ").split(" #")[0]
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ bkg ")
] + re.findall(r"`(bkg [a-z][^`]*)`", TEXT)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    for one in command.split(" && "):
        words = shlex.split(one)[1:]
        if len(words) == 1 and words[0] in ("init", "dev"):
            continue  # named in the text, without what it needs
        assert make_parser().parse_args(words).command


def test_the_settings_that_it_shows_are_the_defaults(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert tomllib.loads(block) == msgspec.to_builtins(WorkspaceSettings())
    (tmp_path / FILE).write_text(block)
    assert read(tmp_path) == WorkspaceSettings()
