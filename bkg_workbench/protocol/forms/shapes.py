"""What stands at a place of a form: its kind, its fixed attributes and the places below it.

Owns the merging of several subschemas' keywords into one description. Which subschemas speak is
`outline`'s, which of several forms a value may take `options`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bkg_workbench.protocol.forms.outline import Outline, Place, Plan
from bkg_workbench.protocol.references import Schema
from bkg_workbench.protocol.values import is_same

UNSET: Any = msgspec.UNSET
"""In place of a value that is not there; null is a value."""

MAX_TITLE = 200
MAX_DESCRIPTION = 4_000
MAX_REMEMBERED = 1_000

_OBJECT = (
    "properties", "additionalProperties", "patternProperties", "propertyNames", "required",
    "minProperties", "maxProperties", "dependentRequired", "unevaluatedProperties",
)  # fmt: skip
_TEXT = ("pattern", "minLength", "maxLength", "contentEncoding", "contentMediaType", "format")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


@dataclass(frozen=True, slots=True)
class Option:
    """One of the forms that a value may take.

    `picks` are the branches that make it, as (JSON pointer of the selector, index of the branch);
    `branches` are those subschemas, `type` is set where the option is but a type.
    """

    label: str
    place: Place
    picks: tuple[tuple[str, int], ...] = ()
    branches: tuple[Schema, ...] = ()
    type: str = ""


@dataclass(slots=True)
class Shape:
    """One place, all of whose subschemas are known. `fixed` are the attributes of every node."""

    outline: Outline
    place: Place
    parts: tuple[Schema, ...]
    kind: str = "json"
    fixed: dict[str, Any] = field(default_factory=dict)
    types: frozenset[str] | None = None
    is_nullable: bool = False
    is_secret: bool = False
    is_read_only: bool = False
    default: Any = UNSET
    choices: list[Any] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)
    fields: dict[str, Place] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: tuple[Place, ...] = ()
    """The places of a list's first items; those after them stand at `more_items`."""
    more_items: Place | None = None
    least: int = 0
    most: float = math.inf
    """How many items or entries there must and may be."""
    is_open: bool = False
    """Whether a schema describes keys beyond `fields`."""
    _further: dict[str, Place | None] = field(default_factory=dict)

    def further(self, key: str) -> Place | None:
        """The place of a key that is not among `fields`; None if no schema describes it."""
        if not self.is_open:
            return None
        if key not in self._further:
            if len(self._further) > MAX_REMEMBERED:
                self._further.clear()
            raws = list(_below(self.outline, self.parts, key))
            self._further[key] = self.outline.place(*raws) if raws else None
        return self._further[key]

    def item(self, index: int) -> Place:
        """The place of a list's item."""
        if index < len(self.items):
            return self.items[index]
        return self.more_items or self.outline.place(True)

    def required_by(self, value: Any) -> frozenset[str]:
        """The keys that an object must have, being what it is."""
        found = self.required
        if not isinstance(value, dict):
            return found
        for part in self.parts:
            for word in ("dependentRequired", "dependencies"):
                for key, wanted in _dict(part, word).items():
                    if key in value and isinstance(wanted, list):
                        found = found | {k for k in wanted if isinstance(k, str)}
        return found

    def has_room(self, count: int) -> bool:
        """Whether one more item or entry may be added to `count`."""
        if count >= self.most:
            return False
        if self.kind == "list":
            return count < len(self.items) or self.more_items is not None
        return self.is_open or self.kind == "map"

    def fits(self, value: Any) -> bool:
        """Whether a value, null aside, is of a type that this kind can show."""
        if self.kind in ("group", "map"):
            return isinstance(value, dict)
        if self.kind == "list":
            return isinstance(value, list)
        return self.kind == "json" or not isinstance(value, (dict, list)) or self.is_secret


def make(outline: Outline, plan: Plan) -> Shape:
    """The shape of a place."""
    from bkg_workbench.protocol.forms.options import select

    parts = plan.parts
    shape = Shape(outline=outline, place=plan.place, parts=parts)
    shape.types = merged_types(parts)
    shape.is_secret = any(
        p.get("writeOnly") is True or p.get("format") == "password" for p in parts
    )
    shape.is_read_only = any(p.get("readOnly") is True for p in parts)
    shape.choices = _choices(parts)
    shape.is_nullable = _is_nullable(shape, plan)
    if not shape.is_secret:
        merged = select(outline, plan, shape)
        if merged is not None:
            return merged
    if not shape.kind or shape.kind == "json":
        shape.kind = _kind(shape)
    if shape.kind in ("group", "map"):
        _fill_object(shape)
    elif shape.kind == "list":
        _fill_list(shape)
    _describe(shape)
    return shape


def merged_types(parts: Iterable[Schema]) -> frozenset[str] | None:
    """The types that all parts allow; None where none says any."""
    found: set[str] | None = None
    for part in parts:
        said = part.get("type")
        if said is None:
            continue
        names = {said} if isinstance(said, str) else {t for t in said if isinstance(t, str)}
        if "number" in names:
            names.add("integer")
        found = names if found is None else found & names
    if found is not None and "number" in found:
        found.discard("integer")
    return None if found is None else frozenset(found)


def is_of(value: Any, name: str) -> bool:
    """Whether a JSON value is of a JSON Schema type."""
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return name == "number" or value == int(value)


def _is_nullable(shape: Shape, plan: Plan) -> bool:
    named = shape.types is None or "null" in shape.types
    if shape.choices:
        return named and any(choice is None for choice in shape.choices)
    if plan.place.nullable:
        return named
    return shape.types is not None and "null" in shape.types and len(shape.types) > 1


def _choices(parts: Iterable[Schema]) -> list[Any]:
    found: list[Any] | None = None
    for part in parts:
        said = part.get("enum")
        if isinstance(said, list):
            found = (
                said if found is None else [v for v in found if any(is_same(v, w) for w in said)]
            )
    return found or []


def _kind(shape: Shape) -> str:
    if shape.is_secret:
        return "text"
    if any("const" in part for part in shape.parts):
        return "constant"
    if shape.choices:
        return "choice"
    names = None if shape.types is None else shape.types - {"null"}
    if names is None:
        return _kind_by_words(shape)
    if not names:
        return "null" if shape.types else "json"
    if len(names) > 1:
        return "json"
    match next(iter(names)):
        case "string":
            return "text"
        case "array":
            return "list" if _has(shape.parts, "items", "prefixItems") else "json"
        case "object":
            return _kind_of_object(shape)
        case name:
            return name if name in ("integer", "number", "boolean") else "json"


def _kind_by_words(shape: Shape) -> str:
    if _has(shape.parts, *_OBJECT):
        return _kind_of_object(shape)
    if _has(shape.parts, "items", "prefixItems"):
        return "list"
    if _has(shape.parts, *_TEXT):
        return "text"
    if _has(shape.parts, *_NUMBER):
        return "number"
    return "json"


def _kind_of_object(shape: Shape) -> str:
    if any(_dict(p, "properties") or p.get("required") for p in shape.parts):
        return "group"
    if _has(shape.parts, "patternProperties", "propertyNames"):
        return "map"
    more = [p[w] for p in shape.parts for w in _MORE if w in p]
    return "map" if any(m is not False for m in more) else "json"


_MORE = ("additionalProperties", "unevaluatedProperties")


def _fill_object(shape: Shape) -> None:
    parts = shape.parts
    keys = dict.fromkeys(key for part in parts for key in _dict(part, "properties"))
    wanted = [key for part in parts for key in _list(part, "required") if isinstance(key, str)]
    shape.required = frozenset(wanted)
    described = any(
        _dict(p, "patternProperties") or any(isinstance(p.get(w), dict) for w in _MORE)
        for p in parts
    )
    shape.is_open = described or shape.kind == "map"
    for key in (*keys, *wanted):
        if key not in shape.fields:
            raws = list(_below(shape.outline, parts, key))
            shape.fields[key] = shape.outline.place(*(raws or [True]))
    if shape.kind == "map":
        shape.fields = {}
    shape.least = int(_largest(parts, "minProperties") or 0)
    most = _smallest(parts, "maxProperties")
    shape.most = math.inf if most is None else most


def _below(outline: Outline, parts: Iterable[Schema], key: str) -> Iterator[Any]:
    """The subschemas that speak about the property `key`."""
    for part in parts:
        found = False
        properties = _dict(part, "properties")
        if key in properties:
            found = True
            yield properties[key]
        for pattern, below in _dict(part, "patternProperties").items():
            if outline.has(pattern, key):
                found = True
                yield below
        for word in () if found else _MORE:
            if isinstance(part.get(word), dict):
                yield part[word]


def _fill_list(shape: Shape) -> None:
    parts, place = shape.parts, shape.outline.place
    count = max((len(_list(part, "prefixItems")) for part in parts), default=0)
    shape.items = tuple(place(*_items(parts, index)) for index in range(count))
    after = [part["items"] for part in parts if "items" in part]
    is_closed = any(raw is False for raw in after)
    shape.more_items = None if is_closed else place(*(after or [True]))
    shape.least = int(_largest(parts, "minItems") or 0)
    most = _smallest(parts, "maxItems")
    shape.most = math.inf if most is None else most


def _items(parts: Iterable[Schema], index: int) -> Iterator[Any]:
    for part in parts:
        prefix = _list(part, "prefixItems")
        if index < len(prefix):
            yield prefix[index]
        elif "items" in part:
            yield part["items"]


def _describe(shape: Shape) -> None:
    """Fill in the attributes that do not depend on a value."""
    parts, fixed = shape.parts, shape.fixed
    kept: dict[str, Any] = {}  # may be false, or an empty text
    fixed["kind"] = shape.kind
    fixed["title"] = _text(parts, "title")[:MAX_TITLE] or None
    fixed["description"] = _text(parts, "description")[:MAX_DESCRIPTION] or None
    fixed["nullable"] = shape.is_nullable
    fixed["readOnly"] = shape.is_read_only
    fixed["deprecated"] = any(p.get("deprecated") is True for p in parts)
    shape.default = _first(parts, "default")
    if shape.is_secret:
        fixed["secret"] = True
    else:
        examples = _first(parts, "examples")
        if isinstance(examples, list):
            fixed["examples"] = [e for e in examples if is_plain(e)]
        constant = _first(parts, "const") if shape.kind == "constant" else UNSET
        for said in (shape.default, constant):
            if said is not UNSET and is_plain(said):
                kept["default"] = said
    if shape.kind == "text":
        fixed |= {
            "format": _text(parts, "format"),
            "pattern": _text(parts, "pattern"),
            "minLength": _largest(parts, "minLength"),
            "maxLength": _smallest(parts, "maxLength"),
            "contentMediaType": _text(parts, "contentMediaType"),
            "contentEncoding": _text(parts, "contentEncoding"),
            "unit": _text(parts, "unit") or _text(parts, "x-unit"),
        }
    elif shape.kind in ("number", "integer"):
        fixed |= {
            "minimum": _largest(parts, "minimum"),
            "maximum": _smallest(parts, "maximum"),
            "exclusiveMinimum": _largest(parts, "exclusiveMinimum"),
            "exclusiveMaximum": _smallest(parts, "exclusiveMaximum"),
            "step": _largest(parts, "multipleOf"),
            "unit": _text(parts, "unit") or _text(parts, "x-unit"),
        }
    elif shape.kind == "choice":
        fixed["options"] = _option_list(shape)
    elif shape.kind == "variant":
        fixed["options"] = [option.label for option in shape.options]
    elif shape.kind in ("map", "group"):
        fixed |= _key_rules(parts)
    shape.fixed = {k: v for k, v in fixed.items() if v or (v == 0 and v is not False)} | kept


def _option_list(shape: Shape) -> list[dict[str, Any]]:
    names = [*_first_list(shape.parts, "enumNames"), *([None] * len(shape.choices))]
    labels: list[Any] = shape.fixed.pop("labels", names)
    found = []
    for choice, label in zip(shape.choices, labels, strict=False):
        if choice is None:
            continue
        option: dict[str, Any] = {"label": label if isinstance(label, str) else show(choice)}
        if isinstance(choice, (dict, list)):
            option["text"] = compact(choice)
        else:
            option["value"] = choice
        found.append(option)
    return found


def _key_rules(parts: Iterable[Schema]) -> dict[str, Any]:
    names = [p["propertyNames"] for p in parts if isinstance(p.get("propertyNames"), dict)]
    found: dict[str, Any] = {"keyPattern": _text(names, "pattern")}
    for part in parts:
        patterns = list(_dict(part, "patternProperties"))
        if len(patterns) == 1 and part.get("additionalProperties") is False:
            found["keyPattern"] = found["keyPattern"] or patterns[0]
    found["keyOptions"] = [k for k in _first_list(names, "enum") if isinstance(k, str)]
    return found


def show(value: Any) -> str:
    """A JSON value in one short line."""
    return value if isinstance(value, str) else compact(value)[:MAX_TITLE]


def compact(value: Any) -> str:
    """A JSON value as JSON."""
    return msgspec.json.encode(value).decode()


def is_plain(value: Any) -> bool:
    """Whether a value has no null in it, which a merge patch could not carry."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is not None


def _has(parts: Iterable[Schema], *words: str) -> bool:
    return any(word in part for part in parts for word in words)


def _first(parts: Iterable[Schema], word: str) -> Any:
    return next((part[word] for part in parts if word in part), UNSET)


def _first_list(parts: Iterable[Schema], word: str) -> list[Any]:
    found = _first(parts, word)
    return found if isinstance(found, list) else []


def _text(parts: Iterable[Schema], word: str) -> str:
    return next((p[word] for p in parts if isinstance(p.get(word), str) and p[word]), "")


def _numbers(parts: Iterable[Schema], word: str) -> list[float]:
    found = [part.get(word) for part in parts]
    return [n for n in found if isinstance(n, (int, float)) and not isinstance(n, bool)]


def _largest(parts: Iterable[Schema], word: str) -> float | None:
    return max(_numbers(parts, word), default=None)


def _smallest(parts: Iterable[Schema], word: str) -> float | None:
    return min(_numbers(parts, word), default=None)


def _dict(part: Schema, word: str) -> dict[str, Any]:
    found = part.get(word)
    return found if isinstance(found, dict) else {}


def _list(part: Schema, word: str) -> list[Any]:
    found = part.get(word)
    return found if isinstance(found, list) else []
