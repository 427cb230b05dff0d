"""Results, notes, progress and errors reach the right stream in the right form."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

from bkg_workbench.cli import app, codes
from bkg_workbench.cli.console import Console, encoded
from bkg_workbench.errors import ConfigInvalid, StartFailed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(
    is_json: bool = False, terminal: bool = False, environ: Mapping[str, str] | None = None
) -> Console:
    make = Terminal if terminal else io.StringIO
    return Console(is_json=is_json, out=make(), err=make(), environ=environ or {})


def out(one: Console) -> str:
    assert isinstance(one.out, io.StringIO)
    return one.out.getvalue()


def err(one: Console) -> str:
    assert isinstance(one.err, io.StringIO)
    return one.err.getvalue()


def test_colours_are_for_terminals_that_want_them() -> None:
    assert console(terminal=True).colours
    assert not console().colours
    assert not console(terminal=True, environ={"NO_COLOR": "1"}).colours
    assert console(terminal=True, environ={"NO_COLOR": ""}).colours
    assert not console(terminal=True, environ={"TERM": "dumb"}).colours


def test_a_live_line_is_replaced_and_gone_before_the_result() -> None:
    one = console(terminal=True)
    one.live("demo: preparing")
    one.live("demo: preparing")
    one.live("demo: starting")
    one.line("done")
    assert err(one) == "\r\x1b[Kdemo: preparing\r\x1b[Kdemo: starting\r\x1b[K"
    assert out(one) == "done\n"


def test_without_a_terminal_there_is_no_live_line() -> None:
    one = console()
    one.live("demo: preparing")
    assert err(one) == ""


def test_with_json_progress_is_quiet_and_an_error_is_one_object() -> None:
    one = console(is_json=True, terminal=True)
    one.live("demo: preparing")
    one.note("demo: starting")
    one.error(ConfigInvalid(plugin="demo", errors={"/times": "too many"}), 5)
    told = json.loads(err(one))
    assert told["code"] == "config_invalid"
    assert told["exit"] == 5
    assert told["detail"]["errors"] == {"/times": "too many"}


def test_an_error_is_one_sentence_with_the_plugins_last_lines_below() -> None:
    one = console()
    log = ["an earlier line", *(f"line {n}" for n in range(10)), "\x1b[31mred"]
    one.error(StartFailed(plugin="demo", reason="exit 3", log=log), 1)
    lines = err(one).splitlines()
    assert lines[0] == "bkg: demo did not start: exit 3."
    assert lines[-1] == "  | \\x1b[31mred"
    assert len(lines) == 11


def test_json_holds_nothing_that_a_terminal_acts_on_and_stays_the_same_value() -> None:
    value = {"text": "\x1b[2J\x9b\u202e\x7f ü 日本\n"}
    for compact in (True, False):
        text = encoded(value, compact=compact)
        assert json.loads(text) == value
        assert not set(text) & set("\x1b\x9b\u202e\x7f")
        assert "ü 日本" in text


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What the command `ports` raises."""
    raised: list[BaseException] = []

    def command(*_: object) -> int:
        raise raised[0]

    monkeypatch.setattr(app, "_command", lambda name: command)
    return raised


def test_a_mistake_of_ours_is_a_sentence_and_no_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    assert app.main(["ports"]) == codes.INTERNAL
    said = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in said
    assert "Traceback" not in said
    assert app.main(["ports", "--debug"]) == codes.INTERNAL
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_quietly_with_130(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(KeyboardInterrupt())
    assert app.main(["ports"]) == codes.INTERRUPTED
    assert capsys.readouterr().err.strip() == ""
