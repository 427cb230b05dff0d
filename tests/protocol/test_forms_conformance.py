"""protocol.forms against a table of schemas and those of the shipped plug-ins.

Each schema's file says in its title which keyword it covers.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bkg_workbench.protocol.forms import Form
from bkg_workbench.protocol.schema import compiled, is_same, mask
from bkg_workbench.sdk import Settings
from bkg_workbench.sdk.settings import config_schema
from tests.protocol.generated import nodes, rebuilt, values

HERE = Path(__file__).parent
FILES = sorted((HERE / "form_schemas").glob("*.json"))
SETTINGS = sorted((HERE.parent.parent / "plugins").glob("*/*/settings.py"))
COUNT = 1_000


def check(schema: dict[str, Any], count: int = COUNT) -> tuple[int, int]:
    """Put values through a form; how many were valid, and how many not."""
    validator = compiled(schema)
    valid = 0
    for number, value in enumerate(values(schema, count)):
        before = msgspec.json.encode(value)
        form = Form(schema, value)
        whole = form.describe()
        assert is_same(form.value, value)
        assert form.is_valid == whole["isValid"] == validator.is_valid(value), before
        assert is_same(rebuilt(whole["root"]), mask(schema, value)), before
        assert msgspec.json.decode(msgspec.json.encode(whole)) == whole
        if number % 10 == 0:
            assert whole == Form(schema, msgspec.json.decode(before)).describe()
        assert not whole["isDirty"]
        check_errors(whole, before)
        assert msgspec.json.encode(value) == before
        valid += form.is_valid
    return valid, count - valid


def check_errors(whole: dict[str, Any], value: bytes) -> None:
    """Each mistake stands at its node, or at the JSON that it is inside of."""
    shown, texts = {}, set()
    for node in nodes(whole["root"]):
        assert None not in node.values(), value
        assert all(v is not False for k, v in node.items() if k not in ("value", "default")), value
        if "error" in node:
            shown[node["at"]] = node["error"]
        if node["kind"] == "json" or node.get("secret"):
            texts.add(node["at"])
    for at, sentence in whole["errors"].items():
        inside = any(at.startswith(text + "/") for text in texts)
        assert shown.get(at) == sentence or inside, (at, sentence, value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_value_goes_through_a_form_unchanged_and_with_the_validators_verdict(path: Path) -> None:
    valid, invalid = check(json.loads(path.read_text(encoding="utf-8")))
    assert valid >= COUNT / 20, "too few valid values to tell anything"
    assert invalid >= COUNT / 20 or path.stem == "free"


def test_the_table_is_large_enough_and_says_what_it_covers() -> None:
    titles = [json.loads(path.read_text(encoding="utf-8"))["title"] for path in FILES]
    assert len(titles) == len(set(titles)) >= 40


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_the_settings_of_a_shipped_plugin_go_through_a_form(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(path.parent.parent))
    module = importlib.import_module(f"{path.parent.name}.settings")
    found = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Settings)
        and thing.__module__ == module.__name__
    ]
    assert found
    for kind in found:
        schema = config_schema(kind)
        assert "notice" not in Form(schema, {}).describe()
        valid, invalid = check(schema)
        assert valid
        assert invalid


@pytest.fixture(autouse=True)
def _modules_as_before() -> Any:
    """Plug-ins' packages are not left behind under their plain names."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {path.parent.name for path in SETTINGS}:
            del sys.modules[name]
