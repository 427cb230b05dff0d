"""protocol.forms: fields that come and go with the value, and values of several forms."""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol.forms import Form


def fields_of(schema: dict[str, Any], value: Any) -> list[str]:
    """The fields that a form shows; those that must be filled in with a star."""
    root = Form(schema, value).describe()["root"]
    root = root.get("body", root)
    return [key + "*" * ("required" in root["fields"][key]) for key in root["order"]]


CONDITION = {
    "type": "object",
    "properties": {"kind": {"enum": ["file", "web"]}},
    "if": {"properties": {"kind": {"const": "web"}}, "required": ["kind"]},
    "then": {"properties": {"url": {"type": "string"}}, "required": ["url"]},
    "else": {"properties": {"path": {"type": "string"}}},
}


def test_fields_come_and_go_with_the_conditions() -> None:
    assert fields_of(CONDITION, {}) == ["kind", "path"]
    form = Form(CONDITION, {"path": "x"})
    form.apply({"op": "set", "at": "/kind", "value": "web"})
    root = form.describe()["root"]
    assert root["order"] == ["kind", "url"]
    assert root["unknown"]["path"]["text"] == '"x"', "kept, though no longer asked for"
    assert form.errors == {"/url": "is required"}


def test_fields_depend_on_other_fields() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {}, "b": {}},
        "dependentRequired": {"a": ["b", "c"]},
        "dependentSchemas": {"b": {"properties": {"d": {}}, "required": ["d"]}},
        "dependencies": {"d": ["a"], "c": {"properties": {"e": {}}}},
    }
    assert fields_of(schema, {}) == ["a", "b"]
    assert fields_of(schema, {"a": 1}) == ["a", "b*", "c*"]
    assert fields_of(schema, {"b": 1}) == ["a", "b", "d*"]
    assert fields_of(schema, {"b": 1, "d": 1}) == ["a*", "b", "d*"]


# Variants


AUTH = {
    "oneOf": [
        {
            "title": title,
            "type": "object",
            "required": ["kind", *required],
            "properties": {"kind": {"const": title.lower()}, **properties},
        }
        for title, required, properties in [
            ("Open", [], {}),
            ("Basic", ["user"], {"user": {"type": "string"}, "age": {"type": "integer"}}),
            ("Token", ["token"], {"token": {"type": "string"}, "user": {"type": "string"}}),
        ]
    ]
}


def test_a_variant_shows_the_branch_that_the_value_is_in_and_its_own_errors() -> None:
    form = Form(AUTH, {"kind": "token", "user": 3})
    root = form.describe()["root"]
    assert root["options"] == ["Open", "Basic", "Token"]
    assert root["chosen"] == 2
    assert form.errors == {"/token": "is required", "/user": "must be text"}
    assert root["body"]["fields"]["token"]["error"] == "is required"


def test_switching_keeps_what_both_branches_and_neither_know() -> None:
    form = Form(AUTH, {"kind": "basic", "user": "ada", "age": 3, "odd": [1]})
    form.apply({"op": "choose", "at": "", "index": 2})
    assert form.value == {"kind": "token", "user": "ada", "odd": [1]}
    assert form.describe()["root"]["chosen"] == 2
    form.apply({"op": "choose", "at": "", "index": 1})
    assert form.value == {"kind": "basic", "user": "ada", "odd": [1]}


def test_a_chosen_branch_stays_although_another_would_do_and_goes_along_when_moved() -> None:
    one = {"title": "One", "properties": {"x": {"type": "integer"}}, "type": "object"}
    two = {"title": "Two", "properties": {"y": {"type": "integer"}}, "type": "object"}
    form = Form({"type": "array", "items": {"anyOf": [one, two]}}, [{}, {}, {}])

    def chosen() -> list[int]:
        items = form.describe()["root"]["items"]
        return [items[str(index)]["chosen"] for index in range(len(items))]

    form.apply({"op": "choose", "at": "/1", "index": 1})
    assert chosen() == [0, 1, 0]
    form.apply({"op": "move", "at": "/1", "to": 0})
    assert chosen() == [1, 0, 0]
    form.apply({"op": "remove", "at": "/1"})
    assert chosen() == [1, 0]
    form.apply({"op": "set", "at": "/0/y", "value": "4"})
    assert form.value == [{"y": 4}, {}]
    form.reset(form.value)
    assert chosen() == [0, 0]


def test_an_unset_variant_has_no_branch_until_one_is_chosen() -> None:
    schema = {"type": "object", "properties": {"auth": AUTH}}
    form = Form(schema, {})
    assert "body" not in form.describe()["root"]["fields"]["auth"]
    form.apply({"op": "choose", "at": "/auth", "index": 1})
    assert form.value == {"auth": {"kind": "basic"}}
    assert form.errors == {"/auth/user": "is required"}


def test_branches_within_branches_are_offered_side_by_side() -> None:
    schema = {
        "oneOf": [
            {"title": "Words", "oneOf": [{"type": "string"}, {"type": "array", "items": {}}]},
            {"type": "integer"},
        ]
    }
    node = Form(schema, [1]).describe()["root"]
    assert node["options"] == ["Words: Text", "Words: List", "Whole number"]
    assert node["chosen"] == 1


def test_branches_that_only_demand_keys_are_no_variant() -> None:
    schema = {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    form = Form(schema, {})
    assert form.describe()["root"]["kind"] == "group"
    assert form.errors == {"/a": "is required"}


def test_numbers_and_texts_are_carried_over_to_the_other_type() -> None:
    schema = {"type": "object", "properties": {"v": {"type": ["string", "number"]}}}
    form = Form(schema, {"v": "1e3"})
    form.apply({"op": "choose", "at": "/v", "index": 1})
    assert form.value == {"v": 1000}
    form.apply({"op": "choose", "at": "/v", "index": 0})
    assert form.value == {"v": "1000"}


def test_tagged_structs_are_told_apart_by_an_enum_of_one() -> None:
    branches = [
        {"type": "object", "properties": {"type": {"enum": [tag]}, tag: {"type": "string"}}}
        for tag in ("cat", "dog")
    ]
    schema = {"type": "object", "properties": {"pet": {"title": "Pet", "anyOf": branches}}}
    form = Form(schema, {"pet": {"type": "dog", "cat": 3}})
    node = form.describe()["root"]["fields"]["pet"]
    assert (node["options"], node["chosen"]) == (["cat", "dog"], 1)
    assert node["body"]["fields"]["type"]["kind"] == "constant"
    assert "title" not in node["body"], "the variant has it"
    form.apply({"op": "choose", "at": "/pet", "index": 0})
    assert form.value == {"pet": {"type": "cat"}}


def test_a_masked_secret_in_a_branch_is_not_at_fault() -> None:
    keyed = {
        "type": "object",
        "required": ["kind", "key"],
        "properties": {"kind": {"const": "key"}, "key": {"writeOnly": True, "minLength": 9}},
    }
    schema = {"type": "array", "items": {"oneOf": [{"type": "string"}, keyed]}}
    form = Form(schema, ["a", {"kind": "key", "key": "***"}])
    assert form.is_valid
    form.apply({"op": "set", "at": "/1/key", "value": "short"})
    assert form.errors == {"/1/key": "must have at least 9 characters"}


def test_switching_keeps_entries_and_drops_what_no_longer_fits() -> None:
    schema = {
        "oneOf": [
            {
                "title": "A",
                "type": "object",
                "properties": {"x": {"type": "integer"}, "m": {"enum": ["p", "q"]}},
            },
            {
                "title": "B",
                "type": "object",
                "properties": {"x": {"type": "string"}, "m": {"enum": ["q", "r"]}},
                "additionalProperties": {"type": "integer"},
            },
            {"title": "C", "type": "array", "items": {"type": "integer"}},
        ]
    }
    form = Form({"properties": {"v": schema}}, {"v": {"x": 1, "m": "q", "more": 3}})
    form.apply({"op": "choose", "at": "/v", "index": 1})
    assert form.value == {"v": {"m": "q", "more": 3}}
    form.apply({"op": "choose", "at": "/v", "index": 2})
    assert form.value == {"v": []}
    form.apply({"op": "choose", "at": "/v", "index": 2})
    assert form.value == {"v": []}
    form.apply({"op": "choose", "at": "/v", "index": 9})
    assert form.errors == {"/v": "has no such choice"}
