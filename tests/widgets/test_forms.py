"""A form's way to the page and back: descriptions, edits, what a page must never get."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.protocol.forms import Form
from bkg_workbench.widgets.forms import FORM_SCRIPTS, MAX_PAGES, Editing, FormWidget, nodes
from bkg_workbench.widgets.live import script

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["users"],
    "properties": {
        "users": {"type": "integer", "minimum": 1},
        "huge": {"type": "integer", "default": 2**60},
        "token": {"type": "string", "format": "password"},
        "labels": {"type": "array", "items": {"type": "string"}},
    },
}


def edit(op: str, at: str, n: int = 1, page: str = "p", **fields: Any) -> dict[str, Any]:
    """An edit as the page sends it."""
    return {
        "kind": "intent",
        "verb": "edit",
        "edit": {"op": op, "at": at, **fields},
        "page": page,
        "n": n,
    }


class Recorder(FormWidget):
    def __init__(self, form: Form, **options: Any) -> None:
        self.sent: list[Any] = []
        super().__init__(form, **options)

    def post(self, content: Any, buffers: list[bytes] | None = None) -> None:
        self.sent.append(content)


@pytest.fixture
def changed() -> list[Any]:
    return []


@pytest.fixture
def widget(changed: list[Any]) -> Iterator[Recorder]:
    form = Form(SCHEMA, {"users": 3})
    widget = Recorder(form, on_change=lambda form: changed.append(form.value))
    yield widget
    widget.close()


def test_an_edit_reaches_the_form_and_only_what_changed_goes_back(
    widget: Recorder, changed: list[Any]
) -> None:
    widget._on_message(None, edit("set", "/users", value="5"), [])
    assert widget.form.value == {"users": 5}
    assert changed == [{"users": 5}]
    patch = widget.sent[-1]["patch"]
    assert patch["root"] == {"fields": {"users": {"value": 5}}}
    assert patch["heard"] == {"p": 1}
    assert patch["isDirty"] is True


def test_a_mistake_is_told_at_its_field_and_what_was_typed_stays(widget: Recorder) -> None:
    widget._on_message(None, edit("set", "/users", value="5 or so"), [])
    users = widget.shown["root"]["fields"]["users"]
    assert users["value"] == "5 or so"
    assert users["error"] == "must be a whole number"
    assert widget.shown["isValid"] is False


@pytest.mark.parametrize(
    "intent",
    [
        {},
        {"edit": "set", "page": "p", "n": 1},
        {"edit": {"op": "set"}, "page": 1, "n": 1},
        {"edit": {"op": "set"}, "page": "p", "n": "1"},
        {"edit": {"op": "no such", "at": ""}, "page": "p", "n": 1},
        {"edit": {"op": "set", "at": "users", "value": 1}, "page": "p", "n": 1},
    ],
)
def test_what_is_no_edit_changes_nothing(
    widget: Recorder, changed: list[Any], intent: dict[str, Any]
) -> None:
    widget._on_message(None, {"kind": "intent", "verb": "edit", **intent}, [])
    assert widget.form.value == {"users": 3}
    assert changed == []


def test_a_page_hears_how_far_its_edits_came_also_when_one_came_too_late(widget: Recorder) -> None:
    widget._on_message(None, edit("remove", "/labels/7", n=4), [])
    assert widget.shown["heard"] == {"p": 4}


def test_few_pages_are_remembered() -> None:
    editing = Editing(Form(SCHEMA, {}))
    for n in range(3 * MAX_PAGES):
        assert editing.take(edit("set", "/users", page=f"page {n}", value=n))
    assert list(editing.describe()["heard"]) == [
        f"page {n}" for n in range(2 * MAX_PAGES, 3 * MAX_PAGES)
    ]


def test_a_secret_that_was_typed_goes_to_no_page(widget: Recorder) -> None:
    widget._on_message(None, edit("set", "/token", value="hunter2"), [])
    assert widget.form.value["token"] == "hunter2"
    assert "hunter2" not in repr(widget.view) + repr(widget.sent)
    assert widget.shown["root"]["fields"]["token"]["dirty"] is True


def test_numbers_that_a_browser_would_round_travel_as_text() -> None:
    described = Editing(Form(SCHEMA, {"users": 2**53 + 1})).describe()
    fields = described["root"]["fields"]
    assert (fields["users"]["value"], fields["huge"]["default"]) == (str(2**53 + 1), str(2**60))


def test_errors_and_marks_of_others_are_put_on_their_fields() -> None:
    editing = Editing(Form(SCHEMA, {"users": 3}))
    described = editing.describe(errors={"/users": "too many today"}, changed=["/users"])
    assert described["root"]["fields"]["users"]["error"] == "too many today"
    assert described["root"]["fields"]["users"]["changed"] is True
    assert described["errors"] == {"/users": "too many today"}
    assert described["isValid"] is False
    assert "error" not in editing.describe()["root"]["fields"]["users"]


def test_nodes_finds_all_that_lie_in_a_description() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "integer"}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        },
    }
    value = {"list": [1], "map": {"a": 1}, "either": "x", "other": True}
    description = Editing(Form(schema, value)).describe()
    found = {node["at"] for node in nodes(description["root"])}
    assert found == {"", "/list", "/list/0", "/map", "/map/a", "/either", "/other"}


def test_a_description_has_no_null_in_it() -> None:
    described = Editing(Form(SCHEMA, {"users": None, "labels": ["a", None]})).describe()

    def nulls(value: Any) -> bool:
        if isinstance(value, dict):
            return any(map(nulls, value.values()))
        return any(map(nulls, value)) if isinstance(value, list) else value is None

    assert not nulls(described)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which .ci/run installs")
@pytest.mark.parametrize("last", ["form.js", "config.js"])
def test_the_scripts_are_modules_that_a_browser_can_read(tmp_path: Path, last: str) -> None:
    module = tmp_path / "panel.mjs"
    module.write_text(script(*FORM_SCRIPTS, last))
    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
