"""The command line is understood, and misunderstood politely."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

import pytest

from bkg_workbench._version import __version__
from bkg_workbench.cli import codes
from bkg_workbench.cli.app import main
from bkg_workbench.cli.parser import make_parser, seconds, whole_number
from bkg_workbench.protocol.capabilities import TABLE


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found += [below, *parsers(below)]
    return found


VERBS = [p for p in parsers(make_parser()) if p._defaults.get("command")]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: str(verb.prog))
def test_every_verb_has_its_function_and_asks_for_known_capabilities(
    verb: argparse.ArgumentParser,
) -> None:
    module, _, function = verb._defaults["command"].partition(":")
    assert callable(getattr(importlib.import_module(f"bkg_workbench.cli.{module}"), function))
    assert set(verb._defaults["capabilities"]) <= set(TABLE)
    assert verb.format_help()


@pytest.mark.parametrize(
    "line", ["--json --workspace w status x", "status x --json --workspace w", "--json status "
             "--workspace w x", "--workspace v status --workspace w --json x"]
)  # fmt: skip
def test_common_options_stand_before_or_after_the_verb(line: str) -> None:
    arguments = make_parser().parse_args(line.split())
    assert (arguments.json, arguments.workspace, arguments.name) == (True, "w", "x")
    assert arguments.debug is False


def test_common_options_reach_the_verbs_below_config() -> None:
    before = make_parser().parse_args(["--json", "config", "get", "x"])
    after = make_parser().parse_args(["config", "get", "x", "--json"])
    assert before.json
    assert after.json
    assert not make_parser().parse_args(["config", "get", "x"]).json


@pytest.mark.parametrize(
    "words",
    [
        ["call", "a.b", "{}", "--timeout", "9", "--stream"],
        ["call", "--timeout", "9", "a.b", "--stream", "{}"],
        ["call", "a.b", "--timeout", "9", "{}", "--stream"],
        ["call", "--stream", "--timeout=9", "a.b", "{}"],
    ],
)
def test_options_stand_anywhere_among_the_arguments(words: list[str]) -> None:
    given = make_parser().parse_args(words)
    assert (given.capability, given.payload, given.timeout, given.stream) == ("a.b", "{}", 9, True)


def test_arguments_that_may_be_left_out_have_their_defaults() -> None:
    assert make_parser().parse_args(["call", "a.b", "--stream"]).payload is None
    assert make_parser().parse_args(["call", "a.b", "-"]).payload == "-"
    assert make_parser().parse_args(["config", "save", "x", "--version", "1"]).payload == "-"
    assert make_parser().parse_args(["start", "a", "--no-wait", "b"]).names == ["a", "b"]
    assert make_parser().parse_args(["status"]).name is None


def test_config_save_keeps_its_version_apart_from_the_programs_own() -> None:
    arguments = make_parser().parse_args(["config", "save", "x", "{}", "--version", "3"])
    assert (arguments.at, arguments.payload, arguments.reason) == (3, "{}", None)


@pytest.mark.parametrize(
    "line",
    ["nonsense", "call", "start", "logs -n many", "logs -n -1", "logs --level loud", "config",
     "call x.y --timeout 0", "call x.y --timeout nan", "restore x y", "status a b", "--js status"],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2_and_says_why(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == codes.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert "bkg" in said.err


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == codes.USAGE
    assert "exit codes:" in capsys.readouterr().err


def test_help_and_version_end_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == codes.OK
    assert main(["--version"]) == codes.OK
    assert __version__ in capsys.readouterr().out


def test_numbers_of_options_are_checked() -> None:
    assert (seconds("0.5"), whole_number("0")) == (0.5, 0)
    for text in ("inf", "-1", "x", "1e9"):
        with pytest.raises(argparse.ArgumentTypeError):
            seconds(text)
    for text in ("-1", "1.5", "²", "9" * 12):
        with pytest.raises(argparse.ArgumentTypeError):
            whole_number(text)


def test_the_help_loads_neither_the_host_nor_the_bus() -> None:
    code = (
        "import sys; from bkg_workbench.cli import main; main(['--help']); "
        "print([m for m in ('websockets', 'sqlite3', 'bkg_workbench.host') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
