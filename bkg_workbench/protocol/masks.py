"""Secrets inside settings: found by their schema, masked, kept, and told apart without being shown.

Owns what counts as a secret (`writeOnly`, `format: password`) and the mask `"***"`, which, written
back, means unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bkg_workbench.protocol.references import (
    MAX_DEPTH,
    Schema,
    branches,
    item_schemas,
    property_schemas,
    views_of,
)
from bkg_workbench.protocol.values import Change, diff, is_same, pointer

MASK = "***"
"""What stands for a secret wherever it is shown."""


def is_secret(schema: Schema) -> bool:
    """Whether a value of this schema, its references resolved, is a secret."""
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def secrets(schema: Schema | None) -> list[str]:
    """Pointers of the secrets; `*` stands for any index or any further key."""
    root = schema or {}
    found: set[str] = set()
    level: list[tuple[str, Any]] = [("", root)]
    # Level by level, so that the endless depths of a recursive schema come last.
    for _ in range(MAX_DEPTH):
        views = [(path, view) for path, one in level[:500] for view in views_of(root, one)]
        found.update(path for path, view in views if is_secret(view))
        level = [(path + step, below) for path, view in views for step, below in _below(view)]
    return sorted(found)


def mask(schema: Schema | None, value: Any) -> Any:
    """`value` with each secret that is set replaced by `"***"`."""
    return _map_secrets(schema or {}, [schema or {}], value, lambda _: MASK, 0)


def unmask(schema: Schema | None, new: Any, old: Any, *, keep_unknown: bool = False) -> Any:
    """`new` with each `"***"` replaced by what `old` has there, or left out if it has nothing.

    With `keep_unknown` it stays `"***"` instead of being left out.

    Items of arrays are matched by what else they hold, then by `id` or `name`, then by place.
    Without a schema every `"***"` counts, with one only those of secrets.
    """
    if schema:
        marked = _map_secrets(schema, [schema], new, lambda v: _KEEP if v == MASK else v, 0)
    else:
        marked = _mark_all(new)
    value = _fill(marked, old, MASK if keep_unknown else _KEEP)
    return None if value is _KEEP else value


def masked_diff(schema: Schema | None, before: Any, after: Any, path: str = "") -> list[Change]:
    """`diff` that shows that a secret changed, but neither its old value nor its new one."""
    root = schema or {}
    hidden = [_map_secrets(root, [root], v, _Hidden, 0) for v in (before, after)]
    return [
        Change(c.op, c.path, _show_hidden(c.before), _show_hidden(c.after))
        for c in diff(hidden[0], hidden[1], path)
    ]


class _Hidden:
    """A secret inside a difference: compared by its value, shown as a mask."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and is_same(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


_KEEP = _Hidden(None)


def _show_hidden(value: Any) -> Any:
    if isinstance(value, _Hidden):
        return MASK
    if isinstance(value, dict):
        return {k: _show_hidden(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_show_hidden(v) for v in value]
    return value


def _map_secrets(
    root: Schema, schemas: list[Schema], value: Any, fn: Callable[[Any], Any], depth: int
) -> Any:
    """`value` with `fn` applied to its secrets; `schemas` are all that speak about it."""
    views = [view for schema in schemas for view in views_of(root, schema)]
    if any(map(is_secret, views)):
        return value if value is None or value == "" else fn(value)
    if isinstance(value, dict):
        return {
            k: _map_secrets(root, below, v, fn, depth + 1)
            if (below := [s for view in views for s in property_schemas(view, k)])
            else v
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [
            _map_secrets(root, below, v, fn, depth + 1)
            if (below := [s for view in views for s in item_schemas(view, index)])
            else v
            for index, v in enumerate(value)
        ]
    return value


def _mark_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _mark_all(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_mark_all(v) for v in value]
    return _KEEP if value == MASK else value


def _fill(new: Any, old: Any, unknown: Any) -> Any:
    if new is _KEEP:
        return unknown if old is None else old
    if isinstance(new, dict):
        below = old if isinstance(old, dict) else {}
        filled = {k: _fill(v, below.get(k), unknown) for k, v in new.items()}
        return {k: v for k, v in filled.items() if v is not _KEEP}
    if isinstance(new, list):
        pairs = _pair(new, old if isinstance(old, list) else [])
        return [v for v in (_fill(n, o, unknown) for n, o in pairs) if v is not _KEEP]
    return new


def _pair(new: list[Any], old: list[Any]) -> list[tuple[Any, Any]]:
    """Each new item with the old one whose secrets it keeps, or None."""
    partners: dict[int, Any] = {}
    free = dict(enumerate(old))
    for is_match in (_looks_like, _has_key_of, _is_at):
        for index, item in enumerate(new):
            if index in partners or not _has_mark(item):
                continue
            for place, candidate in free.items():
                if is_match(item, candidate, index, place, len(new) == len(old)):
                    partners[index] = free.pop(place)
                    break
    return [(item, partners.get(index)) for index, item in enumerate(new)]


def _looks_like(new: Any, old: Any, index: int, place: int, alike: bool) -> bool:
    # Equal but for its secrets; in its own place first, so that a list of bare secrets keeps order.
    return _fits(new, old) and (index == place or not alike or isinstance(new, dict))


def _has_key_of(new: Any, old: Any, *_: Any) -> bool:
    if not isinstance(new, dict) or not isinstance(old, dict):
        return False
    return any(k in new and k in old and is_same(new[k], old[k]) for k in ("id", "name", "key"))


def _is_at(new: Any, old: Any, index: int, place: int, alike: bool) -> bool:
    named = isinstance(new, dict) and any(k in new for k in ("id", "name", "key"))
    return alike and index == place and not named


def _has_mark(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_mark, value.values()))
    if isinstance(value, list):
        return any(map(_has_mark, value))
    return value is _KEEP


def _fits(new: Any, old: Any) -> bool:
    if new is _KEEP:
        return old is not None
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(_fits(v, old[k]) for k, v in new.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_fits, new, old))
    return is_same(new, old)


def _below(view: Schema) -> Iterator[tuple[str, Any]]:
    """The subschemas of a view's parts, each with its step of the pointer."""
    for word in ("properties", "patternProperties"):
        parts = view.get(word)
        for key, below in parts.items() if isinstance(parts, dict) else ():
            yield (pointer(key) if word == "properties" else "/*"), below
    for word in ("additionalProperties", "items", "prefixItems"):
        for below in branches(view, word):
            yield "/*", below
