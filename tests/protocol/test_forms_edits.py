"""protocol.forms: each edit, what it refuses, and what no sequence of edits may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.protocol.forms import Form
from bkg_workbench.protocol.schema import is_same, mask
from tests.protocol.generated import anything, nodes, rebuilt, values

ROWS = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "note": {"type": "string", "maxLength": 5},
        "site": {"type": "string", "format": "uri"},
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "mode": {"enum": ["a", "b", 3, None]},
        "rows": {
            "type": "array",
            "maxItems": 3,
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"x": {"type": "integer", "default": 7}, "y": {"type": "string"}},
            },
        },
        "tags": {"type": "array", "items": {"enum": ["p", "q"]}, "uniqueItems": True},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "inner": {"type": "object", "properties": {"deep": {"type": "string"}}},
        "fixed": {"type": "string", "readOnly": True},
    },
}


def after(value: Any, *edits: dict[str, Any], schema: dict[str, Any] = ROWS) -> Form:
    form = Form(schema, value)
    for edit in edits:
        form.apply(edit)
    return form


def at(form: Form, pointer: str) -> dict[str, Any]:
    """The outermost node at a pointer."""
    return next(node for node in nodes(form.describe()["root"]) if node["at"] == pointer)


@pytest.mark.parametrize(
    ("pointer", "typed", "value"),
    [
        ("/size", " 4 ", 4),
        ("/size", "1e1", 10),
        ("/size", "2.0", 2),
        ("/ratio", "1.5", 1.5),
        ("/ratio", "-.5", -0.5),
        ("/ratio", "+3", 3),
        ("/on", "true", True),
        ("/mode", "3", 3),
        ("/name", "5", "5"),
        ("/note", "", ""),
    ],
)
def test_typed_text_becomes_what_the_schema_asks_for(pointer: str, typed: str, value: Any) -> None:
    form = after({"name": "n"}, {"op": "set", "at": pointer, "value": typed})
    assert is_same(form.value[pointer[1:]], value)
    assert form.is_valid
    assert form.is_dirty


@pytest.mark.parametrize(
    "typed", ["abc", "1,5", "1e999", "0x10", "1_000", "9" * 400, "9" * 30, "--1", "٣"]
)
def test_what_is_no_number_is_kept_as_typed_with_an_error(typed: str) -> None:
    form = after({"name": "n", "size": 3}, {"op": "set", "at": "/size", "value": typed})
    assert form.value["size"] == typed
    assert form.errors == {"/size": "must be a whole number"}
    assert at(form, "/size")["value"] == typed
    assert at(form, "/size")["error"] == "must be a whole number"


@pytest.mark.parametrize(("pointer", "typed"), [("/size", ""), ("/size", "  "), ("/site", "")])
def test_an_emptied_field_is_unset_where_empty_is_no_value(pointer: str, typed: str) -> None:
    form = after(
        {"name": "n", "size": 3, "site": "http://localhost/"},
        {"op": "set", "at": pointer, "value": typed},
    )
    assert pointer[1:] not in form.value
    assert form.is_valid


def test_an_emptied_required_field_is_told() -> None:
    form = after({"name": "n"}, {"op": "set", "at": "/name", "value": ""})
    assert form.errors == {"/name": "must not be empty"}
    form.apply({"op": "unset", "at": "/name"})
    assert form.errors == {"/name": "is required"}
    assert at(form, "/name")["error"] == "is required"


def test_setting_a_field_makes_the_objects_around_it() -> None:
    form = after({"name": "n"}, {"op": "set", "at": "/inner/deep", "value": "d"})
    assert form.value == {"name": "n", "inner": {"deep": "d"}}


def test_items_are_added_with_defaults_up_to_the_maximum() -> None:
    add = {"op": "add", "at": "/rows"}
    form = after({"name": "n"}, add, add, add)
    assert form.value["rows"] == [{"x": 7}] * 3
    assert "canAdd" not in at(form, "/rows")
    form.apply(add)
    assert form.value["rows"] == [{"x": 7}] * 3
    assert form.errors == {"/rows": "takes no more than 3"}
    assert form.is_valid, "the value itself may be saved"


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ({"type": "string"}, ""),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "string", "writeOnly": True, "default": "d"}, ""),
        ({"type": "boolean"}, False),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMaximum": -2}, -3),
        ({"enum": [None, "b"]}, "b"),
        ({"enum": ["only"]}, "only"),
        ({"const": 7}, 7),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "object"}, {}),
        ({"type": "array"}, []),
        ({}, None),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {}),
        ({"type": ["integer", "string"]}, ""),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}], "default": "d"}, "d"),
        (
            {
                "type": "object",
                "required": ["a", "b", "c"],
                "properties": {
                    "a": {"type": "string"},
                    "b": {"const": 1},
                    "c": {"type": "array", "items": {}},
                    "d": {"type": "object", "properties": {"e": {"default": 5}, "f": {}}},
                    "g": {"const": 2},
                },
                "default": {"h": 6},
            },
            {"b": 1, "d": {"e": 5}, "h": 6},
        ),
        (
            {
                "type": "object",
                "required": ["a"],
                "properties": {"a": {"type": "array", "items": {}}, "b": {}},
            },
            {"a": []},
        ),
    ],
    ids=str,
)
def test_what_is_added_begins_with_what_the_schema_says(item: dict[str, Any], value: Any) -> None:
    form = after([], {"op": "add", "at": ""}, schema={"type": "array", "items": item})
    assert is_same(form.value, [value])
    nested = {"type": "object", "properties": {"v": item}, "required": ["v"]}
    if item.get("type") not in ("array",) and "additionalProperties" not in item:
        assert is_same(after({}, {"op": "add", "at": "/v"}, schema=nested).value, {"v": value})


def test_json_that_nests_without_end_is_told_and_not_read() -> None:
    form = after({"name": "n", "odd": 1}, {"op": "text", "at": "/odd", "text": "[" * 100_000})
    assert form.value["odd"] == 1
    assert form.errors["/odd"].startswith("is not valid JSON")
    form.apply({"op": "text", "at": "/odd", "text": " " * 2_000_000 + "1"})
    assert form.errors["/odd"] == "is longer than 1 MiB"


def test_an_item_is_added_to_the_default_not_instead_of_it() -> None:
    tags = {"type": "array", "items": {"type": "string"}, "default": ["a"]}
    form = after({}, {"op": "add", "at": "/tags"}, schema={"properties": {"tags": tags}})
    assert form.value == {"tags": ["a", ""]}


def test_an_added_choice_is_one_that_is_not_there_yet() -> None:
    add = {"op": "add", "at": "/tags"}
    assert after({"name": "n"}, add, add).value["tags"] == ["p", "q"]


def test_items_are_removed_down_to_the_minimum() -> None:
    value = {"name": "n", "rows": [{"x": 1}, {"x": 2}]}
    form = after(value, {"op": "remove", "at": "/rows/0"})
    assert form.value["rows"] == [{"x": 2}]
    form.apply({"op": "remove", "at": "/rows/0"})
    assert form.value["rows"] == [{"x": 2}]
    assert "/rows/0" in form.errors
    assert value["rows"] == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize(
    ("start", "to", "order"), [(0, 2, [2, 3, 1]), (2, 0, [3, 1, 2]), (1, 1, [1, 2, 3])]
)
def test_items_are_moved(start: int, to: int, order: list[int]) -> None:
    value = {"name": "n", "rows": [{"x": 1}, {"x": 2}, {"x": 3}]}
    form = after(value, {"op": "move", "at": f"/rows/{start}", "to": to})
    assert [row["x"] for row in form.value["rows"]] == order


@pytest.mark.parametrize(
    "edit",
    [
        {"op": "move", "at": "/rows/0", "to": 5},
        {"op": "move", "at": "/rows/0", "to": -1},
        {"op": "move", "at": "/rows/9", "to": 0},
        {"op": "move", "at": "/name", "to": 0},
        {"op": "remove", "at": "/rows/7"},
        {"op": "rename", "at": "/env/A", "key": "B"},
        {"op": "rename", "at": "/env/A", "key": ""},
        {"op": "rename", "at": "/env/A", "key": "k" * 300},
        {"op": "rename", "at": "/env/gone", "key": "C"},
        {"op": "rename", "at": "/name", "key": "C"},
        {"op": "rename", "at": "/odd", "key": "size"},
        {"op": "add", "at": "/env", "key": "B"},
        {"op": "add", "at": "/name/deeper"},
        {"op": "choose", "at": "/mode", "index": 9},
        {"op": "choose", "at": "/name", "index": 0},
        {"op": "set", "at": "/fixed", "value": "x"},
        {"op": "set", "at": "/rows/x/y", "value": 1},
        {"op": "set", "at": "/rows/5", "value": {}},
        {"op": "unset", "at": "/rows/0"},
        {"op": "set", "at": "/odd", "value": json.loads("[" * 30 + "]" * 30)},
        {"op": "text", "at": "/odd", "text": "[" * 30 + "]" * 30},
    ],
    ids=lambda edit: f"{edit['op']} {edit['at']}"[:40],
)
def test_what_cannot_be_done_is_an_error_at_its_place_and_changes_nothing(
    edit: dict[str, Any],
) -> None:
    value = {"name": "n", "rows": [{}, {}], "env": {"A": "1", "B": "2"}, "odd": 1, "mode": "a"}
    form = after(value, edit)
    assert form.value is value
    assert list(form.errors) == [edit["at"]]
    assert form.is_valid
    form.apply({"op": "set", "at": "/name", "value": "m"})
    assert form.errors == {}


@pytest.mark.parametrize(
    "edit",
    [
        {},
        {"op": "set", "at": "/name"},
        {"op": "fly", "at": ""},
        {"op": ["set"], "at": ""},
        {"op": "set", "at": "name", "value": 1},
        {"op": "set", "at": None, "value": 1},
        {"op": "set", "at": "/name", "value": object},
        {"op": "move", "at": "/rows/0", "to": "1"},
        {"op": "move", "at": "/rows/0", "to": True},
        {"op": "choose", "at": "/mode"},
        {"op": "rename", "at": "/env/A", "key": 3},
        {"op": "add", "at": "/env", "key": 3},
        {"op": "text", "at": "", "text": None},
    ],
    ids=str,
)
def test_a_malformed_edit_is_a_value_error_and_changes_nothing(edit: dict[str, Any]) -> None:
    form = Form(ROWS, {"name": "n"})
    before = form.describe()
    with pytest.raises(ValueError, match="edit"):
        form.apply(edit)
    assert form.describe() == before


def test_keys_are_renamed_in_their_place() -> None:
    value = {"name": "n", "env": {"A": "1", "B": "2", "C": "3"}}
    form = after(value, {"op": "rename", "at": "/env/B", "key": "x/~"})
    assert list(form.value["env"].items()) == [("A", "1"), ("x/~", "2"), ("C", "3")]
    assert at(form, "/env/x~1~0")["value"] == "2"


def test_entries_are_added_by_name_or_with_a_free_one() -> None:
    add = {"op": "add", "at": "/env"}
    form = after({"name": "n"}, {**add, "key": "A"}, add, add)
    assert form.value["env"] == {"A": "", "new": "", "new2": ""}


def test_unknown_keys_are_shown_edited_and_taken_away() -> None:
    form = Form(ROWS, {"name": "n", "odd": {"a": None}})
    assert at(form, "/odd")["text"] == '{\n  "a": null\n}'
    form.apply({"op": "text", "at": "/odd", "text": "[1, 2"})
    assert form.value["odd"] == {"a": None}
    assert at(form, "/odd")["text"] == "[1, 2"
    assert "is not valid JSON" in form.errors["/odd"]
    assert form.is_dirty
    assert not form.is_valid
    form.apply({"op": "text", "at": "/odd", "text": "[1, 2]"})
    assert form.value["odd"] == [1, 2]
    assert form.errors == {}
    form.apply({"op": "remove", "at": "/odd"})
    assert form.value == {"name": "n"}


def test_a_choice_is_chosen_by_its_index() -> None:
    form = after({"name": "n"}, {"op": "choose", "at": "/mode", "index": 2})
    assert form.value["mode"] == 3
    assert at(form, "/mode")["chosen"] == 2
    assert at(form, "/mode")["nullable"]
    form.apply({"op": "set", "at": "/mode", "value": None})
    assert at(form, "/mode")["isNull"]
    assert form.is_valid


def test_undo_takes_back_one_edit_after_the_other_and_reset_all() -> None:
    form = Form(ROWS, {"name": "n"})
    first = form.describe()
    form.apply({"op": "add", "at": "/rows"})
    second = form.describe()
    form.apply({"op": "set", "at": "/rows/0/x", "value": "two"})
    assert form.undo()
    assert form.describe() == second
    assert form.undo()
    assert form.describe() == first
    assert not form.undo()
    form.reset({"name": "m"})
    assert not form.is_dirty


def test_an_edit_of_one_field_changes_only_its_node_and_the_errors() -> None:
    value = {"name": "n", "rows": [{"x": n, "y": "t"} for n in range(3)]}
    form = Form(ROWS, value)
    before = form.describe()
    form.apply({"op": "set", "at": "/rows/1/x", "value": "none"})
    now = form.describe()
    here = now["root"]["fields"]["rows"]["items"]["1"]["fields"]
    there = before["root"]["fields"]["rows"]["items"]["1"]["fields"]
    assert here["x"] != there["x"]
    here["x"] = there["x"]
    assert now["root"] == before["root"]
    assert now["errors"] == {"/rows/1/x": "must be a whole number"}


# What no sequence of edits may do

SCHEMAS = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "form_schemas").glob("*.json"))
]
ODD = "odd key/~"
VERBS = ["set", "unset", "add", "remove", "move", "rename", "choose", "text"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_sequence_of_edits_raises_or_loses_unknown_keys_and_undo_restores(
    data: st.DataObject,
) -> None:
    schema = data.draw(st.sampled_from(SCHEMAS))
    chance = data.draw(st.randoms(use_true_random=False))
    value = next(values(schema, 1, str(data.draw(st.integers(0, 50)))))
    if isinstance(value, dict) and "properties" in schema:
        value = {**value, ODD: {"kept": [None]}}
    form = Form(schema, value)
    described = [form.describe()]
    for _ in range(data.draw(st.integers(1, 6))):
        before = form.value
        edit = _edit(chance, described[-1]["root"])
        form.apply(edit)
        whole = form.describe()
        if all(_is_json(node.get("text", "0")) for node in nodes(whole["root"])):
            assert is_same(rebuilt(whole["root"]), mask(schema, form.value))
        if isinstance(before, dict) and ODD in before and edit["at"] not in ("", "/odd key~1~0"):
            assert form.value[ODD] == before[ODD], edit
        if form.value is not before:
            described.append(whole)
    while form.undo():
        pass
    assert form.value is value
    assert form.describe() == described[0]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _edit(chance: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Some edit at some node, now and then beside it."""
    node = chance.choice(list(nodes(root)))
    pointer = node["at"] + chance.choice(["", "", "", "/0", "/a", "/nowhere"])
    edit: dict[str, Any] = {"op": chance.choice(VERBS), "at": pointer}
    match edit["op"]:
        case "set":
            edit["value"] = anything(chance)
        case "move":
            edit["to"] = chance.randint(-1, 3)
        case "rename":
            edit["key"] = chance.choice(["a", "b", "", "x/y"])
        case "choose":
            edit["index"] = chance.randint(0, 3)
        case "text":
            edit["text"] = chance.choice(["{", "null", "", json.dumps(anything(chance))])
    return edit
