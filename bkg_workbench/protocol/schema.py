"""JSON Schema (2020-12) as the workbench uses it: the one door to it for all other modules.

Owns the defaults that a schema makes. What it passes on lies in `values` (merging, differences),
`masks` (secrets), `references` (`$ref`) and `validation` (needs the package jsonschema-rs, which
the Host has and a plug-in's own environment does not). Forms are `protocol.forms`.
"""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol.masks import MASK, mask, masked_diff, secrets, unmask
from bkg_workbench.protocol.references import (
    MAX_DEPTH,
    MAX_NODES,
    Schema,
    SchemaInvalid,
    branches,
    resolve,
)
from bkg_workbench.protocol.validation import Errors, Validator, check, compiled, validate
from bkg_workbench.protocol.values import Change, diff, is_same, merge, pointer

__all__ = [
    "MASK", "Change", "Errors", "Schema", "SchemaInvalid", "Validator", "check",
    "compiled", "defaults", "diff", "is_same", "mask", "masked_diff", "merge",
    "pointer", "secrets", "unmask", "validate",
]  # fmt: skip

_NOTHING = object()


def defaults(schema: Schema | None) -> dict[str, Any]:
    """The object that a schema's `default`s make; what has none is left out.

    Follows a schema down to `MAX_DEPTH` levels and `MAX_NODES` properties. A reference that cannot
    be followed has no default.
    """
    root = schema or {}
    value = _default(root, root, frozenset({"#"}), 0, [MAX_NODES])
    return value if isinstance(value, dict) else {}


def _default(root: Schema, schema: Any, above: frozenset[str], depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        return _NOTHING
    if isinstance(schema, dict) and "$ref" in schema:
        # What contains itself has no finite default.
        if schema["$ref"] in above:
            return schema.get("default", _NOTHING)
        above = above | {str(schema["$ref"])}
    try:
        schema = resolve(root, schema)
        parts = [schema, *(resolve(root, part) for part in branches(schema, "allOf"))]
    except SchemaInvalid:
        return _NOTHING
    below: dict[str, Any] = {}
    for part in parts:
        properties = part.get("properties")
        for key, child in properties.items() if isinstance(properties, dict) else ():
            found = _default(root, child, above, depth + 1, left)
            if found is not _NOTHING:
                below[key] = found
    values = [part["default"] for part in parts if "default" in part]
    if not values:
        return below or _NOTHING
    return merge(below, values[0])
