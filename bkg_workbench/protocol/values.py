"""Plain JSON values: laid over each other, compared, and their differences told.

Owns equality, merging, differences and JSON pointers of values. Knows no schema.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Change(msgspec.Struct, frozen=True):
    """One difference: at `path` (a JSON pointer), from `before` to `after`."""

    op: Literal["add", "remove", "replace"]
    path: str
    before: Any = None
    after: Any = None


def merge(below: Any, above: Any) -> Any:
    """`above` laid over `below`: objects key by key, anything else replaced. Neither is changed."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = merge(below[key], value) if key in below else value
    return merged


def is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON: 1 is 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def diff(before: Any, after: Any, path: str = "") -> list[Change]:
    """What leads from `before` to `after`, in an order in which it can be applied."""
    if is_same(before, after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        changes = []
        for key in before:
            here = path + pointer(key)
            if key in after:
                changes += diff(before[key], after[key], here)
            else:
                changes.append(Change("remove", here, before[key]))
        new = (key for key in after if key not in before)
        return changes + [Change("add", path + pointer(k), None, after[k]) for k in new]
    if isinstance(before, list) and isinstance(after, list):
        common = min(len(before), len(after))
        changes = []
        for index in range(common):
            changes += diff(before[index], after[index], f"{path}/{index}")
        for index in reversed(range(common, len(before))):
            changes.append(Change("remove", f"{path}/{index}", before[index]))
        for index in range(common, len(after)):
            changes.append(Change("add", f"{path}/{index}", None, after[index]))
        return changes
    return [Change("replace", path, before, after)]


def pointer(*keys: str | int) -> str:
    """The JSON pointer of a path of keys."""
    return "".join("/" + str(k).replace("~", "~0").replace("/", "~1") for k in keys)


MAX_SETTINGS_DEPTH = 20
"""How deep settings may nest, so that the state that holds them fits a frame (32 levels)."""


def is_too_deep(value: Any, limit: int = MAX_SETTINGS_DEPTH) -> bool:
    """Whether objects and lists in `value` nest deeper than `limit` levels."""
    level = [value]
    for _ in range(limit):
        level = [
            item
            for node in level
            if isinstance(node, (dict, list))
            for item in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, (dict, list)) for node in level)
