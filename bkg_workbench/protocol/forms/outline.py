"""A schema made ready for forms: which of its parts speak about a place of a value.

Owns the following of references, the merging of `allOf`, and which conditions (`if`,
`dependentSchemas`) a value meets. What the parts together look like is `shapes`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bkg_workbench.protocol.references import Schema, SchemaInvalid, look_up
from bkg_workbench.protocol.validation import Validator, part_validator
from bkg_workbench.protocol.values import pointer

if TYPE_CHECKING:
    from bkg_workbench.protocol.forms.shapes import Shape

ANY: Schema = {}
NEVER: Schema = {"not": {}}

_SHELVES = ("/$defs", "/definitions")


class Place(NamedTuple):
    """Where a value may stand: the subschemas that speak about it.

    `taken` are the ids of the selectors (`oneOf` and the like) of which a branch is among `raws`
    already; `nullable` tells that one of those had a branch for null.
    """

    raws: tuple[Schema, ...]
    taken: frozenset[int] = frozenset()
    nullable: bool = False

    def with_branch(self, branch: Schema, selector: int, nullable: bool = False) -> Place:
        """This place with one branch of a selector settled."""
        return Place((*self.raws, branch), self.taken | {selector}, self.nullable or nullable)


@dataclass(frozen=True, slots=True)
class Selector:
    """A `oneOf` or `anyOf`: `at` is its JSON pointer in the schema."""

    id: int
    at: str
    branches: tuple[Schema, ...]


@dataclass(slots=True)
class Plan:
    """What stands at a place before any value is known."""

    place: Place
    parts: tuple[Schema, ...]
    conditions: tuple[Schema, ...]
    selectors: tuple[Selector, ...]
    shape: Shape | None = None
    always: Shape | None = None
    """The shape, if no value changes it."""


class Outline:
    """One schema and all that was found out about it; may be shared between forms and threads.

    Its caches only ever gain equal entries, so that a race does no harm.
    """

    def __init__(self, schema: Schema, *, is_simple: bool = False) -> None:
        """`schema` must never be changed; `is_simple` if it has neither selectors nor secrets.

        Raises `SchemaInvalid` for one not fit for use.
        """
        self.schema = schema
        self.validator = part_validator(schema, "")
        self.is_simple = is_simple
        self.unfit: str | None = None
        """Why no form can be made of it; empty if one can, None before `limits` looked."""
        self.root = self.place(schema)
        self._plans: dict[Any, Plan] = {}
        self._pointers = dict(_pointers(schema))
        self._validators: dict[int, Validator] = {}
        self._patterns: dict[str, Validator] = {}

    def place(self, *raws: Any) -> Place:
        """The place of which these subschemas speak; a bare reference is followed."""
        return Place(tuple(self._plain(raw) for raw in raws))

    def _plain(self, found: Any) -> Schema:
        if not isinstance(found, dict):
            return NEVER if found is False else ANY
        raw: Schema = found
        for _ in range(32):
            if raw.keys() != {"$ref"}:
                break
            raw = self._follow(raw["$ref"])
        return raw

    def _follow(self, target: Any) -> Schema:
        """The subschema of a reference; anything at all where only the validator can follow it."""
        try:
            return look_up(self.schema, target)
        except SchemaInvalid:
            pass  # true, false, or a reference that does not count from the top
        above, _, key = str(target).rpartition("/")
        try:
            shelf = look_up(self.schema, above)
        except SchemaInvalid:
            return ANY
        return NEVER if shelf.get(key) is False else ANY

    def name_of(self, raw: Schema) -> str:
        """The name under which a subschema lies in `$defs`; empty if it does not."""
        above, _, name = self._pointers.get(id(raw), "").rpartition("/")
        return name.replace("~1", "/").replace("~0", "~") if above in _SHELVES else ""

    def meet(self, place: Place, value: Any) -> Plan:
        """What stands at a place with this value in it: what its conditions add is among it."""
        plan = self.plan(place)
        if plan.conditions:
            done: set[int] = set()
            while new := [c for c in plan.conditions if id(c) not in done]:
                done.update(map(id, new))
                met = [part for c in new for part in self._met(c, value)]
                if met:
                    place = place._replace(raws=(*place.raws, *map(self._plain, met)))
                    plan = self.plan(place)
        return plan

    def plan(self, place: Place) -> Plan:
        """What stands at a place, conditions aside."""
        key = (*map(id, place.raws), place.taken, place.nullable)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make_plan(place)
        return plan

    def _make_plan(self, place: Place) -> Plan:
        parts: dict[int, Schema] = {}
        waiting = list(reversed(place.raws))
        while waiting:
            part = self._plain(waiting.pop())
            if id(part) in parts:
                continue
            parts[id(part)] = part
            together = part.get("allOf")
            waiting += reversed(together if isinstance(together, list) else [])
            if "$ref" in part:
                waiting.append(self._follow(part["$ref"]))
        found = tuple(parts.values())
        return Plan(
            place=place,
            parts=found,
            conditions=tuple(part for part in found if _is_conditional(part)),
            selectors=tuple(
                selector
                for part in found
                for selector in self._selectors(part)
                if selector.id not in place.taken
            ),
        )

    def _selectors(self, part: Schema) -> Iterator[Selector]:
        for word in ("oneOf", "anyOf"):
            under = part.get(word)
            if isinstance(under, list) and under:
                at = self._pointers.get(id(part), "") + "/" + word
                yield Selector(id(under), at, tuple(map(self._plain, under)))

    def _met(self, part: Schema, value: Any) -> Iterator[Any]:
        """The subschemas that a part adds because of the value."""
        if "if" in part and ("then" in part or "else" in part):
            branch = part.get("then" if self.is_valid(part["if"], value) else "else")
            if branch is not None:
                yield branch
        if not isinstance(value, dict):
            return
        for word in ("dependentSchemas", "dependencies"):
            under = part.get(word)
            for key, below in under.items() if isinstance(under, dict) else ():
                if key in value and not isinstance(below, list):
                    yield below

    def is_valid(self, raw: Any, value: Any) -> bool:
        """Whether a subschema takes a value."""
        if not isinstance(raw, dict):
            return raw is not False
        validator = self._validators.get(id(raw))
        if validator is None:
            at = self._pointers.get(id(raw))
            if at is None:  # one of ours: ANY or NEVER
                return raw is not NEVER
            try:
                validator = part_validator(self.schema, at)
            except SchemaInvalid:  # the validator never looks there, or the whole would be unfit
                return False
            self._validators[id(raw)] = validator
        return validator.is_valid(value)

    def has(self, pattern: str, text: str) -> bool:
        """Whether `pattern` is found in `text`, by the validator's bounded engine."""
        validator = self._patterns.get(pattern)
        if validator is None:
            validator = self._patterns[pattern] = part_validator({"pattern": pattern}, "")
        return validator.is_valid(text)


def outline(schema: Schema) -> Outline:
    """The outline of a schema, kept by its content.

    Raises `SchemaInvalid` for a schema not fit for use.
    """
    try:
        key = msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaInvalid(reason=f"it has no JSON form ({error})") from None
    return _kept(key)


@functools.lru_cache(maxsize=64)
def _kept(key: bytes) -> Outline:
    schema = msgspec.json.decode(key)
    words = (b'"oneOf"', b'"anyOf"', b'"writeOnly"', b'"password"')
    return Outline(schema, is_simple=not any(word in key for word in words))


def _is_conditional(part: Schema) -> bool:
    return any(word in part for word in ("if", "dependentSchemas", "dependencies"))


def _pointers(schema: Any) -> Iterator[tuple[int, str]]:
    """The JSON pointer of each object of a schema, by its id."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    while waiting:
        here, at = waiting.pop()
        if isinstance(here, dict):
            yield id(here), at
            waiting += [(below, at + pointer(key)) for key, below in here.items()]
        elif isinstance(here, list):
            waiting += [(below, f"{at}/{index}") for index, below in enumerate(here)]
