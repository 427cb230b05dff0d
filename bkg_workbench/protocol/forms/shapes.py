"""What stands at a place of a form: its kind, and the places below it.

Which subschemas speak about a place is `outline`'s, which of several forms a value may take
`options`'s, what a node shows besides `attributes`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bkg_workbench.protocol.forms.keywords import (
    UNSET,
    constant,
    first,
    has,
    largest,
    list_of,
    merged_choices,
    merged_types,
    object_of,
    smallest,
)
from bkg_workbench.protocol.forms.outline import Outline, Place, Plan
from bkg_workbench.protocol.masks import is_secret
from bkg_workbench.protocol.references import Schema

MAX_CHOICES = 1_000
"""An `enum` of more is typed; the validator knows it still."""
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
    dependents: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """The keys that others demand, where those are there."""
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
        for key, wanted in self.dependents if isinstance(value, dict) else ():
            if key in value:
                found = found | wanted
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


def begin(outline: Outline, plan: Plan) -> Shape:
    """The shape of a place as far as it is known before its selectors are looked at."""
    parts = plan.parts
    shape = Shape(outline=outline, place=plan.place, parts=parts)
    shape.types = merged_types(parts)
    shape.is_secret = any(map(is_secret, parts))
    shape.is_read_only = any(p.get("readOnly") is True for p in parts)
    shape.default = first(parts, "default")
    choices = merged_choices(parts)
    shape.choices = choices if len(choices) <= MAX_CHOICES else []
    shape.is_nullable = _is_nullable(shape, plan)
    return shape


def finish(shape: Shape) -> None:
    """Find the kind, if no selector gave one, and what lies below."""
    if shape.kind == "json":
        shape.kind = _kind(shape)
    if shape.kind in ("group", "map"):
        _fill_object(shape)
    elif shape.kind == "list":
        _fill_list(shape)


def _is_nullable(shape: Shape, plan: Plan) -> bool:
    named = shape.types is None or "null" in shape.types
    if shape.choices:
        return named and any(choice is None for choice in shape.choices)
    if plan.place.nullable:
        return True
    return shape.types is not None and "null" in shape.types and len(shape.types) > 1


def _kind(shape: Shape) -> str:
    if shape.is_secret:
        return "text"
    if constant(shape.parts) is not UNSET:
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
            return "list" if has(shape.parts, "items", "prefixItems") else "json"
        case "object":
            return _kind_of_object(shape)
        case name:
            return name if name in ("integer", "number", "boolean") else "json"


def _kind_by_words(shape: Shape) -> str:
    if has(shape.parts, *_OBJECT):
        return _kind_of_object(shape)
    if has(shape.parts, "items", "prefixItems"):
        return "list"
    if has(shape.parts, *_TEXT):
        return "text"
    if has(shape.parts, *_NUMBER):
        return "number"
    return "json"


def _kind_of_object(shape: Shape) -> str:
    if any(object_of(p, "properties") or p.get("required") for p in shape.parts):
        return "group"
    if has(shape.parts, "patternProperties", "propertyNames"):
        return "map"
    more = [p[w] for p in shape.parts for w in _MORE if w in p]
    return "map" if any(m is not False for m in more) else "json"


_MORE = ("additionalProperties", "unevaluatedProperties")


def _fill_object(shape: Shape) -> None:
    parts = shape.parts
    keys = dict.fromkeys(key for part in parts for key in object_of(part, "properties"))
    wanted = [key for part in parts for key in list_of(part, "required") if isinstance(key, str)]
    shape.required = frozenset(wanted)
    shape.dependents = [
        (key, frozenset(k for k in keys if isinstance(k, str)))
        for part in parts
        for word in ("dependentRequired", "dependencies")
        for key, keys in object_of(part, word).items()
        if isinstance(keys, list)
    ]
    described = any(
        object_of(p, "patternProperties") or any(isinstance(p.get(w), dict) for w in _MORE)
        for p in parts
    )
    shape.is_open = described or shape.kind == "map"
    for key in (*keys, *wanted):
        if key not in shape.fields:
            raws = list(_below(shape.outline, parts, key))
            shape.fields[key] = shape.outline.place(*(raws or [True]))
    if shape.kind == "map":
        shape.fields = {}
    shape.least = int(largest(parts, "minProperties") or 0)
    most = smallest(parts, "maxProperties")
    shape.most = math.inf if most is None else most


def _below(outline: Outline, parts: Iterable[Schema], key: str) -> Iterator[Any]:
    """The subschemas that speak about the property `key`."""
    for part in parts:
        found = False
        properties = object_of(part, "properties")
        if key in properties:
            found = True
            yield properties[key]
        for pattern, below in object_of(part, "patternProperties").items():
            if outline.has(pattern, key):
                found = True
                yield below
        more = next((part[word] for word in _MORE if word in part), None)
        if not found and isinstance(more, dict):
            yield more


def _fill_list(shape: Shape) -> None:
    parts, place = shape.parts, shape.outline.place
    count = max((len(list_of(part, "prefixItems")) for part in parts), default=0)
    shape.items = tuple(place(*_items(parts, index)) for index in range(count))
    after = [part["items"] for part in parts if "items" in part]
    is_closed = any(raw is False for raw in after)
    shape.more_items = None if is_closed else place(*(after or [True]))
    shape.least = int(largest(parts, "minItems") or 0)
    most = smallest(parts, "maxItems")
    shape.most = math.inf if most is None else most


def _items(parts: Iterable[Schema], index: int) -> Iterator[Any]:
    for part in parts:
        prefix = list_of(part, "prefixItems")
        if index < len(prefix):
            yield prefix[index]
        elif "items" in part:
            yield part["items"]
