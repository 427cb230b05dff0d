"""JSON arguments: where they come from, and what is said about wrong ones."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from bkg_workbench.cli.payload import parse, read_json
from bkg_workbench.errors import InvalidParams


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_json_comes_from_the_argument_a_file_or_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xbc"}')
    stdin(monkeypatch, b'{"b": 2}')
    assert read_json(None) == {}
    assert read_json('{"a": 1}') == {"a": 1}
    assert read_json(f"@{file}") == {"a": "ü"}
    assert read_json("-") == {"b": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a" 1}', "line 1, column 6"),
        ('{\n  "a": tru\n}', "line 2, column 8"),
        ('{"a": 1', "near '{\"a\": 1'"),
        ("{'a': 1}", "column 2"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("", "is empty"),
        ("  ", "is empty"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "is not valid JSON"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidParams, match="The JSON argument") as caught:
        parse(text, "The JSON argument")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.json", "no such file"), (tmp_path, "directory")):
        with pytest.raises(InvalidParams, match=said) as caught:
            read_json(f"@{path}")
        assert str(path) in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b'{"a": "\xff"}')
    with pytest.raises(InvalidParams, match="not UTF-8"):
        read_json("-")
    stdin(monkeypatch, b"1" * (16 * 2**20 + 1))
    with pytest.raises(InvalidParams, match="larger than 16 MiB"):
        read_json("-")


def test_a_terminal_as_stdin_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(InvalidParams, match="Nothing is piped"):
        read_json("-")
