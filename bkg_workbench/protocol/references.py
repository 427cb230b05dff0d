"""Finding one's way inside a JSON Schema: local references, and all that speaks about a value.

Owns `$ref` (only `#/...` is followed, nothing is ever fetched) and the flattening of `allOf`,
`anyOf` and the like.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bkg_workbench.errors import ProtocolError

MAX_DEPTH = 10
"""How deep defaults, secrets and forms follow a schema."""
MAX_NODES = 2_000
"""How many places of a schema they look at; a recursive one would have no end."""

Schema = dict[str, Any]


class SchemaInvalid(ProtocolError):
    """The schema itself cannot be used. Fact `reason`."""

    template = "The JSON Schema cannot be used: {reason}."


def resolve(root: Schema, schema: Any) -> Schema:
    """`schema` with its local `$ref` followed and laid under what stands beside it.

    Raises `SchemaInvalid` for a reference that is not local, leads nowhere or in a circle.
    """
    if not isinstance(schema, dict):
        return {}
    seen: set[str] = set()
    here: Schema = schema
    while "$ref" in here:
        target = here["$ref"]
        if str(target) in seen:
            raise SchemaInvalid(reason=f"{target} refers to itself")
        seen.add(str(target))
        beside = {k: v for k, v in here.items() if k != "$ref"}
        here = {**look_up(root, target), **beside}
    return here


def look_up(root: Schema, target: Any) -> Schema:
    """The subschema that a local reference names; raises `SchemaInvalid` if there is none."""
    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
        raise SchemaInvalid(reason=f"the reference {target!r} is not inside the schema")
    node: Any = root
    for part in target.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            raise SchemaInvalid(reason=f"the reference {target!r} leads nowhere")
    if not isinstance(node, dict):
        raise SchemaInvalid(reason=f"the reference {target!r} does not lead to a schema")
    return node


def branches(schema: Schema, *words: str) -> list[Any]:
    """The subschemas under `allOf`, `anyOf` or the like."""
    found: list[Any] = []
    for word in words:
        under = schema.get(word)
        found += under if isinstance(under, list) else [] if under is None else [under]
    return found


def views_of(root: Schema, schema: Any) -> Iterator[Schema]:
    """The schema, resolved, and all that `allOf`, `anyOf`, `oneOf`, `if` and so on add to it.

    Each place is visited once; a reference that cannot be followed is passed over.
    """
    waiting: list[Any] = [schema]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_NODES:
        here = waiting.pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here.get("$ref"), str):
            try:
                waiting.append(look_up(root, here["$ref"]))
            except SchemaInvalid:
                pass  # what stands beside it still counts
        yield here
        waiting += branches(here, "allOf", "anyOf", "oneOf", "if", "then", "else")


def property_schemas(view: Schema, key: str) -> list[Any]:
    """The subschemas of a view that speak about the property `key`."""
    properties = view.get("properties")
    if isinstance(properties, dict) and key in properties:
        return [properties[key]]
    more = view.get("additionalProperties")
    patterns = view.get("patternProperties")
    found = [more] if isinstance(more, dict) else []
    return found + (list(patterns.values()) if isinstance(patterns, dict) else [])


def item_schemas(view: Schema, index: int) -> list[Any]:
    """The subschemas of a view that speak about an array's item `index`."""
    prefix = view.get("prefixItems")
    if isinstance(prefix, list) and index < len(prefix):
        return [prefix[index]]
    return [view["items"]] if isinstance(view.get("items"), dict) else []
