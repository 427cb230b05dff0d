"""The keywords of several subschemas that speak about one value, taken together.

Owns how equal keywords are merged: the first text counts, the tightest limit, and what all allow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from bkg_workbench.protocol.references import Schema
from bkg_workbench.protocol.values import is_same

UNSET: Any = msgspec.UNSET
"""In place of a value that is not there; null is a value."""

MAX_TITLE = 200
"""Characters of a title or label that are shown."""


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


def merged_choices(parts: Iterable[Schema]) -> list[Any]:
    """The values that every `enum` has; empty where there is no `enum`."""
    found: list[Any] | None = None
    for part in parts:
        said = part.get("enum")
        if isinstance(said, list):
            found = (
                said if found is None else [v for v in found if any(is_same(v, w) for w in said)]
            )
    return found or []


def constant(parts: Iterable[Schema]) -> Any:
    """The only value that the parts allow, by `const` or an `enum` of one; else `UNSET`."""
    found = first(parts, "const")
    if found is UNSET:
        choices = merged_choices(parts)
        found = choices[0] if len(choices) == 1 else UNSET
    return found


def has(parts: Iterable[Schema], *words: str) -> bool:
    """Whether any part has one of the keywords."""
    return any(word in part for part in parts for word in words)


def first(parts: Iterable[Schema], word: str) -> Any:
    """The first value of a keyword; `UNSET` if there is none."""
    return next((part[word] for part in parts if word in part), UNSET)


def first_list(parts: Iterable[Schema], word: str) -> list[Any]:
    """The first value of a keyword, if it is a list; else an empty one."""
    found = first(parts, word)
    return found if isinstance(found, list) else []


def text(parts: Iterable[Schema], word: str) -> str:
    """The first text of a keyword; empty if there is none."""
    return next((p[word] for p in parts if isinstance(p.get(word), str) and p[word]), "")


def _numbers(parts: Iterable[Schema], word: str) -> list[float]:
    found = [part.get(word) for part in parts]
    return [n for n in found if isinstance(n, (int, float)) and not isinstance(n, bool)]


def largest(parts: Iterable[Schema], word: str) -> float | None:
    """The largest number of a keyword."""
    return max(_numbers(parts, word), default=None)


def smallest(parts: Iterable[Schema], word: str) -> float | None:
    """The smallest number of a keyword."""
    return min(_numbers(parts, word), default=None)


def object_of(part: Schema, word: str) -> dict[str, Any]:
    """What a part has under a keyword, if it is an object; else an empty one."""
    found = part.get(word)
    return found if isinstance(found, dict) else {}


def list_of(part: Schema, word: str) -> list[Any]:
    """What a part has under a keyword, if it is a list; else an empty one."""
    found = part.get(word)
    return found if isinstance(found, list) else []


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
