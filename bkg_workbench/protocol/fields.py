"""A schema as the fields of a form: neutral, for any renderer.

Owns which kind of field a schema asks for and what belongs to it. Does not own widgets, values or
validation.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bkg_workbench.protocol.masks import is_secret
from bkg_workbench.protocol.references import MAX_DEPTH, Schema, SchemaInvalid, branches, resolve
from bkg_workbench.protocol.values import pointer

MAX_FIELDS = 500

Kind = Literal["text", "integer", "number", "boolean", "choice", "list", "map", "group", "json"]


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field. `path` is its JSON pointer, with `*` for an item of a list or map.

    `fields` are those of a group, `item` is that of each entry of a list or map. `json` is what no
    other kind can show: it is edited as text. `minimum` and `maximum` are of the value, the length
    or the number of items.
    """

    path: str
    kind: Kind
    title: str
    description: str = ""
    is_required: bool = False
    is_nullable: bool = False
    is_secret: bool = False
    has_default: bool = False
    default: Any = None
    choices: list[Any] = []
    minimum: float | None = None
    maximum: float | None = None
    is_minimum_exclusive: bool = False
    is_maximum_exclusive: bool = False
    step: float | None = None
    pattern: str | None = None
    format: str | None = None
    unit: str | None = None
    fields: list[Field] = []
    item: Field | None = None


def form_fields(schema: Schema) -> list[Field]:
    """The fields of an object's schema, in its order.

    Raises `SchemaInvalid` for one that is no object's, deeper than `MAX_DEPTH`, of more than
    `MAX_FIELDS` fields, or with a reference that cannot be followed: edit it as text.
    """
    root, _ = _plain(schema, schema)
    if "properties" not in root and root.get("type") != "object":
        raise SchemaInvalid(reason="it does not describe an object")
    return _Reader(schema).properties(root, "", 0)


class _Reader:
    """Walks one schema and counts its fields."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._count = 0

    def properties(self, schema: Schema, path: str, depth: int) -> list[Field]:
        required = schema.get("required", [])
        properties = schema.get("properties")
        return [
            self.field(child, path + pointer(key), key, key in required, depth)
            for key, child in (properties if isinstance(properties, dict) else {}).items()
        ]

    def field(self, raw: Any, path: str, key: str, is_required: bool, depth: int) -> Field:
        self._count += 1
        if depth > MAX_DEPTH:
            raise SchemaInvalid(reason=f"it nests deeper than {MAX_DEPTH} levels")
        if self._count > MAX_FIELDS:
            raise SchemaInvalid(reason=f"it has more than {MAX_FIELDS} fields")
        schema, is_nullable = _plain(self._root, raw)
        kind = _kind(schema)
        exclusive_low, exclusive_high = (
            schema.get("exclusiveMinimum"),
            schema.get("exclusiveMaximum"),
        )
        return Field(
            path=path,
            kind=kind,
            title=_text(schema.get("title")) or key,
            description=_text(schema.get("description")),
            is_required=is_required,
            is_nullable=is_nullable,
            is_secret=is_secret(schema),
            has_default="default" in schema,
            default=schema.get("default"),
            choices=_choices(schema),
            minimum=_number(schema, "exclusiveMinimum", "minimum", "minLength", "minItems"),
            maximum=_number(schema, "exclusiveMaximum", "maximum", "maxLength", "maxItems"),
            is_minimum_exclusive=exclusive_low is not None,
            is_maximum_exclusive=exclusive_high is not None,
            step=_number(schema, "multipleOf"),
            pattern=_text(schema.get("pattern")) or None,
            format=_text(schema.get("format")) or None,
            unit=_text(schema.get("unit") or schema.get("x-unit")) or None,
            fields=self.properties(schema, path, depth + 1) if kind == "group" else [],
            item=self._item(schema, kind, path, depth),
        )

    def _item(self, schema: Schema, kind: Kind, path: str, depth: int) -> Field | None:
        if kind == "list":
            return self.field(schema["items"], path + "/*", "item", True, depth + 1)
        if kind == "map":
            more = schema["additionalProperties"]
            return self.field(more, path + "/*", "value", True, depth + 1)
        return None


def _plain(root: Schema, raw: Any) -> tuple[Schema, bool]:
    """The schema with references and the "or null" of an optional value taken out."""
    schema = resolve(root, raw)
    is_nullable = False
    types = schema.get("type")
    if isinstance(types, list):
        is_nullable = "null" in types
        others = [t for t in types if t != "null"]
        schema = {**schema, "type": others[0] if len(others) == 1 else others}
    for word in ("anyOf", "oneOf", "allOf"):
        found = [resolve(root, branch) for branch in branches(schema, word)]
        others = [branch for branch in found if branch.get("type") != "null"]
        if found and len(others) == 1:
            is_nullable = is_nullable or len(found) > 1
            beside = {k: v for k, v in schema.items() if k != word}
            inner, inner_nullable = _plain(root, others[0])
            return {**inner, **beside}, is_nullable or inner_nullable
    return schema, is_nullable


def _kind(schema: Schema) -> Kind:
    if _choices(schema):
        return "choice"
    match schema.get("type"):
        case "string":
            return "text"
        case "integer":
            return "integer"
        case "number":
            return "number"
        case "boolean":
            return "boolean"
        case "array":
            return "list" if isinstance(schema.get("items"), dict) else "json"
        case "object":
            if isinstance(schema.get("properties"), dict):
                return "group"
            more = schema.get("additionalProperties")
            return "map" if isinstance(more, dict) and more else "json"
        case None if isinstance(schema.get("properties"), dict):
            return "group"
    return "json"


def _choices(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    if isinstance(found, list):
        return found
    branch_list = branches(schema, "anyOf", "oneOf")
    if branch_list and all(isinstance(b, dict) and "const" in b for b in branch_list):
        return [b["const"] for b in branch_list]
    return []


def _number(schema: Schema, *words: str) -> float | None:
    for word in words:
        value = schema.get(word)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
