"""Passwords at the keyboard, from a pipe, and made."""

from __future__ import annotations

import argparse
import getpass
import io
import re

import pytest

from bkg_workbench.cli import secret
from bkg_workbench.cli.accounts import noted, span
from bkg_workbench.errors import WorkbenchError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_made_password_is_strong_and_can_be_typed() -> None:
    made = {secret.generated() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"([a-km-np-z2-9]{5}-){4}[a-km-np-z2-9]{5}", one) for one in made)
    assert len(set(secret.ALPHABET)) == 32


def test_a_pipe_gives_its_first_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(" with spaces \nrest"))
    assert secret.ask("x") == " with spaces "
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(WorkbenchError, match="on stdin"):
        secret.ask("x")


def test_a_terminal_is_asked_twice_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "one", "one", "other"])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(answers))
    assert secret.ask("x", twice=True) == "one"
    with pytest.raises(WorkbenchError, match="not the same"):
        secret.ask("x", twice=True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)]
)
def test_a_span_is_read(text: str, seconds: int) -> None:
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "1.5h", "-1h", "1w", "h", "1 h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        span(text)


def test_a_noted_head_is_read_or_refused() -> None:
    assert noted("3:" + "a" * 64) == (3, "a" * 64)
    for text in ("", "3", "3:x", "x:" + "a" * 64, "3:" + "A" * 64):
        with pytest.raises(argparse.ArgumentTypeError):
            noted(text)
