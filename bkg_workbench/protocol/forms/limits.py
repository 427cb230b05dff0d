"""Which schemas a form can draw.

Owns the bounds on depth and number of fields. Which schemas can be used at all is `validation`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bkg_workbench.protocol.forms.outline import Outline, Place
from bkg_workbench.protocol.references import MAX_DEPTH, Schema, SchemaInvalid

MAX_FIELDS = 500

_NAMED = ("properties", "patternProperties", "dependentSchemas", "dependencies")
_LISTED = ("prefixItems",)
_SINGLE = ("items", "additionalProperties", "unevaluatedProperties")
_SAME_PLACE = ("oneOf", "anyOf", "if", "then", "else")


def check(outline: Outline) -> None:
    """Raise `SchemaInvalid`, saying why, for a schema that no form can draw.

    What contains itself counts once: it is drawn as far as there are values.
    """
    _Counter(outline).visit(outline.root, (), 0)


class _Counter:
    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._count = 0

    def visit(self, place: Place, above: tuple[Place, ...], depth: int) -> None:
        if place in above:
            return
        if depth > MAX_DEPTH:
            raise SchemaInvalid(reason=f"it nests deeper than {MAX_DEPTH} levels")
        self._count += 1
        if self._count > MAX_FIELDS + 1:  # the whole is no field
            raise SchemaInvalid(reason=f"it has more than {MAX_FIELDS} fields")
        inside = (*above, place)
        for part in self._outline.plan(place).parts:
            for beside in _beside(part):
                self.visit_same(self._outline.place(beside), inside, depth)
            for below in _below(part):
                self.visit(self._outline.place(below), inside, depth + 1)

    def visit_same(self, place: Place, above: tuple[Place, ...], depth: int) -> None:
        """A branch: what lies in it counts, it itself does not."""
        if place not in above:
            self._count -= 1
            self.visit(place, above, depth)


def _beside(part: Schema) -> Iterator[Any]:
    for word in _SAME_PLACE:
        under = part.get(word)
        yield from under if isinstance(under, list) else [] if under is None else [under]
    for word in ("dependentSchemas", "dependencies"):
        under = part.get(word)
        yield from (
            (b for b in under.values() if isinstance(b, dict)) if isinstance(under, dict) else ()
        )


def _below(part: Schema) -> Iterator[Any]:
    for word in ("properties", "patternProperties"):
        under = part.get(word)
        yield from under.values() if isinstance(under, dict) else ()
    yield from part.get("prefixItems", ())
    for word in _SINGLE:
        if isinstance(part.get(word), dict):
            yield part[word]
