"""The attributes of a node that do not depend on the value: titles, limits, choices.

Owns which keywords a node of each kind shows, and under which names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bkg_workbench.protocol.forms.keywords import (
    MAX_TITLE,
    UNSET,
    compact,
    constant,
    first,
    first_list,
    is_plain,
    largest,
    object_of,
    show,
    smallest,
    text,
)
from bkg_workbench.protocol.forms.shapes import Shape
from bkg_workbench.protocol.references import Schema

MAX_DESCRIPTION = 4_000


def describe(shape: Shape) -> None:
    """Fill in the attributes that do not depend on a value."""
    parts, fixed = shape.parts, shape.fixed
    kept: dict[str, Any] = {}  # may be false, or an empty text
    fixed["kind"] = shape.kind
    fixed["title"] = text(parts, "title")[:MAX_TITLE] or None
    fixed["description"] = text(parts, "description")[:MAX_DESCRIPTION] or None
    fixed["nullable"] = shape.is_nullable
    fixed["readOnly"] = shape.is_read_only
    fixed["deprecated"] = any(p.get("deprecated") is True for p in parts)
    shape.default = first(parts, "default")
    if shape.is_secret:
        fixed["secret"] = True
    else:
        examples = first(parts, "examples")
        if isinstance(examples, list):
            fixed["examples"] = [e for e in examples if is_plain(e)]
        only = constant(parts) if shape.kind == "constant" else UNSET
        for said in (shape.default, only):
            if said is not UNSET and is_plain(said):
                kept["default"] = said
    if shape.kind == "text":
        fixed |= {
            "format": text(parts, "format"),
            "pattern": text(parts, "pattern"),
            "minLength": largest(parts, "minLength"),
            "maxLength": smallest(parts, "maxLength"),
            "contentMediaType": text(parts, "contentMediaType"),
            "contentEncoding": text(parts, "contentEncoding"),
            "unit": text(parts, "unit") or text(parts, "x-unit"),
        }
    elif shape.kind in ("number", "integer"):
        fixed |= {
            "minimum": largest(parts, "minimum"),
            "maximum": smallest(parts, "maximum"),
            "exclusiveMinimum": largest(parts, "exclusiveMinimum"),
            "exclusiveMaximum": smallest(parts, "exclusiveMaximum"),
            "step": largest(parts, "multipleOf"),
            "unit": text(parts, "unit") or text(parts, "x-unit"),
        }
    elif shape.kind == "choice":
        fixed["options"] = _option_list(shape)
    elif shape.kind == "variant":
        fixed["options"] = [option.label for option in shape.options]
    elif shape.kind in ("map", "group"):
        fixed |= _key_rules(parts)
    shape.fixed = {k: v for k, v in fixed.items() if v or (v == 0 and v is not False)} | kept


def _option_list(shape: Shape) -> list[dict[str, Any]]:
    names = [*first_list(shape.parts, "enumNames"), *([None] * len(shape.choices))]
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
    found: dict[str, Any] = {"keyPattern": text(names, "pattern")}
    for part in parts:
        patterns = list(object_of(part, "patternProperties"))
        if len(patterns) == 1 and part.get("additionalProperties") is False:
            found["keyPattern"] = found["keyPattern"] or patterns[0]
    found["keyOptions"] = [k for k in first_list(names, "enum") if isinstance(k, str)]
    return found
