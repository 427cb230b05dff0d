"""Which schemas a form can draw.

Owns the bounds on depth and number of fields. Which schemas can be used at all is `validation`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bkg_workbench.protocol.forms.keywords import list_of, object_of
from bkg_workbench.protocol.forms.outline import Outline, Place
from bkg_workbench.protocol.references import MAX_DEPTH, Schema, SchemaInvalid, branches

MAX_FIELDS = 500

_SINGLE = ("items", "additionalProperties", "unevaluatedProperties")


def check(outline: Outline) -> None:
    """Raise `SchemaInvalid`, saying why, for a schema that no form can draw.

    What contains itself counts once: it is drawn as far as there are values.
    """
    if outline.unfit is None:
        try:
            _Counter(outline).visit(outline.root, (), 0)
            outline.unfit = ""
        except SchemaInvalid as error:
            outline.unfit = str(error.facts["reason"])
    if outline.unfit:
        raise SchemaInvalid(reason=outline.unfit)


class _Counter:
    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._count = 0

    def visit(self, place: Place, above: tuple[Place, ...], depth: int) -> None:
        self._count += 1
        if place in above:
            return
        if depth > MAX_DEPTH:
            raise SchemaInvalid(reason=f"it nests deeper than {MAX_DEPTH} levels")
        if self._count > MAX_FIELDS + 1:  # the whole is no field
            raise SchemaInvalid(reason=f"it has more than {MAX_FIELDS} fields")
        inside = (*above, place)
        for part in self._outline.plan(place).parts:
            for beside in _beside(part):
                self._count -= 1  # what lies in a branch counts, it itself does not
                self.visit(self._outline.place(beside), inside, depth)
            for below in _below(part):
                self.visit(self._outline.place(below), inside, depth + 1)


def _beside(part: Schema) -> Iterator[Any]:
    yield from branches(part, "oneOf", "anyOf", "if", "then", "else")
    for word in ("dependentSchemas", "dependencies"):
        yield from (below for below in object_of(part, word).values() if isinstance(below, dict))


def _below(part: Schema) -> Iterator[Any]:
    for word in ("properties", "patternProperties"):
        yield from object_of(part, word).values()
    yield from list_of(part, "prefixItems")
    for word in _SINGLE:
        if isinstance(part.get(word), dict):
            yield part[word]
