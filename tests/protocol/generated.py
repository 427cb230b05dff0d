"""Values made from a JSON Schema, valid and invalid, the same in each run; and forms read back.

Owns chance and its seed. Knows enough of the keywords to come near to valid values often; the
verdict is the validator's.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from bkg_workbench.protocol.references import look_up

WORDS = ["", "a", "x", "ab", "abc", "12", "X-One", "N-2", "LOW_CASE", "mid", "high", "localhost",
         "admin", "***", "é/~", "http://localhost/", "<b>", "1e3", "two words"]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 4, 5, 8, 9, 10, 80, -1, 0.5, 1.5, 2.0, -0.25, 65536, 1e20]
MAX_DEPTH = 5


def values(schema: dict[str, Any], count: int, seed: str = "") -> Iterator[Any]:
    """`count` values: half as the schema wants them, half with something spoilt."""
    chance = random.Random(json.dumps(schema) + seed)
    maker = _Maker(schema, chance)
    for number in range(count):
        value = maker.make(schema, 0)
        for _ in range(0 if number % 2 else chance.randint(1, 3)):
            value = _spoilt(value, chance)
        yield value


class _Maker:
    def __init__(self, root: dict[str, Any], chance: random.Random) -> None:
        self._root = root
        self._chance = chance

    def make(self, schema: Any, depth: int) -> Any:
        chance = self._chance
        if not isinstance(schema, dict) or not schema:
            return anything(chance)
        schema = self._flat(schema, depth)
        if "const" in schema:
            return copy.deepcopy(schema["const"])
        if "enum" in schema:
            return copy.deepcopy(chance.choice(schema["enum"]))
        kind = schema.get("type") or self._guess(schema)
        kind = chance.choice(kind) if isinstance(kind, list) else kind
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return int(self._number(schema))
            case "number":
                return self._number(schema)
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
        return anything(chance)

    def _flat(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """One branch of each selector taken, and all that speaks about the value in one."""
        found: dict[str, Any] = {}
        parts = [schema]
        seen = set()
        while parts:
            part = parts.pop(0)
            if not isinstance(part, dict) or id(part) in seen:
                continue
            seen.add(id(part))
            parts += [look_up(self._root, part["$ref"])] if "$ref" in part else []
            parts += part.get("allOf", [])
            for word in ("oneOf", "anyOf"):
                if word in part:
                    # Deep down the first branch, which ends a recursion.
                    parts.append(part[word][0] if depth > 3 else self._chance.choice(part[word]))
            parts += [
                part[w] for w in ("then", "else") if w in part and self._chance.random() < 0.6
            ]
            for word in ("dependentSchemas", "dependencies"):
                for below in part.get(word, {}).values():
                    parts += [below] if isinstance(below, dict) else []
            for word, value in part.items():
                if word in ("properties", "patternProperties") and word in found:
                    both = {k: {"allOf": [found[word][k], v]} if k in found[word] else v
                            for k, v in value.items()}  # fmt: skip
                    found[word] = {**found[word], **both}
                elif word == "required" and word in found:
                    found[word] = [*found[word], *value]
                else:
                    found.setdefault(word, value)
        return found

    def _guess(self, schema: dict[str, Any]) -> str | None:
        for words, kind in (
            (("properties", "additionalProperties", "required"), "object"),
            (("items", "prefixItems"), "array"),
            (("minLength", "pattern"), "string"),
            (("minimum", "maximum", "multipleOf"), "number"),
        ):
            if any(word in schema for word in words):
                return kind
        return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        chance = self._chance
        found: dict[str, Any] = {}
        needed = schema.get("required", [])
        for key, below in schema.get("properties", {}).items():
            if below is not False and (
                key in needed or (depth < MAX_DEPTH and chance.random() < 0.6)
            ):
                found[key] = self.make(below, depth + 1)
        for key in needed:
            if key not in found:
                found[key] = anything(chance)
        more = schema.get("additionalProperties")
        names = schema.get("propertyNames", {})
        if isinstance(more, dict) or more is True or schema.get("patternProperties"):
            for _ in range(chance.randint(0, 3)):
                # No empty keys: the validator's library leaves them out of its pointers.
                key = chance.choice(names.get("enum", WORDS[1:]))
                patterns = list(schema.get("patternProperties", {}).values())
                below = chance.choice(patterns) if patterns else more
                found.setdefault(key, self.make(below, depth + 1))
        return found

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix = schema.get("prefixItems", [])
        low = schema.get("minItems", 0)
        high = schema.get("maxItems", max(low, 0 if depth > MAX_DEPTH else 3))
        found = [self.make(below, depth + 1) for below in prefix]
        if schema.get("items") is False:
            return found[: self._chance.randint(min(low, len(found)), len(found))]
        while len(found) < self._chance.randint(low, max(low, high)):
            found.append(self.make(schema.get("items", True), depth + 1))
        return found

    def _string(self, schema: dict[str, Any]) -> str:
        chance = self._chance
        if schema.get("examples") and chance.random() < 0.7:
            return str(chance.choice(schema["examples"]))
        word = chance.choice(WORDS)
        word += "k" * max(0, schema.get("minLength", 0) - len(word))
        return word[: schema.get("maxLength", 1000)]

    def _number(self, schema: dict[str, Any]) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -100))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 100))
        fitting = [n for n in NUMBERS if low <= n <= high and n % schema.get("multipleOf", 1) == 0]
        return self._chance.choice(fitting or NUMBERS)


def anything(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    leaves: list[Any] = [None, True, False, chance.choice(NUMBERS), chance.choice(WORDS)]
    match chance.randint(0, 9 if depth < 3 else 7):
        case 8:
            return [anything(chance, depth + 1) for _ in range(chance.randint(0, 3))]
        case 9:
            return {chance.choice(WORDS[1:]): anything(chance, depth + 1) for _ in range(2)}
    return chance.choice(leaves)


def _spoilt(value: Any, chance: random.Random) -> Any:
    """The value with one part changed, added or taken away, somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        match chance.randint(0, 5):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, chance.choice(WORDS[1:]): anything(chance)}
        return {**value, key: _spoilt(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        match chance.randint(0, 5):
            case 0:
                return value[:index] + value[index + 1 :]
            case 1:
                return [*value, copy.deepcopy(value[index])]
        return [*value[:index], _spoilt(value[index], chance), *value[index + 1 :]]
    return anything(chance)


# Forms read back

ABSENT = object()


def rebuilt(node: dict[str, Any]) -> Any:
    """The value that a described node stands for, from nothing but the node."""
    if not node.get("isSet"):
        return ABSENT
    if node.get("isNull"):
        return None
    match node["kind"]:
        case "variant":
            return rebuilt(node["body"])
        case "group":
            below = {**node["fields"], **node["unknown"]}
            pairs = {key: rebuilt(child) for key, child in below.items()}
            return {key: value for key, value in pairs.items() if value is not ABSENT}
        case "map":
            return {key: rebuilt(child) for key, child in node["entries"].items()}
        case "list":
            return [rebuilt(node["items"][str(index)]) for index in range(node["count"])]
    return node["value"] if "value" in node else json.loads(node["text"])


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node and all below it."""
    yield node
    for word in ("fields", "unknown", "entries", "items"):
        for child in node.get(word, {}).values():
            yield from nodes(child)
    if "body" in node:
        yield from nodes(node["body"])
