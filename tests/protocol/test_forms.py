"""protocol.forms: what a form shows of a schema and a value, and what its edits do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.protocol.forms import Form, changes
from tests.protocol.generated import nodes


def test_a_form_of_an_object_has_a_node_for_each_property() -> None:
    form = Form(
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "title": "Name", "description": "Who"},
                "wait": {"type": "number", "exclusiveMinimum": 0, "unit": "s", "default": 0.5},
            },
        },
        {"name": "Ada"},
    )
    assert form.describe() == {
        "root": {
            "kind": "group",
            "at": "",
            "required": True,
            "isSet": True,
            "order": ["name", "wait"],
            "unknown": {},
            "fields": {
                "name": {
                    "kind": "text",
                    "at": "/name",
                    "title": "Name",
                    "description": "Who",
                    "required": True,
                    "isSet": True,
                    "value": "Ada",
                },
                "wait": {
                    "kind": "number",
                    "at": "/wait",
                    "title": "wait",
                    "exclusiveMinimum": 0,
                    "unit": "s",
                    "default": 0.5,
                },
            },
        },
        "errors": {},
        "isDirty": False,
        "isValid": True,
    }


def node_of(schema: dict[str, Any], *value: Any) -> dict[str, Any]:
    """The node of one property with this schema, and this value if any."""
    whole = {"type": "object", "properties": {"v": schema}}
    form = Form(whole, {"v": value[0]} if value else {})
    found: dict[str, Any] = form.describe()["root"]["fields"]["v"]
    return found


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": "integer"}, "integer"),
        ({"type": "number"}, "number"),
        ({"type": ["integer", "number"]}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "null"}, "null"),
        ({"enum": [1, "a"]}, "choice"),
        ({"oneOf": [{"const": 1}, {"const": 2, "title": "Two"}]}, "choice"),
        ({"anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, "choice"),
        ({"const": 1}, "constant"),
        ({"type": "array", "items": {}}, "list"),
        ({"type": "array"}, "json"),
        ({"prefixItems": [{}]}, "list"),
        ({"type": "object", "properties": {"a": {}}}, "group"),
        ({"required": ["a"]}, "group"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "map"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "map"),
        ({"type": "object"}, "json"),
        ({"type": ["string", "integer"]}, "variant"),
        ({"oneOf": [{"type": "string"}, {"type": "array", "items": {}}]}, "variant"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "integer"),
        ({"minimum": 1}, "number"),
        ({"pattern": "a"}, "text"),
        ({"type": "integer", "writeOnly": True}, "text"),
        ({}, "json"),
        (True, "json"),
    ],
    ids=str,
)
def test_each_schema_has_a_kind_of_node(schema: dict[str, Any], kind: str) -> None:
    assert node_of(schema)["kind"] == kind


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"const": None}, {"type": "string"}]},
        {"enum": ["a", None]},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"oneOf": [{"const": "a", "title": "A"}, {"type": "null"}]},
        {"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"$ref": "#/properties/w"}, {"enum": [None]}]},
    ],
    ids=str,
)
def test_or_null_is_understood_in_all_spellings(schema: dict[str, Any]) -> None:
    whole = {"type": "object", "properties": {"v": schema, "w": {"type": "string"}}}
    form = Form(whole, {"v": None})
    node = form.describe()["root"]["fields"]["v"]
    assert node["nullable"]
    assert node["isNull"]
    assert "value" not in node
    assert form.is_valid
    form.apply({"op": "set", "at": "/v", "value": "a"})
    assert form.is_valid


def test_a_value_of_another_type_is_shown_as_json_with_its_error() -> None:
    node = node_of({"type": "object", "properties": {"a": {}}, "title": "T"}, [1])
    assert node == {
        "kind": "json",
        "at": "/v",
        "title": "T",
        "isSet": True,
        "text": "[\n  1\n]",
        "error": "must be an object",
    }


def test_limits_and_units_are_those_of_all_parts() -> None:
    node = node_of(
        {
            "allOf": [{"type": "integer", "minimum": 0, "maximum": 10}, {"minimum": 2}],
            "multipleOf": 2,
            "x-unit": "MiB",
            "examples": [4, None],
            "deprecated": True,
        }
    )
    assert (node["minimum"], node["maximum"], node["step"], node["unit"]) == (2, 10, 2, "MiB")
    assert node["examples"] == [4]
    assert node["deprecated"]
    assert node_of({"type": "number", "minimum": 0})["minimum"] == 0
    assert node_of({"type": "boolean", "default": False})["default"] is False


def test_choices_have_labels_and_the_chosen_one_an_index() -> None:
    schema = {"enum": [1, 2.5, "a", [1], None], "enumNames": ["One"]}
    node = node_of(schema, 2.5)
    assert node["options"] == [
        {"label": "One", "value": 1},
        {"label": "2.5", "value": 2.5},
        {"label": "a", "value": "a"},
        {"label": "[1]", "text": "[1]"},
    ]
    assert node["chosen"] == 1
    assert "chosen" not in node_of(schema, "other")
    assert node_of(schema, [1])["text"] == "[1]"


def test_the_default_of_an_object_is_told_at_its_fields() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "default": 1}, "b": {"type": "integer"}},
        "default": {"a": 5, "b": 6},
    }
    fields = node_of(schema)["fields"]
    assert (fields["a"]["default"], fields["b"]["default"]) == (5, 6)


# Recursion, secrets, odd keys


TREE = {
    "type": "object",
    "properties": {"name": {"type": "string", "default": "t"}, "below": {"$ref": "#"}},
}


def test_a_recursive_schema_unfolds_where_there_are_values_and_on_demand() -> None:
    form = Form(TREE, {"below": {}})
    inner = form.describe()["root"]["fields"]["below"]["fields"]["below"]
    assert inner["isFolded"]
    assert inner["fields"] == {}
    form.apply({"op": "add", "at": "/below/below"})
    assert form.value == {"below": {"below": {"name": "t"}}}


def test_what_recursion_makes_deeper_than_a_form_is_shown_as_json() -> None:
    value: dict[str, Any] = {"name": 3}
    for _ in range(15):
        value = {"below": value}
    form = Form(TREE, value)
    found = [node for node in nodes(form.describe()["root"]) if node["kind"] == "json"]
    assert [node["at"] for node in found] == ["/below" * 10]
    assert found[0]["error"] == "/below" * 5 + "/name must be text"


def test_a_typed_secret_is_never_told_back() -> None:
    schema = {
        "type": "object",
        "properties": {
            "key": {"type": "string", "writeOnly": True, "minLength": 8, "default": "s3cret-0"},
            "pin": {"type": "integer", "format": "password"},
        },
    }
    form = Form(schema, {"key": "***", "pin": "***"})
    assert form.is_valid, "an unchanged secret is not at fault"
    node = form.describe()["root"]["fields"]["key"]
    assert (node["secret"], node["isSet"], node["value"]) == (True, True, "***")
    assert "dirty" not in node
    form.apply({"op": "set", "at": "/key", "value": "s3cret-1"})
    form.apply({"op": "set", "at": "/pin", "value": "1234"})
    assert form.value == {"key": "s3cret-1", "pin": 1234}
    assert form.describe()["root"]["fields"]["key"]["dirty"]
    for seen in (form.describe(), changes(schema, {"key": "old"}, form.value)):
        assert "s3cret" not in str(seen)
        assert "1234" not in str(seen)
    form.apply({"op": "set", "at": "/key", "value": "short"})
    assert form.errors == {"/key": "must have at least 8 characters"}


def test_a_secret_inside_json_stays_what_it_was_when_the_text_is_edited() -> None:
    below = {"type": "object", "properties": {"key": {"writeOnly": True}}}
    form = Form({"type": "object", "properties": {"v": below}}, {"v": {"key": "typed", "a": 1}})
    form.apply({"op": "text", "at": "/v", "text": '{"key": "***", "a": 2}'})
    assert form.value == {"v": {"key": "typed", "a": 2}}
    form.apply({"op": "text", "at": "", "text": '{"v": {"key": "***"}, "b": 3}'})
    assert form.value == {"v": {"key": "typed"}, "b": 3}


def test_what_lies_in_something_read_only_is_read_only() -> None:
    schema = {
        "type": "object",
        "properties": {
            "info": {
                "type": "object",
                "readOnly": True,
                "properties": {"a": {"type": "array", "items": {}}},
            }
        },
    }
    form = Form(schema, {"info": {"a": [1, 2]}})
    inner = form.describe()["root"]["fields"]["info"]["fields"]["a"]
    assert inner["readOnly"]
    assert not {"canAdd", "canRemove", "canMove"} & inner.keys()
    form.apply({"op": "remove", "at": "/info/a/0"})
    assert form.errors == {"/info/a/0": "is read-only"}


def test_keys_beside_the_properties_are_described_or_unknown() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "patternProperties": {"^x-": {"type": "boolean"}},
    }
    root = Form(schema, {"x-on": True, "odd": 1}).describe()["root"]
    assert root["order"] == ["a", "x-on"]
    assert root["fields"]["x-on"]["kind"] == "boolean"
    assert root["fields"]["x-on"]["isExtra"]
    assert root["canAdd"]
    assert list(root["unknown"]) == ["odd"]


def test_a_key_that_is_not_allowed_is_told_at_the_key() -> None:
    schema = {"type": "object", "propertyNames": {"pattern": "^[A-Z]+$"}}
    form = Form(schema, {"A": 1, "b": 2})
    root = form.describe()["root"]
    assert root["keyPattern"] == "^[A-Z]+$"
    assert root["entries"]["b"]["error"] == "has a key that is not allowed"


def test_a_tuple_asks_for_each_item_by_its_own_schema() -> None:
    schema = {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False}
    form = Form({"properties": {"v": schema}}, {"v": ["a"]})
    form.apply({"op": "add", "at": "/v"})
    node = form.describe()["root"]["fields"]["v"]
    assert [node["items"][index]["kind"] for index in "01"] == ["text", "integer"]
    assert "canAdd" not in node
    assert form.is_valid


def test_the_schema_of_the_authors_page_gives_the_form_that_it_promises() -> None:
    page = Path(__file__).parents[2] / "docs" / "authors.md"
    [block] = re.findall(r"^```json\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    form = Form(json.loads(block), {"target": "http://localhost/", "retry": {"kind": "backoff"}})
    fields = form.describe()["root"]["fields"]
    kinds = {key: node["kind"] for key, node in fields.items()}
    assert kinds == {"target": "text", "timeout": "integer", "token": "text", "retry": "variant"}
    assert fields["retry"]["options"] == ["Never", "Backing off"]
    assert fields["token"]["secret"]
    assert fields["timeout"]["unit"] == "s"
    assert form.is_valid


# Differences


def test_changes_are_told_by_pointer_with_secrets_masked() -> None:
    schema = {"type": "object", "properties": {"key": {"type": "string", "writeOnly": True}}}
    assert changes(
        schema,
        {"a": 1, "b": [1, 2], "key": "old", "c": None},
        {"a": 1.0, "b": [1], "key": "new", "d": {"e": None}, "c": "x"},
    ) == [
        {"at": "/b/1", "kind": "removed", "before": "2"},
        {"at": "/key", "kind": "changed", "before": '"***"', "after": '"***"'},
        {"at": "/c", "kind": "changed", "before": "null", "after": '"x"'},
        {"at": "/d", "kind": "added", "after": '{"e":null}'},
    ]
