"""protocol.forms: what a form shows of a schema and a value, and what its edits do."""

from __future__ import annotations

from typing import Any

import pytest

from bkg_workbench.protocol.forms import Form


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


@pytest.mark.row("J12")
@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"properties": {f"f{n}": {"type": "string"} for n in range(10_000)}}, "500 fields"),
        ({"$ref": "http://localhost/schema.json"}, "not inside the schema"),
        ({"properties": {"a": {"pattern": "a" * 300}}}, "longer than 256"),
        ({"anyOf": [{"$ref": "#"}]}, "refers to itself"),
    ],
    ids=["10k fields", "remote", "pattern", "recursive"],
)
def test_a_hostile_schema_becomes_one_json_node_with_a_notice(
    schema: dict[str, Any], reason: str
) -> None:
    form = Form(schema, {"a": 1})
    whole = form.describe()
    assert reason in whole["notice"]
    assert whole["root"]["kind"] == "json"
    form.apply({"op": "text", "at": "", "text": '{"a": 2}'})
    assert form.value == {"a": 2}


def test_what_is_inherited_counts_where_the_value_says_nothing() -> None:
    schema = {
        "type": "object",
        "required": ["model"],
        "properties": {"model": {"type": "string"}, "size": {"type": "integer", "default": 3}},
    }
    assert Form(schema, {}).errors == {"/model": "is required"}
    form = Form(schema, {}, inherited={"model": "small", "size": 4})
    assert form.errors == {}
    assert form.value == {}
    fields = form.describe()["root"]["fields"]
    assert (fields["model"]["default"], fields["size"]["default"]) == ("small", 4)
    form.apply({"op": "set", "at": "/size", "value": "x"})
    assert form.errors == {"/size": "must be a whole number"}
