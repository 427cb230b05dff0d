"""protocol.forms: schemas and values that no form can draw are edited as JSON."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bkg_workbench.protocol.forms import Form


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


@pytest.mark.row("J12")
def test_a_schema_of_a_hundred_levels_is_edited_as_json() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(11):
        schema = {"type": "object", "properties": {"a": schema}}
    form = Form(schema, {"a": 1})
    assert "deeper than 10 levels" in form.describe()["notice"]
    assert form.describe()["root"]["error"] == "/a must be an object"
    for _ in range(89):
        schema = {"type": "object", "properties": {"a": schema}}
    assert "deeper" in Form(schema, {}).describe()["notice"]


@pytest.mark.row("J12")
def test_a_schema_that_multiplies_itself_is_edited_as_json() -> None:
    levels = {
        f"l{n}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/l{n + 1}"} for k in "abc"}}
        for n in range(9)
    }
    schema = {"$ref": "#/$defs/l0", "$defs": {**levels, "l9": {"type": "string"}}}
    assert "500 fields" in Form(schema, {}).describe()["notice"]


@pytest.mark.row("J12")
def test_titles_are_passed_on_as_text_and_patterns_cannot_run_away() -> None:
    schema = {
        "type": "object",
        "properties": {
            "t": {"type": "string", "title": "<img src=x onerror=alert(1)>" * 50},
            "p": {"type": "string", "pattern": "^(a+)+$"},
        },
        "patternProperties": {"^(b+)+$": {"type": "integer"}},
    }
    begun = time.monotonic()
    form = Form(schema, {"p": "a" * 5_000 + "!", "b" * 5_000 + "!": 1})
    fields = form.describe()["root"]["fields"]
    assert time.monotonic() - begun < 10
    assert len(fields["t"]["title"]) == 200
    assert form.errors == {"/p": "must have the form ^(a+)+$"}


@pytest.mark.row("J12")
def test_an_endless_list_of_choices_is_typed() -> None:
    words = [f"w{n}" for n in range(20_000)]
    schema = {"properties": {"a": {"type": "string", "enum": words}, "b": {"required": words}}}
    form = Form(schema, {"a": "w19999"})
    root = form.describe()["root"]
    assert root["kind"] == "json", "b has more fields than a form shows"
    del schema["properties"]["b"]
    form = Form(schema, {"a": "w19999"})
    assert form.describe()["root"]["fields"]["a"]["kind"] == "text"
    assert form.is_valid


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$id": "urn:x", "$ref": "#/$defs/b", "$defs": {"b": {}}}}},
        {"properties": {"a": {"$ref": "#/$defs/b%20c"}}, "$defs": {"b c": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": True}},
        {"properties": {"c": {"title": "C", "$ref": "#/$defs/b"}}, "$defs": {"b": False}},
        {"properties": {"a": {"items": [{"type": "string"}]}}},
        {"properties": []},
        {"type": "nonsense"},
        {"$id": "http://localhost/a.json", "properties": {"a": {"$ref": "#/$defs/b"}}},
        {"allOf": [{"if": {"$ref": "#/nowhere"}}]},
        {"properties": {"a": object()}},
    ],
    ids=[
        "nested $id",
        "encoded",
        "true",
        "false",
        "old tuple",
        "no object",
        "no type",
        "base",
        "dangling",
        "no JSON",
    ],
)
def test_an_odd_schema_never_raises(schema: Any) -> None:
    form = Form(schema, {"a": 1})
    whole = form.describe()
    assert whole["root"]["kind"] in ("group", "json")
    form.apply({"op": "text", "at": "", "text": '{"a": 2}'})
    form.apply({"op": "set", "at": "/a", "value": 3})
    assert form.value in ({"a": 2}, {"a": 3})


def test_a_value_too_large_for_a_form_is_edited_as_json() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    form = Form(schema, list(range(10_000)))
    assert "5000 parts" in form.describe()["notice"]
    form.apply({"op": "text", "at": "", "text": "[1]"})
    assert "notice" not in form.describe()


def test_a_form_of_five_hundred_fields_is_described_at_once() -> None:
    row = {"type": "object", "properties": {key: {"type": "integer"} for key in "abcde"}}
    form = Form({"type": "array", "items": row}, [dict.fromkeys("abcde", 1)] * 100)
    taken = []
    for number in range(5):
        begun = time.process_time()
        form.apply({"op": "set", "at": "/7/c", "value": f"{number}"})
        form.describe()
        taken.append(time.process_time() - begun)
    assert min(taken) < 0.2, "about 10 ms, with much slack"


def test_a_schema_that_cannot_be_used_forbids_nothing_and_still_hides_secrets() -> None:
    schema = {"$ref": "#/nowhere", "properties": {"key": {"writeOnly": True}}}
    form = Form(schema, {"key": "s3cret"})
    assert "s3cret" not in str(form.describe())
    assert form.is_valid
    form.apply({"op": "text", "at": "", "text": "{"})
    assert not form.is_valid
    form.apply({"op": "text", "at": "", "text": '{"key": "***", "a": 1}'})
    assert form.value == {"key": "s3cret", "a": 1}
    form.apply({"op": "set", "at": "/a", "value": 1})
    assert form.errors == {"/a": "can only be edited as JSON"}
