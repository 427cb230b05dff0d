"""From what a person types or adds to a JSON value.

Owns the reading of typed text as a number, truth value or choice, and the value that a new item or
object begins with. Whether the value is valid is the validator's.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from bkg_workbench.protocol.forms.keywords import UNSET, compact, constant, is_of, object_of
from bkg_workbench.protocol.forms.outline import Outline, Place
from bkg_workbench.protocol.forms.reading import look
from bkg_workbench.protocol.forms.shapes import Option, Shape
from bkg_workbench.protocol.references import MAX_DEPTH
from bkg_workbench.protocol.values import is_same, merge

MAX_FILLED = 100
"""How many items a new list begins with at most, whatever its minimum."""
MAX_DIGITS = 300
EXACT = 2**53
"""Whole numbers below this are the same in every JSON reader."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def read(shape: Shape, value: Any) -> Any:
    """A typed value as this shape's kind of value; as it is where it cannot be read.

    An empty text is no number: `UNSET`.
    """
    if not isinstance(value, str):
        return value
    kind = _kind_of_secret(shape) if shape.is_secret else shape.kind
    if kind in ("integer", "number"):
        return number(value) if value.strip() else UNSET
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if kind in ("choice", "constant"):
        return _choice(shape, value)
    if kind == "object":
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def number(typed: str) -> int | float | str:
    """The number that somebody typed, or the text where it is none."""
    text = typed.strip()
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        return typed
    if text.lstrip("+-").isdecimal():
        whole = int(text)
        return whole if -(2**63) <= whole < 2**64 else typed
    found = float(text)
    if not math.isfinite(found):
        return typed
    return int(found) if found.is_integer() and abs(found) < EXACT else found


def _kind_of_secret(shape: Shape) -> str:
    names = (shape.types or frozenset()) - {"null"}
    name = next(iter(names)) if len(names) == 1 else "text"
    return "object" if name in ("object", "array") else name


def _choice(shape: Shape, typed: str) -> Any:
    """The choice that a text stands for: itself, or the only one with that label."""
    choices = shape.choices or [constant(shape.parts)]
    if any(choice == typed for choice in choices):
        return typed
    meant = [c for c in choices if not isinstance(c, str) and compact(c) == typed.strip()]
    return meant[0] if len(meant) == 1 else typed


def initial(outline: Outline, place: Place, above: tuple[Place, ...] = ()) -> Any:
    """What a place begins with when it is added: defaults, constants, and what is required.

    Required fields without a default stay out, so that they are asked for; items of lists and
    entries of maps are never out, and begin empty.
    """
    seen = look(outline, place, UNSET)
    shape = seen.shape
    if shape.kind == "variant":
        value = _default(shape)
        if value is not UNSET:
            return value
        return initial_of(outline, shape.options[0], above)
    value = preset(outline, place, shape, above)
    return _empty(outline, place, shape, above) if value is UNSET else value


def initial_of(outline: Outline, option: Option, above: tuple[Place, ...] = ()) -> Any:
    """What one form of a value begins with; the constants that tell it from others among it."""
    value = initial(outline, option.place, above)
    if not isinstance(value, dict):
        return value
    tags: dict[str, Any] = {}
    for branch in option.branches:
        for part in outline.plan(outline.place(branch)).parts:
            for key, below in object_of(part, "properties").items():
                only = constant(outline.plan(outline.place(below)).parts)
                if only is not UNSET:
                    tags[key] = only
    return {**tags, **value}


def preset(outline: Outline, place: Place, shape: Shape, above: tuple[Place, ...]) -> Any:
    """What the schema says that a value is unless told otherwise; `UNSET` if nothing."""
    if shape.is_secret or place in above or len(above) >= MAX_DEPTH:
        return UNSET
    only = constant(shape.parts)
    if only is not UNSET:
        return only
    said = _default(shape)
    if shape.kind != "group" or (said is not UNSET and not isinstance(said, dict)):
        return said
    below: dict[str, Any] = {}
    inside = (*above, place)
    for key, under in shape.fields.items():
        seen = look(outline, under, UNSET)
        value = preset(outline, under, seen.shape, inside)
        if value is UNSET or (seen.shape.kind == "constant" and key not in shape.required):
            continue
        below[key] = value
    if said is not UNSET:
        return merge(below, said)
    return below or UNSET


def _default(shape: Shape) -> Any:
    return UNSET if shape.is_secret else shape.default


def _empty(outline: Outline, place: Place, shape: Shape, above: tuple[Place, ...]) -> Any:
    match shape.kind:
        case "group" | "map":
            return _filled(outline, place, shape, above)
        case "list":
            count = min(shape.least, MAX_FILLED) if place not in above else 0
            inside = (*above, place)
            return [initial(outline, shape.item(index), inside) for index in range(count)]
        case "integer" | "number":
            return _nearest(shape)
        case "boolean":
            return False
        case "choice":
            return next((c for c in shape.choices if c is not None), None)
        case "text":
            return ""
    if shape.kind == "json" and shape.types:
        return _of_type(shape)
    return None


def _filled(outline: Outline, place: Place, shape: Shape, above: tuple[Place, ...]) -> Any:
    """A new object: what it must have and can begin with."""
    found: dict[str, Any] = {}
    if place in above or len(above) >= MAX_DEPTH:
        return found
    for key, under in shape.fields.items():
        below = look(outline, under, UNSET).shape
        if key in shape.required and below.kind in ("group", "map", "list"):
            found[key] = initial(outline, under, (*above, place))
    return found


def _nearest(shape: Shape) -> int | float:
    """The allowed number that is nearest to 0, as far as the bounds tell."""
    low = shape.fixed.get("minimum", shape.fixed.get("exclusiveMinimum"))
    high = shape.fixed.get("maximum", shape.fixed.get("exclusiveMaximum"))
    if low is not None and low >= 0:
        return low + 1 if low == shape.fixed.get("exclusiveMinimum") else low  # type: ignore[no-any-return]
    if high is not None and high <= 0:
        return high - 1 if high == shape.fixed.get("exclusiveMaximum") else high  # type: ignore[no-any-return]
    return 0


def _of_type(shape: Shape) -> Any:
    values: tuple[Any, ...] = ({}, [], "", 0, False)
    for value in values:
        if any(is_of(value, name) for name in shape.types or ()):
            return value
    return None


def unused_choice(shape: Shape, taken: list[Any]) -> Any:
    """The first choice that is not taken; `UNSET` if there is none."""
    for choice in shape.choices:
        if choice is not None and not any(is_same(choice, other) for other in taken):
            return choice
    return UNSET
