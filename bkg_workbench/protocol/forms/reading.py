"""A value seen through a schema: which shape each of its places has, and where an edit points.

Owns the way down from the root along a JSON pointer, and the branches that somebody chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bkg_workbench.protocol.forms.keywords import UNSET
from bkg_workbench.protocol.forms.options import branch_of, key_of, settle
from bkg_workbench.protocol.forms.outline import Outline, Place
from bkg_workbench.protocol.forms.shapes import Option, Shape

Chosen = dict[str, Any]
"""{JSON pointer of a variant: the key of the option that somebody chose}."""


@dataclass(frozen=True, slots=True)
class Look:
    """One place of a value. `variant` and `chosen` are set where it has several forms."""

    shape: Shape
    variant: Shape | None = None
    chosen: int | None = None

    @property
    def option(self) -> Option | None:
        """The option that the value is in."""
        if self.variant is None or self.chosen is None:
            return None
        return self.variant.options[self.chosen]


def look(outline: Outline, place: Place, value: Any, remembered: Any = None) -> Look:
    """What stands at a place with this value in it.

    A variant without a value has no chosen option: `shape` is the variant itself then.
    """
    given = {} if value is UNSET else value
    shape = settle(outline, place, given)
    if shape.kind != "variant":
        return Look(shape)
    if value is UNSET or value is None:
        return Look(shape, shape)
    index = branch_of(shape, value, remembered)
    body = settle(outline, shape.options[index].place, value)
    return Look(body, shape, index)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an edit points. `role` is what it is to its parent."""

    at: str
    value: Any
    role: str
    """root, field, further (described, but not among a group's fields), unknown, entry or item."""
    key: str = ""
    place: Place | None = None
    """None for what no schema describes."""
    seen: Look | None = None
    above: Spot | None = None
    required: bool = False

    @property
    def shape(self) -> Shape | None:
        """The shape of the value's own form; None for what no schema describes."""
        return self.seen.shape if self.seen else None


def steps(at: str) -> list[str]:
    """The keys of a JSON pointer. Raises ValueError for what is none."""
    if at and not at.startswith("/"):
        raise ValueError(f"{at!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in at.split("/")[1:]]


def find(outline: Outline, value: Any, at: str, chosen: Chosen) -> Spot | None:
    """The spot at a JSON pointer, also where no value is yet; None where there can be none."""
    spot = Spot("", value, "root", place=outline.root, required=True,
                seen=look(outline, outline.root, value, chosen.get("")))  # fmt: skip
    for raw, step in zip(at.split("/")[1:], steps(at), strict=True):
        below = _below(outline, spot, raw, step, chosen)
        if below is None:
            return None
        spot = below
    return spot


def _below(outline: Outline, above: Spot, raw: str, key: str, chosen: Chosen) -> Spot | None:
    shape = above.shape
    at = f"{above.at}/{raw}"
    if shape is None or shape.kind not in ("group", "map", "list") or above.value is None:
        return None
    if shape.kind == "list":
        return _item(outline, above, shape, at, key, chosen)
    if above.value is not UNSET and not isinstance(above.value, dict):
        return None
    value = UNSET if above.value is UNSET else above.value.get(key, UNSET)
    place = shape.fields.get(key)
    role = "field"
    if place is None:
        place = shape.further(key)
        if place is None and value is UNSET and key in shape.required_by(above.value):
            place = outline.place(True)
        role = "entry" if shape.kind == "map" else "further" if place else "unknown"
        if place is None and shape.kind == "map":
            place = outline.place(True)
    if place is None:
        return Spot(at, value, role, key, above=above) if value is not UNSET else None
    required = key in shape.required_by(above.value)
    seen = look(outline, place, value, chosen.get(at))
    return Spot(at, value, role, key, place, seen, above, required)


def _item(
    outline: Outline, above: Spot, shape: Shape, at: str, key: str, chosen: Chosen
) -> Spot | None:
    items = [] if above.value is UNSET else above.value
    if not isinstance(items, list) or not (key.isascii() and key.isdecimal()):
        return None
    index = int(key[:9])
    if str(index) != key or index > len(items):
        return None
    value = items[index] if index < len(items) else UNSET
    place = shape.item(index)
    seen = look(outline, place, value, chosen.get(at))
    return Spot(at, value, "item", key, place, seen, above, True)


def remember(chosen: Chosen, at: str, option: Option) -> Chosen:
    """The choices with one more."""
    return {**chosen, at: key_of(option)}
