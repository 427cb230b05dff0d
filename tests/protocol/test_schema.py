"""protocol.schema: defaults, merging, differences, secrets and validation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.protocol import schema
from bkg_workbench.protocol.validation import compiled, part_validator

KEYS = st.text("abcz/~0 é", max_size=4)
LEAVES = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab*\n", max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5)


def applied(value: Any, changes: list[schema.Change]) -> Any:
    """`value` after `changes`, in their order."""
    root = {"": copy.deepcopy(value)}
    for change in changes:
        keys = [k.replace("~1", "/").replace("~0", "~") for k in change.path.split("/")]
        place: Any = root
        for key in keys[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        if isinstance(place, list):
            index = int(keys[-1])
            if change.op == "add":
                place.insert(index, change.after)
            elif change.op == "remove":
                del place[index]
            else:
                place[index] = change.after
        elif change.op == "remove":
            del place[keys[-1]]
        else:
            place[keys[-1]] = change.after
    return root[""]


# Values


@given(JSON, JSON)
def test_a_difference_applied_to_the_one_value_gives_the_other(before: Any, after: Any) -> None:
    assert schema.is_same(applied(before, schema.diff(before, after)), after)


@given(JSON)
def test_a_value_does_not_differ_from_its_copy(value: Any) -> None:
    assert schema.diff(value, copy.deepcopy(value)) == []


@given(OBJECTS, OBJECTS)
def test_what_lies_above_wins_and_nothing_below_is_lost(below: Any, above: Any) -> None:
    merged = schema.merge(below, above)
    assert schema.is_same(schema.merge(merged, above), merged)
    assert merged.keys() == below.keys() | above.keys()
    for key, value in above.items():
        if not isinstance(value, dict):
            assert schema.is_same(merged[key], value)


@given(OBJECTS)
def test_an_empty_object_above_or_below_changes_nothing(value: Any) -> None:
    assert schema.is_same(schema.merge({}, value), value)
    assert schema.is_same(schema.merge(value, {}), value)


def test_arrays_are_replaced_and_objects_merged() -> None:
    below = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert schema.merge(below, {"a": {"y": [3]}}) == {"a": {"x": 1, "y": [3]}, "b": 1}
    assert below == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_true_is_not_one_but_one_is_one_point_zero() -> None:
    assert schema.diff({"a": True}, {"a": 1}) == [schema.Change("replace", "/a", True, 1)]
    assert schema.diff({"a": 1}, {"a": 1.0}) == []


# Defaults


class Inner(msgspec.Struct, rename="camel"):
    """A group."""

    max_depth: int = 3


class Wanted(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Settings as a plug-in declares them."""

    root: Annotated[str, msgspec.Meta(min_length=1, description="Where")]
    max_files: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    inner: Inner = msgspec.field(default_factory=Inner)
    other: Inner | None = None
    mode: Literal["fast", "safe"] = "safe"
    globs: list[str] = []
    env: dict[str, str] = {}


WANTED = msgspec.json.schema(Wanted)


def test_defaults_come_from_a_plug_ins_own_schema() -> None:
    assert schema.defaults(WANTED) == {
        "maxFiles": 5,
        "inner": {"maxDepth": 3},
        "other": None,
        "mode": "safe",
        "globs": [],
        "env": {},
    }


@pytest.mark.parametrize("hostile", [None, {}, {"$ref": "#"}, {"$ref": "http://x/y"}, {"a": 1}])
def test_a_schema_without_defaults_gives_an_empty_object(hostile: Any) -> None:
    assert schema.defaults(hostile) == {}


def test_a_recursive_schema_has_finite_defaults_secrets_and_masks() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "properties": {
            **{name: {"$ref": "#"} for name in "abcdefgh"},
            "key": {"type": "string", "writeOnly": True, "default": "k"},
        },
        "anyOf": [{"$ref": "#"}, {"$ref": "#"}],
    }
    assert schema.defaults(tree)["key"] == "k"
    assert "/key" in schema.secrets(tree)
    assert schema.mask(tree, {"a": {"b": {"key": "s"}}}) == {"a": {"b": {"key": "***"}}}


# Secrets

SECRETIVE = {
    "type": "object",
    "properties": {
        "user": {"type": "string"},
        "password": {"type": "string", "format": "password"},
        "token": {"anyOf": [{"type": "string", "writeOnly": True}, {"type": "null"}]},
        "servers": {"type": "array", "items": {"$ref": "#/$defs/Server"}},
        "keys": {"type": "object", "additionalProperties": {"type": "string", "writeOnly": True}},
        "pair": {"prefixItems": [{"type": "string"}, {"format": "password"}]},
    },
    "$defs": {"Server": {"properties": {"name": {"type": "string"}, "key": {"writeOnly": True}}}},
}

SECRET = st.text("xyz*", min_size=1, max_size=5)
SERVERS = st.lists(
    st.fixed_dictionaries({"name": st.text("nm", max_size=3)}, optional={"key": SECRET}), max_size=4
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.text(max_size=3),
        "password": SECRET,
        "token": st.none() | SECRET,
        "servers": SERVERS,
        "keys": st.dictionaries(st.text("k", max_size=3), SECRET, max_size=3),
        "pair": st.tuples(st.text(max_size=2), SECRET).map(list),
        "unknown": JSON,
    },
)


def test_secrets_are_found_wherever_the_schema_has_them() -> None:
    assert schema.secrets(SECRETIVE) == [
        "/keys/*",
        "/pair/*",
        "/password",
        "/servers/*/key",
        "/token",
    ]


@given(SETTINGS)
def test_a_masked_value_written_back_is_the_value(settings: Any) -> None:
    masked = schema.mask(SECRETIVE, settings)
    assert schema.is_same(schema.unmask(SECRETIVE, masked, settings), settings)


@given(SETTINGS)
def test_no_secret_is_left_in_a_masked_value(settings: Any) -> None:
    masked = schema.mask(SECRETIVE, settings)
    assert masked.get("password") in (None, "***")
    assert masked.get("token") in (None, "***")
    assert all(server.get("key") in (None, "***") for server in masked.get("servers", []))
    assert set(masked.get("keys", {}).values()) <= {"***"}
    assert schema.is_same(masked.get("unknown"), settings.get("unknown"))


def test_a_secret_stays_with_its_item_when_items_move_or_go() -> None:
    old = {"servers": [{"name": n, "key": n.upper()} for n in "abc"]}
    new = {"servers": [{"name": "c", "key": "***"}, {"name": "a", "key": "***", "port": 1}]}
    assert schema.unmask(SECRETIVE, new, old) == {
        "servers": [{"name": "c", "key": "C"}, {"name": "a", "key": "A", "port": 1}]
    }


def test_a_mask_without_a_value_behind_it_is_left_out() -> None:
    new = {"password": "***", "user": "***", "servers": [{"name": "new", "key": "***"}]}
    old = {"servers": [{"name": "other", "key": "K"}]}
    assert schema.unmask(SECRETIVE, new, old) == {"user": "***", "servers": [{"name": "new"}]}


def test_without_a_schema_every_mask_keeps_what_was_there() -> None:
    assert schema.unmask(None, {"a": {"b": "***"}, "c": "***"}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def test_an_unset_secret_is_shown_as_unset() -> None:
    assert schema.mask(SECRETIVE, {"password": "", "token": None}) == {
        "password": "",
        "token": None,
    }


def test_a_difference_tells_that_a_secret_changed_but_not_what_it_is() -> None:
    before = {"password": "old", "user": "a", "servers": [{"name": "s", "key": "k"}]}
    after = {"password": "new", "user": "a", "token": "t", "servers": []}
    changes = schema.masked_diff(SECRETIVE, before, after)
    assert [(c.op, c.path, c.before, c.after) for c in changes] == [
        ("replace", "/password", "***", "***"),
        ("remove", "/servers/0", {"name": "s", "key": "***"}, None),
        ("add", "/token", None, "***"),
    ]
    assert schema.masked_diff(SECRETIVE, before, copy.deepcopy(before)) == []


# Validation


@pytest.mark.parametrize(
    ("value", "errors"),
    [
        ({"root": "/x"}, {}),
        ({}, {"/root": "is required"}),
        ({"root": ""}, {"/root": "must not be empty"}),
        ({"root": 3}, {"/root": "must be text"}),
        ({"root": "/", "maxFiles": 0}, {"/maxFiles": "must be at least 1"}),
        ({"root": "/", "maxFiles": 11}, {"/maxFiles": "must be at most 10"}),
        ({"root": "/", "maxFiles": 1.5}, {"/maxFiles": "must be a whole number"}),
        ({"root": "/", "maxFiles": True}, {"/maxFiles": "must be a whole number"}),
        ({"root": "/", "maxFile": 1}, {"/maxFile": "is not known"}),
        ({"root": "/", "mode": "slow"}, {"/mode": 'must be one of "fast", "safe"'}),
        ({"root": "/", "globs": ["a", 1]}, {"/globs/1": "must be text"}),
        ({"root": "/", "other": {"maxDepth": "a"}}, {"/other/maxDepth": "must be a whole number"}),
        ({"root": "/", "other": 3}, {"/other": "must be an object or null"}),
        ([], {"": "must be an object"}),
    ],
)
def test_each_mistake_is_told_where_it_is_and_what_is_expected(value: Any, errors: Any) -> None:
    assert schema.validate(WANTED, value) == errors


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"$ref": "http://127.0.0.1:9/x.json"}, "not inside the schema"),
        ({"properties": {"a": {"$ref": "other.json#/x"}}}, "not inside the schema"),
        ({"properties": {"a": {"$ref": "#/$defs/Missing"}}}, "leads nowhere"),
        ({"$ref": "#"}, "without end"),
        ({"type": "thing"}, "/type"),
        ({"pattern": "(("}, "not valid"),
        ({"pattern": "a" * 257}, "longer than 256"),
        ({"patternProperties": {"((": {}}}, "not valid"),
        ({"description": "x" * 2_000_000}, "larger than"),
    ],
)
@pytest.mark.row("J12")
def test_a_schema_that_is_not_fit_for_use_is_refused_with_its_reason(bad: Any, reason: str) -> None:
    with pytest.raises(schema.SchemaInvalid, match=reason):
        schema.validate(bad, {"a": 1})


@pytest.mark.row("J12")
def test_a_schema_nested_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(schema.SchemaInvalid, match="deeper"):
        schema.check(deep)


def test_data_that_looks_like_a_reference_is_only_data() -> None:
    harmless = {"default": {"$ref": "http://x/"}, "enum": [{"pattern": "(("}, 1]}
    assert schema.validate(harmless, 1) == {}


@pytest.mark.parametrize("pattern", ["^(a|a|aa)+$", r"^(?:(?:a*)*)*b$", r"(x+x+)+y"])
@pytest.mark.row("J12")
def test_a_pattern_that_runs_away_is_given_up(pattern: str) -> None:
    text = "ax"[pattern[1] == "x"] * 5_000 + "!"
    errors = schema.validate({"type": "string", "pattern": pattern}, text)
    assert set(errors) == {""}


EMAIL = (
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[a-z]{2,}$"
)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("jo.doe@example.com", {}),
        ("jo..doe@example.com", {"/to": f"must have the form {EMAIL}"}),
        ("a" * 2_000_000, {"/to": "must have at most 1000 characters"}),
        (3, {}),
    ],
)
def test_a_pattern_that_looks_around_is_for_short_texts_only(text: Any, errors: Any) -> None:
    assert schema.validate({"properties": {"to": {"pattern": EMAIL}}}, {"to": text}) == errors


def test_a_pattern_that_looks_around_and_runs_away_is_given_up() -> None:
    rules = {"pattern": "^(?=a)(?:a|aa|(?=a)a)+$"}
    assert schema.validate(rules, "a" * 999 + "!") == {
        "": "cannot be checked against its pattern in time"
    }


def test_a_name_of_a_property_is_not_taken_for_a_word_of_the_schema() -> None:
    rules = {"properties": {"default": {"type": "integer"}, "pattern": {"maximum": 1}}}
    assert schema.validate(rules, {"default": 1, "pattern": 1}) == {}
    with pytest.raises(schema.SchemaInvalid, match="not inside the schema"):
        schema.check({"properties": {"default": {"$ref": "http://127.0.0.1:9/x.json"}}})


def chain(length: int, link: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """Definitions each of which refers to the next one in the way that `link` gives."""
    links = {str(n): link({"$ref": f"#/$defs/{n + 1}"}) for n in range(length)}
    return {"$ref": "#/$defs/0", "$defs": {**links, str(length): {"type": "integer"}}}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (chain(40, lambda next_: {"anyOf": [next_, next_]}), "one place"),
        (chain(200, lambda next_: {"allOf": [next_]}), "one place"),
        (chain(5_000, lambda next_: next_), "too deep"),
        ({"anyOf": [{"type": "integer"}, {"not": {"$ref": "#"}}]}, "without end"),
        ({"patternProperties": {"(?=a)b": {}}}, "looks around"),
        ({"pattern": "(?:.{1,200}b){200}"}, "too large"),
    ],
    ids=["doubling", "long", "longer", "circle", "around", "pattern"],
)
def test_a_schema_whose_checking_would_not_end_is_refused(bad: Any, reason: str) -> None:
    with pytest.raises(schema.SchemaInvalid, match=reason):
        schema.check(bad)


def test_pattern_properties_and_further_properties_work_together() -> None:
    rules = {
        "properties": {"a": {"type": "integer"}},
        "patternProperties": {"^x-": {"type": "string"}},
        "additionalProperties": False,
    }
    assert schema.validate(rules, {"a": 1, "x-b": "c"}) == {}
    assert schema.validate(rules, {"a": 1, "x-b": 2, "y": 3}) == {
        "/x-b": "must be text",
        "/y": "is not known",
    }


def test_keys_of_a_pointer_are_escaped() -> None:
    rules = {"additionalProperties": {"type": "integer"}}
    assert schema.validate(rules, {"a/b~c": "x"}) == {"/a~1b~0c": "must be a whole number"}


def test_repeated_items_are_found_in_long_lists() -> None:
    items = [{"n": n} for n in range(2_000)] + [{"n": 7}]
    assert schema.validate({"uniqueItems": True}, items) == {"/2000": "stands in the list already"}


def test_the_number_of_sentences_is_bounded() -> None:
    errors = schema.validate({"items": {"type": "string"}}, list(range(10_000)))
    assert 1 <= len(errors) <= 51


def test_of_a_large_value_the_first_mistake_is_told() -> None:
    rules = {"items": {"type": "string"}, "maxItems": 10}
    assert len(schema.validate(rules, list(range(300_000)))) == 1
    assert schema.validate({"items": {"type": "string"}}, ["a"] * 5_000 + [1]) == {
        "/5000": "must be text"
    }


def test_a_value_that_nests_deep_is_checked_all_the_same() -> None:
    rules = chain(14, lambda next_: {"anyOf": [{"type": "null"}, next_]})
    rules["$defs"]["14"] = {"type": ["array", "integer"], "items": {"$ref": "#"}}
    good: Any = 1
    bad: Any = "a"
    for _ in range(900):
        good, bad = [good], [bad]
    assert schema.validate(rules, good) == {}
    assert schema.validate(rules, bad) == {"": "is not valid, and nests too deep to tell where"}


@pytest.mark.parametrize("value", [{1: 2}, "\ud800", b"bytes", object()])
def test_what_has_no_json_form_is_no_valid_value(value: Any) -> None:
    assert schema.validate({"maxLength": 9}, value) == {"": "is not a plain JSON value"}


@pytest.mark.parametrize(
    ("rules", "value", "errors"),
    [
        ({"oneOf": [{"type": "string"}, {"minLength": 1}]}, "a", "more than one of the forms"),
        ({"anyOf": [{"type": "string"}, {"const": 1}]}, [], "must be text or 1"),
        ({"contains": {"type": "integer"}}, ["a"], "lacks an item that it must contain"),
        ({"uniqueItems": True}, [1, 1.0], "has an item twice"),
        ({"not": {"type": "integer"}}, 1, "has a form that is not allowed"),
    ],
)
def test_mistakes_of_a_whole_value_are_told_at_it(rules: Any, value: Any, errors: str) -> None:
    found = schema.validate(rules, value)
    assert set(found) == {""}
    assert errors in found[""]


def test_false_and_dependent_keys_are_told_at_the_key() -> None:
    rules = {"properties": {"a": False}, "dependentRequired": {"b": ["c"]}}
    assert schema.validate(rules, {"a": 1, "b": 2}) == {
        "/a": "is not allowed here",
        "/c": "is required",
    }


def test_a_key_that_is_not_allowed_is_told_at_the_key() -> None:
    rules = {"propertyNames": {"pattern": "^a"}}
    assert schema.validate(rules, {"b/c": 1, "a": 2}) == {"/b~1c": "has a key that is not allowed"}


def test_a_part_of_a_schema_is_checked_alone_with_its_references() -> None:
    rules = {"properties": {"a %~1b": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    assert part_validator(rules, "/properties/a %~01b").errors("x") == {
        "": "must be a whole number"
    }
    assert part_validator(rules, "/$defs/n").is_valid(1)


def test_the_preferred_branch_tells_its_mistakes() -> None:
    rules = {
        "properties": {
            "x": {"oneOf": [{"required": ["a"]}, {"required": ["b", "c"]}, {"type": "null"}]}
        }
    }
    asked = []

    def prefer(where: str, keyword: str) -> int:
        asked.append((where, keyword))
        return 1

    errors = compiled(rules).errors({"x": {}}, prefer)
    assert errors == {"/x/b": "is required", "/x/c": "is required"}
    assert asked == [("/x", "/properties/x/oneOf")]


def test_a_validator_is_found_by_its_schema_object_and_tells_the_same() -> None:
    kept = schema.compiled(WANTED)
    assert schema.compiled(WANTED) is kept
    assert schema.compiled(copy.deepcopy(WANTED)) is kept
    for value in ({"root": "/x"}, {"root": 3, "maxFile": 1}, []):
        assert kept.errors(value) == schema.validate(WANTED, value)


def test_a_changed_schema_is_not_taken_for_the_one_before() -> None:
    rules: dict[str, Any] = {"type": "string"}
    assert schema.validate(rules, 1) == {"": "must be text"}
    rules["type"] = "integer"
    assert schema.validate(rules, 1) == {}
