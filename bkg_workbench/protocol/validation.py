"""Checking values against a JSON Schema, with answers that people understand.

Owns which schemas are fit for use (2020-12, local references, bounded size, patterns that cannot
run away) and the sentence for each kind of mistake. Needs the packages jsonschema and regex, which
the Host has; they are imported when first needed, since a plug-in's environment has neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.references import Schema, SchemaInvalid
from bkg_workbench.protocol.values import pointer

Errors = dict[str, str]
"""{JSON pointer: a short sentence}; empty when valid."""

MAX_BYTES = 1024 * 1024
MAX_LEVELS = 64
MAX_PATTERN = 256
PATTERN_SECONDS = 0.1
"""How long one pattern may take on one value."""
MAX_ERRORS = 50

_DATA = ("default", "const", "enum", "examples")
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def validate(schema: Schema, value: Any) -> Errors:
    """What is wrong with `value`, a plain JSON value; at most `MAX_ERRORS` sentences.

    Validators are kept by the schema's content. Raises `SchemaInvalid` for a schema not fit for
    use.
    """
    validator = _validator(schema)
    try:
        if validator.is_valid(value):
            return {}
        found: Errors = {}
        for error in validator.iter_errors(value):
            for where, what in _sentences(error):
                found.setdefault(where, what)
            if len(found) >= MAX_ERRORS:
                break
        return found
    except RecursionError:
        raise SchemaInvalid(reason="it refers to itself without end") from None
    except _unresolvable() as error:
        raise SchemaInvalid(reason=f"the reference {error.ref!r} leads nowhere") from None


def check(schema: Schema) -> None:
    """Raise `SchemaInvalid`, saying why, for a schema that is not fit for use."""
    _validator(schema)


def _validator(schema: Schema) -> Any:
    try:
        key = msgspec.json.encode(schema, order="sorted")
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaInvalid(reason=f"it has no JSON form ({error})") from None
    return _compiled(key)


@functools.lru_cache(maxsize=256)
def _compiled(key: bytes) -> Any:
    if len(key) > MAX_BYTES:
        raise SchemaInvalid(reason=f"it is larger than {MAX_BYTES >> 20} MiB")
    jsonschema, _ = _libraries()
    import referencing

    schema = msgspec.json.decode(key)
    if not isinstance(schema, dict):
        raise SchemaInvalid(reason="it is not an object")
    _inspect(schema, 0)
    kind = _class()
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = pointer(*error.absolute_path) or "its top level"
        raise SchemaInvalid(reason=f"{where}: {error.message[:200]}") from None
    except RecursionError:
        raise SchemaInvalid(reason="it nests too deep") from None
    # An explicit registry: the default one would fetch what it does not know.
    return kind(schema, registry=referencing.Registry())


def _libraries() -> tuple[Any, Any]:
    try:
        import jsonschema
        import regex
    except ImportError as error:
        raise WorkbenchError(
            f"Checking a JSON Schema needs the package {error.name}, which this environment lacks; "
            "it comes with bkg-workbench, not with a plug-in's own environment."
        ) from None
    return jsonschema, regex


def _unresolvable() -> Any:
    from referencing.exceptions import Unresolvable

    return Unresolvable


@functools.cache
def _class() -> Any:
    """Draft 2020-12 with the words replaced whose cost a hostile schema could drive up."""
    jsonschema, _ = _libraries()
    return jsonschema.validators.extend(
        jsonschema.Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "uniqueItems": _unique_items,
        },
    )


def _inspect(node: Any, depth: int) -> None:
    """Refuse references that are not local, patterns that are too long, and deep nesting."""
    if depth > MAX_LEVELS:
        raise SchemaInvalid(reason=f"it nests deeper than {MAX_LEVELS} levels")
    if isinstance(node, list):
        for item in node:
            _inspect(item, depth + 1)
    if not isinstance(node, dict):
        return
    for word in ("$ref", "$dynamicRef"):
        target = node.get(word)
        if isinstance(target, str) and target != "#" and not target.startswith("#/"):
            raise SchemaInvalid(reason=f"the reference {target!r} is not inside the schema")
    patterns = node.get("patternProperties")
    patterns = list(patterns) if isinstance(patterns, dict) else []
    if patterns and "unevaluatedProperties" in node:
        raise SchemaInvalid(
            reason="unevaluatedProperties beside patternProperties is not supported"
        )
    if isinstance(node.get("pattern"), str):
        patterns.append(node["pattern"])
    for pattern in patterns:
        _compile_pattern(pattern)
    for word, child in node.items():
        if word not in _DATA:
            _inspect(child, depth + 1)


@functools.lru_cache(maxsize=1024)
def _compile_pattern(pattern: str) -> Any:
    _, regex = _libraries()
    if len(pattern) > MAX_PATTERN:
        raise SchemaInvalid(reason=f"a pattern is longer than {MAX_PATTERN} characters")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise SchemaInvalid(reason=f"the pattern {pattern!r} is not valid ({error})") from None


def _matches(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text; None when that takes too long to tell."""
    try:
        return _compile_pattern(pattern).search(text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        return None


# The replaced words


def _pattern(validator: Any, pattern: str, value: Any, schema: Schema) -> Iterator[Any]:
    jsonschema, _ = _libraries()
    if not validator.is_type(value, "string"):
        return
    found = _matches(pattern, value)
    if found is None:
        yield jsonschema.ValidationError("cannot be checked against its pattern in time")
    elif not found:
        yield jsonschema.ValidationError(f"must have the form {pattern}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], value: Any, schema: Schema
) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    for pattern, below in patterns.items():
        for key, item in value.items():
            if _matches(pattern, key):
                yield from validator.descend(item, below, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, value: Any, schema: Schema
) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    jsonschema, _ = _libraries()
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for key, item in value.items():
        if key in known or any(_matches(pattern, key) for pattern in patterns):
            continue
        if allowed is False:
            yield jsonschema.ValidationError("is not known", path=[key])
        elif isinstance(allowed, dict):
            yield from validator.descend(item, allowed, path=key)


def _unique_items(validator: Any, unique: bool, value: Any, schema: Schema) -> Iterator[Any]:
    if not unique or not validator.is_type(value, "array"):
        return
    jsonschema, _ = _libraries()
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        key = msgspec.json.encode(item, order="sorted")
        if key in seen:
            yield jsonschema.ValidationError("stands in the list already", path=[index])
        seen.add(key)


# Sentences


def _sentences(error: Any) -> Iterator[tuple[str, str]]:
    """Where and what, for each mistake inside one of jsonschema's errors."""
    where = pointer(*error.absolute_path)
    limit = error.validator_value
    match error.validator:
        case "required":
            for key in limit:
                if isinstance(error.instance, dict) and key not in error.instance:
                    yield where + pointer(key), "is required"
        case "dependentRequired":
            yield where, error.message
        case "anyOf" | "oneOf":
            yield from _alternatives(error, where)
        case "pattern" | "additionalProperties" | "uniqueItems":
            yield where, error.message
        case word:
            yield where, _SENTENCES.get(word, _unknown)(limit)


def _alternatives(error: Any, where: str) -> Iterator[tuple[str, str]]:
    """The branch that comes nearest tells; if none does, what the branches want."""
    by_branch: dict[int, list[Any]] = {}
    for inner in error.context:
        by_branch.setdefault(inner.schema_path[0], []).append(inner)
    near = [
        errors
        for errors in by_branch.values()
        if not any(e.validator in ("type", "const", "enum") and not e.path for e in errors)
    ]
    if near:
        for inner in min(near, key=len):
            yield from _sentences(inner)
        return
    wanted = [_wish(e.validator, e.validator_value) for e in error.context if not e.path]
    if wanted:
        yield where, "must be " + " or ".join(dict.fromkeys(wanted))
    elif error.validator == "oneOf":
        yield where, "fits more than one of the forms that it may have"
    else:
        yield where, "has none of the forms that it may have"


def _wish(word: str, limit: Any) -> str:
    if word == "type":
        return _type_names(limit)
    if word == "const":
        return _show(limit)
    if word == "enum":
        return ", ".join(map(_show, limit))
    return "of another form"


def _type_names(types: Any) -> str:
    names = types if isinstance(types, list) else [types]
    return " or ".join(_TYPES.get(name, str(name)) for name in names)


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:100]


def _plural(count: Any, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _unknown(limit: Any) -> str:
    return "is not allowed here"


_SENTENCES: dict[str, Callable[[Any], str]] = {
    "type": lambda v: f"must be {_type_names(v)}",
    "enum": lambda v: f"must be one of {', '.join(map(_show, v))}",
    "const": lambda v: f"must be {_show(v)}",
    "minimum": lambda v: f"must be at least {v}",
    "maximum": lambda v: f"must be at most {v}",
    "exclusiveMinimum": lambda v: f"must be more than {v}",
    "exclusiveMaximum": lambda v: f"must be less than {v}",
    "multipleOf": lambda v: f"must be a multiple of {v}",
    "minLength": lambda v: "must not be empty" if v == 1 else f"must have at least {v} characters",
    "maxLength": lambda v: f"must have at most {_plural(v, 'character', 'characters')}",
    "minItems": lambda v: f"must have at least {_plural(v, 'item', 'items')}",
    "maxItems": lambda v: f"must have at most {_plural(v, 'item', 'items')}",
    "minProperties": lambda v: f"must have at least {_plural(v, 'entry', 'entries')}",
    "maxProperties": lambda v: f"must have at most {_plural(v, 'entry', 'entries')}",
    "propertyNames": lambda v: "has a key that is not allowed",
    "contains": lambda v: "lacks an item that it must contain",
    "not": lambda v: "has a form that is not allowed",
}  # fmt: skip
