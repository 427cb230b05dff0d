"""Checking values against a JSON Schema, with answers that people understand.

Owns which schemas are fit for use (2020-12, local references, bounded size, patterns that cannot
run away) and the sentence for each kind of mistake. Needs the package jsonschema-rs, which the Host
has; it is imported when first needed, since a plug-in's environment lacks it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.references import Schema, SchemaInvalid, look_up
from bkg_workbench.protocol.values import pointer

Errors = dict[str, str]
"""{JSON pointer: a short sentence}; empty when valid."""

Prefer = Callable[[str, str], "int | None"]
"""Which branch of a `oneOf` or `anyOf` should tell its mistakes, by the JSON pointers of the value
and of the keyword in the schema; None: the one that comes nearest."""

MAX_BYTES = 1024 * 1024
MAX_LEVELS = 64
MAX_INSIDE = 32
"""How many subschemas may lie one within the other and speak about the same place of a value. The
library recurses natively: this times the depth that a JSON decoder allows must fit the stack."""
MAX_SPREAD = 10_000
"""How many subschemas may speak about one place of a value."""
MAX_PATTERN = 256
MAX_PATTERN_BYTES = 256 * 1024
"""How large a pattern may become when compiled."""
MAX_LOOKED_AROUND = 1_000
"""Characters of a text whose pattern looks around or back: the time grows with their square."""
MAX_STEPS_BACK = 1_000
MAX_ERRORS = 50
MAX_PARTS = 2_000
"""Of a value with more parts than this only the first mistake is told: the library finds all
mistakes before it tells one."""
MAX_TELLING = 400
"""Levels of a value times `MAX_INSIDE`'s count for its schema, beyond which no mistake is told: the
time would grow with their square, and the stack overflow."""

_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_DATA = ("default", "const", "enum", "examples")
_SAME_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


class Validator:
    """A schema made ready; for callers that check many values. May be shared between threads."""

    __slots__ = ("_compiled", "_inside")

    def __init__(self, compiled: Any, inside: int) -> None:
        self._compiled = compiled
        self._inside = inside

    def is_valid(self, value: Any) -> bool:
        """Whether `value` is valid; False for what is no plain JSON value."""
        try:
            return bool(self._compiled.is_valid(value))
        except ValueError:
            return False

    def errors(self, value: Any, prefer: Prefer | None = None) -> Errors:
        """What is wrong with `value`, a JSON value as a decoder gives it; see `validate`."""
        try:
            if self._compiled.is_valid(value):
                return {}
        except ValueError:
            return {"": "is not a plain JSON value"}
        found: Errors = {}
        for where, what in _told(self._compiled, self._inside, value, prefer):
            found.setdefault(where, what)
            if len(found) >= MAX_ERRORS:
                break
        return found or {"": "is not valid"}


def validate(schema: Schema, value: Any) -> Errors:
    """What is wrong with `value`, a plain JSON value; at most `MAX_ERRORS` sentences.

    Validators are kept by the schema's content. Raises `SchemaInvalid` for a schema not fit for
    use.
    """
    return _validator(schema).errors(value)


def check(schema: Schema) -> None:
    """Raise `SchemaInvalid`, saying why, for a schema that is not fit for use."""
    _validator(schema)


def part_validator(schema: Schema, at: str) -> Validator:
    """The validator of the subschema at the JSON pointer `at` of `schema`.

    Raises `SchemaInvalid` for a schema not fit for use.
    """
    return _validator(schema, at)


def compiled(schema: Schema) -> Validator:
    """The schema's validator, found by the object's identity: it must never be changed.

    Raises `SchemaInvalid` for a schema not fit for use.
    """
    kept = _by_identity.get(id(schema))
    if kept is not None:
        return kept[1]
    validator = _validator(schema)
    if len(_by_identity) >= 256:
        _by_identity.clear()
    _by_identity[id(schema)] = (schema, validator)
    return validator


_by_identity: dict[int, tuple[Schema, Validator]] = {}
"""Holds the schema too, so that no other object can get its id."""


def _validator(schema: Schema, at: str = "") -> Validator:
    try:
        key = msgspec.json.encode(schema, order="sorted")
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaInvalid(reason=f"it has no JSON form ({error})") from None
    return _by_content(key, at)


@functools.lru_cache(maxsize=256)
def _by_content(key: bytes, at: str = "") -> Validator:
    if len(key) > MAX_BYTES:
        raise SchemaInvalid(reason=f"it is larger than {MAX_BYTES >> 20} MiB")
    library = _library()
    schema = msgspec.json.decode(key)
    if not isinstance(schema, dict):
        raise SchemaInvalid(reason="it is not an object")
    spreads: dict[int, tuple[int, int]] = {}
    try:
        _inspect(schema, schema, 0, spreads)
        if at:  # so that the references inside it still count from the whole schema
            whole = {**schema, "$id": "urn:bkg:whole"}
            schema = {"$ref": f"urn:bkg:whole#{quote(at)}", "$defs": {"whole": whole}}
        made = library.Draft202012Validator(
            schema, validate_formats=False, offline=True, pattern_options=_backtracking()
        )
    except library.ValidationError as error:
        if error.kind.name == "$ref":
            reason = f"a reference leads nowhere ({error.message[:200]})"
        else:
            reason = f"{pointer(*error.instance_path) or 'its top level'}: {error.message[:200]}"
        raise SchemaInvalid(reason=reason) from None
    except RecursionError:
        raise SchemaInvalid(reason="it nests too deep") from None
    except (ValueError, library.ReferencingError) as error:
        raise SchemaInvalid(reason=str(error)[:200]) from None
    return Validator(made, max(deepest for _, deepest in spreads.values()))


def _library() -> Any:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise WorkbenchError(
            f"Checking a JSON Schema needs the package {error.name}, which this environment lacks; "
            "it comes with bkg-workbench, not with a plug-in's own environment."
        ) from None
    return jsonschema_rs


# Which schemas are fit for use


def _inspect(
    node: Any, root: Schema, depth: int, spreads: dict[int, tuple[int, int]], named: bool = False
) -> None:
    """Refuse what cannot be checked in bounded time, and guard patterns that look around.

    `node` is a schema, a list of such or, if `named`, an object of such. Changes the schema.
    """
    if depth > MAX_LEVELS:
        raise SchemaInvalid(reason=f"it nests deeper than {MAX_LEVELS} levels")
    if isinstance(node, list):
        for item in node:
            _inspect(item, root, depth + 1, spreads)
    if not isinstance(node, dict):
        return
    if named:
        for child in node.values():
            _inspect(child, root, depth + 1, spreads)
        return
    root = node if "$id" in node else root
    for word in ("$ref", "$dynamicRef"):
        target = node.get(word)
        if isinstance(target, str) and target != "#" and not target.startswith("#/"):
            raise SchemaInvalid(reason=f"the reference {target!r} is not inside the schema")
    for word, child in node.items():
        if word not in _DATA:
            _inspect(child, root, depth + 1, spreads, named=word in _NAMED)
    _guard_patterns(node)
    _spread(node, root, spreads)


def _spread(node: Any, root: Schema, spreads: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many subschemas speak about the same place as `node`, and how deep they lie."""
    if not isinstance(node, dict):
        return 0, 0
    known = spreads.get(id(node))
    if known == (0, 0):
        raise SchemaInvalid(reason="it refers to itself without end")
    if known:
        return known
    spreads[id(node)] = (0, 0)
    root = node if "$id" in node else root
    below: list[Any] = []
    for word in _SAME_PLACE:
        child = node.get(word)
        below += child if isinstance(child, list) else [child]
    dependent = node.get("dependentSchemas")
    below += dependent.values() if isinstance(dependent, dict) else []
    for word in ("$ref", "$dynamicRef"):
        try:
            below.append(look_up(root, node.get(word)))
        except SchemaInvalid:
            pass  # the library tells that it leads nowhere; true and false are no objects
    total, deepest = 1, 0
    for child in below:
        count, height = _spread(child, root, spreads)
        total, deepest = total + count, max(deepest, height)
    if total > MAX_SPREAD or deepest >= MAX_INSIDE:
        raise SchemaInvalid(reason="too many of its subschemas speak about one place")
    spreads[id(node)] = (total, deepest + 1)
    return spreads[id(node)]


def _guard_patterns(node: Schema) -> None:
    patterns = node.get("patternProperties")
    for pattern in patterns if isinstance(patterns, dict) else ():
        if not _is_linear(pattern):
            raise SchemaInvalid(reason=f"patternProperties: {pattern!r} looks around or back")
    pattern, together = node.get("pattern"), node.get("allOf", [])
    if isinstance(pattern, str) and not _is_linear(pattern) and isinstance(together, list):
        short = {"maxLength": MAX_LOOKED_AROUND}
        guarded = {"if": short, "then": {"pattern": node.pop("pattern")}, "else": short}
        node["allOf"] = [*together, guarded]


@functools.lru_cache(maxsize=1024)
def _is_linear(pattern: str) -> bool:
    """Whether the time that the pattern takes grows but linearly with the text."""
    if len(pattern) > MAX_PATTERN:
        raise SchemaInvalid(reason=f"a pattern is longer than {MAX_PATTERN} characters")
    library = _library()
    linear = library.RegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=MAX_PATTERN_BYTES)
    for options in (linear, _backtracking()):
        try:
            library.Draft202012Validator({"pattern": pattern}, pattern_options=options)
        except library.ValidationError:
            continue
        return options is linear
    raise SchemaInvalid(reason=f"the pattern {pattern!r} is not valid, or too large")


def _backtracking() -> Any:
    """The engine that takes all patterns, and steps back only for those that are not linear."""
    return _library().FancyRegexOptions(
        backtrack_limit=MAX_STEPS_BACK,
        size_limit=MAX_PATTERN_BYTES,
        dfa_size_limit=MAX_PATTERN_BYTES,
    )


# Sentences


def _told(made: Any, inside: int, value: Any, prefer: Prefer | None) -> Iterator[tuple[str, str]]:
    """Where and what, for each mistake, or the first one of a large value."""
    library = _library()
    parts, levels = _size(value)
    if levels * inside > MAX_TELLING:
        yield "", "is not valid, and nests too deep to tell where"
        return
    errors: Any = []
    try:
        if parts <= MAX_PARTS:
            errors = made.iter_errors(value)
        else:
            made.validate(value)
    except library.ValidationError as first:
        errors = [first]
    except ValueError:  # the library shows no value nested deeper than 255 levels
        yield "", "is not valid, and nests too deep to tell where"
        return
    for error in errors:
        yield from _sentences(error, prefer)


def _size(value: Any) -> tuple[int, int]:
    """How many parts a value has, and how many levels."""
    level, parts, levels = [value], 0, 0
    while level:
        parts, levels = parts + len(level), levels + 1
        level = [
            child
            for part in level
            if isinstance(part, (dict, list, tuple))
            for child in (part.values() if isinstance(part, dict) else part)
        ]
    return parts, levels


def _sentences(error: Any, prefer: Prefer | None) -> Iterator[tuple[str, str]]:
    """Where and what, for each mistake inside one of the library's errors."""
    where = pointer(*error.instance_path)
    limit = error.kind.value
    match error.kind.name:
        case "required":
            yield where + pointer(limit), "is required"
        case "additionalProperties" | "unevaluatedProperties":
            for key in limit:
                yield where + pointer(key), "is not known"
        case "anyOf" | "oneOf":
            yield from _alternatives(error, where, prefer)
        case "uniqueItems":
            yield from _repeated(error.instance, where)
        case "propertyNames":
            yield where + pointer(error.kind.error.instance), "has a key that is not allowed"
        case "pattern" if type(error.kind).__name__ != "Pattern":
            yield where, "cannot be checked against its pattern in time"
        case word:
            yield where, _SENTENCES.get(word, _unknown)(limit)


def _repeated(items: list[Any], where: str) -> Iterator[tuple[str, str]]:
    seen: set[bytes] = set()
    for index, item in enumerate(items):
        key = msgspec.json.encode(item, order="sorted")
        if key in seen:
            yield where + pointer(index), "stands in the list already"
        seen.add(key)
    if len(seen) == len(items):  # 1 and 1.0 are the same to the library
        yield where, "has an item twice"


def _alternatives(error: Any, where: str, prefer: Prefer | None) -> Iterator[tuple[str, str]]:
    """The preferred branch or the one that comes nearest tells; else what the branches want."""
    if not all(error.kind.context):
        yield where, "fits more than one of the forms that it may have"
        return
    chosen = prefer(where, pointer(*error.schema_path)) if prefer else None
    if chosen is not None and chosen < len(error.kind.context):
        for inner in error.kind.context[chosen]:
            yield from _sentences(inner, prefer)
        return
    here = error.instance_path
    near = [
        errors
        for errors in error.kind.context
        if not any(
            e.kind.name in ("type", "const", "enum") and e.instance_path == here for e in errors
        )
    ]
    if near:
        for inner in min(near, key=len):
            yield from _sentences(inner, prefer)
        return
    wanted = [_wish(e) for errors in error.kind.context for e in errors if e.instance_path == here]
    yield where, "must be " + " or ".join(dict.fromkeys(wanted))


def _wish(error: Any) -> str:
    match error.kind.name:
        case "type":
            return _type_names(error.kind.value)
        case "const":
            return _show(error.kind.value)
        case "enum":
            return ", ".join(map(_show, error.kind.value))
    return "of another form"


def _type_names(types: list[str]) -> str:
    return " or ".join(words for name, words in _TYPES.items() if name in types)


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
    "pattern": lambda v: f"must have the form {v}",
    "contains": lambda v: "lacks an item that it must contain",
    "not": lambda v: "has a form that is not allowed",
}  # fmt: skip
