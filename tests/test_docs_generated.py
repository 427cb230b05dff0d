"""docs/capabilities.md and docs/cli.md are what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from bkg_workbench.cli import codes
from bkg_workbench.cli.parser import make_parser
from bkg_workbench.protocol.capabilities import TABLE

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_documents_are_fresh(generator: ModuleType) -> None:
    stale = [p.name for p, text in generator.generated().items() if p.read_text() != text]
    assert stale == [], f"run: {generator.BY_HAND}"


def test_every_capability_of_the_table_is_documented(generator: ModuleType) -> None:
    text = generator.capabilities()
    assert [name for name in TABLE if f"`{name}`" not in text] == []


def test_every_verb_and_option_is_documented(generator: ModuleType) -> None:
    text = generator.CLI.read_text()
    absent = [
        f"{words}: {name}"
        for words, parser, _ in generator.verbs(make_parser())
        for action in parser._actions
        for name in [*action.option_strings, f"### bkg {words}\n"]
        if name not in text and name != "-h"
    ]
    assert absent == []


def test_every_exit_code_is_documented_and_in_the_help(generator: ModuleType) -> None:
    text, help_text = generator.CLI.read_text(), make_parser().format_help()
    for row in codes.TABLE:
        assert f"| {row.number} | {row.meaning} |" in text
        assert re.search(rf"^ +{row.number}  {re.escape(row.meaning)}$", help_text, re.MULTILINE)


def test_a_place_that_is_missing_is_an_error(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="no place"):
        generator.fill("no marks here", {"verbs": "text"})


def test_the_script_says_which_file_is_not_fresh(
    generator: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "CAPABILITIES", tmp_path / "capabilities.md")
    assert generator.main(["--check"]) == 1
    assert "capabilities.md is not fresh" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
