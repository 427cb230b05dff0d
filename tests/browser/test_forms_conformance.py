"""Every schema of the table and of the shipped plug-ins, drawn by a real browser and read back."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from bkg_workbench.protocol.forms import Form
from bkg_workbench.protocol.schema import is_same, mask
from bkg_workbench.sdk.settings import config_schema
from bkg_workbench.widgets.forms import FormWidget, nodes
from tests.browser.form_page import Bridge, read, typed
from tests.protocol.generated import values

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "tests/protocol/form_schemas").glob("*.json"))
SETTINGS = sorted((ROOT / "plugins").glob("*/*/settings.py"))
COUNT = 20


@pytest.fixture
def bridge(context: BrowserContext) -> Iterator[Bridge]:
    """A page with an empty form."""
    bridge = Bridge(context, FormWidget(Form({"type": "object"}, {})))
    yield bridge
    bridge.close()


def check(bridge: Bridge, schema: dict[str, Any]) -> None:
    """Draw `COUNT` values and read them back from the controls."""
    widget = bridge.widget
    assert isinstance(widget, FormWidget)
    for value in values(schema, COUNT, "browser"):
        widget.editing.replace(Form(schema, value))
        widget.refresh()
        bridge.deliver()
        shown = read(bridge)
        check_one(shown, widget, schema, value)
        assert bridge.errors == [], value
    assert {url.split("?")[0].rsplit("/", 1)[0] for url in bridge.asked} <= {"http://localhost:1"}


def check_one(
    shown: dict[str, Any], widget: FormWidget, schema: dict[str, Any], value: Any
) -> None:
    """One value: shown whole, judged as the validator judges it, and no text as markup."""
    form, text = widget.form, json.dumps(value)
    assert shown["isValid"] is form.is_valid, text
    assert shown["markup"] == 0, text
    assert bool(shown["errors"]) is bool(form.errors), (text, form.errors)
    told = "\n".join(shown["errors"])
    for where, sentence in form.errors.items():
        assert sentence in told, (text, where)
    back = typed(shown["tree"], widget.shown["root"])
    # A field for numbers does not tell a text of digits from a number, where the schema takes both.
    is_told = not any(
        node["kind"] in ("number", "integer") and isinstance(node.get("value"), str)
        for node in nodes(widget.shown["root"])
    )
    if form.is_valid and is_told:
        assert is_same(back, mask(schema, value)), (text, back)
    else:
        assert as_shown(back) == as_shown(mask(schema, value)), (text, back)


def as_shown(value: Any) -> Any:
    """A value with its leaves as text: a wrong "5" in a field for numbers looks like a 5."""
    if isinstance(value, dict):
        return {key: as_shown(below) for key, below in value.items()}
    if isinstance(value, list):
        return [as_shown(below) for below in value]
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        return str(float(text))
    except ValueError:
        return text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_controls_show_is_the_value(bridge: Bridge, path: Path) -> None:
    check(bridge, json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_the_settings_of_a_shipped_plugin_are_shown(
    bridge: Bridge, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(path.parent.parent))
    module = importlib.import_module(f"{path.parent.name}.settings")
    assert module.__file__ == str(path)
    for made in vars(module).values():
        if isinstance(made, type) and made.__module__ == module.__name__:
            schema = config_schema(made)
            if schema.get("properties"):
                check(bridge, schema)


def test_every_node_is_drawn_once(bridge: Bridge) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}},
    }
    widget = bridge.widget
    assert isinstance(widget, FormWidget)
    widget.editing.replace(Form(schema, {"a": {"b": "x"}}))
    widget.refresh()
    bridge.deliver()
    for node in nodes(widget.shown["root"]):
        drawn = bridge.page.locator(f'[data-at="{node["at"]}"][data-kind]').count()
        assert drawn == 1, node["at"]
