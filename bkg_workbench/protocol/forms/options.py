"""The several forms that a value may take: `oneOf`, `anyOf` and several types.

Owns which of these become a selector, which only a list of choices or "or null", and which branch a
value is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bkg_workbench.protocol.forms.attributes import describe
from bkg_workbench.protocol.forms.keywords import (
    MAX_TITLE,
    UNSET,
    constant,
    is_of,
    merged_choices,
    merged_types,
    object_of,
    show,
)
from bkg_workbench.protocol.forms.outline import NEVER, Outline, Place, Plan, Selector
from bkg_workbench.protocol.forms.shapes import MAX_CHOICES, Option, Shape, begin, finish
from bkg_workbench.protocol.references import Schema
from bkg_workbench.protocol.values import is_same

MAX_OPTIONS = 50

_TYPES: dict[str, Schema] = {
    name: {"type": name} for name in ("string", "number", "integer", "boolean", "object", "array")
}
_TYPE_NAMES = {
    "string": "Text",
    "number": "Number",
    "integer": "Whole number",
    "boolean": "True or false",
    "object": "Object",
    "array": "List",
}
_SHAPING = frozenset({
    "type", "properties", "items", "prefixItems", "const", "enum", "additionalProperties",
    "patternProperties", "format", "title", "if", "oneOf", "anyOf", "unevaluatedProperties",
})  # fmt: skip
"""What gives a value a form. Branches without any of these only bind the one form that there is."""


def settle(outline: Outline, place: Place, value: Any) -> Shape:
    """What a place looks like with this value in it."""
    while True:
        plan = outline.meet(place, value)
        shape = shape_of(outline, plan)
        if shape.place == plan.place:
            return shape
        place = shape.place  # only one branch was left, which may have conditions of its own


def shape_of(outline: Outline, plan: Plan) -> Shape:
    """The shape of a plan, kept with it."""
    if plan.shape is None:
        shape = plan.shape = _make(outline, plan)
        is_fixed = not (plan.conditions or outline.plan(shape.place).conditions)
        plan.always = shape if is_fixed and shape.kind != "variant" else None
    return plan.shape


def _make(outline: Outline, plan: Plan) -> Shape:
    shape = begin(outline, plan)
    if not shape.is_secret:
        only = _select(outline, plan, shape)
        if only is not None:
            return only
    finish(shape)
    describe(shape)
    return shape


def _select(outline: Outline, plan: Plan, shape: Shape) -> Shape | None:
    """Make `shape` a variant or choice where its place has several forms.

    Gives the shape of the only form where all others fall away.
    """
    if shape.choices or any("const" in part for part in plan.parts):
        return None
    for selector in plan.selectors:
        branches = [(n, b) for n, b in enumerate(selector.branches) if b is not NEVER]
        others = [(n, b) for n, b in branches if not _is_null(outline, b)]
        is_open = shape.types is None or "null" in shape.types
        has_null = len(others) < len(branches) and is_open
        if not others or not any(_shapes(outline, b) for _, b in others):
            continue
        if len(others) == 1:
            place = plan.place.with_branch(others[0][1], selector.id, has_null)
            return shape_of(outline, outline.plan(place))
        shape.is_nullable = shape.is_nullable or has_null
        if _make_choice(outline, shape, [branch for _, branch in others]):
            return None
        shape.options = _unlike(_options(outline, plan, selector, others, has_null))
        shape.kind = "variant" if 1 < len(shape.options) <= MAX_OPTIONS else "json"
        return None
    names = (shape.types or frozenset()) - {"null"}
    if len(names) > 1:
        shape.options = [
            Option(_TYPE_NAMES[name], _typed(plan.place, name), type=name)
            for name in _TYPES
            if name in names
        ]
        shape.kind = "variant"
    return None


def _options(
    outline: Outline,
    plan: Plan,
    selector: Selector,
    branches: list[tuple[int, Schema]],
    has_null: bool,
) -> Iterator[Option]:
    """One option a branch; a branch that has options itself gives all of those."""
    for index, branch in branches:
        place = plan.place.with_branch(branch, selector.id, has_null)
        pick = (selector.at, index)
        label = _label(outline, selector, index, branch)
        below = shape_of(outline, outline.plan(place))
        if below.kind != "variant":
            yield Option(label, place, (pick,), (branch,))
            continue
        for option in below.options[: MAX_OPTIONS + 1]:
            yield Option(
                f"{label}: {option.label}" if len(branches) > 1 and label else option.label,
                option.place,
                (pick, *option.picks),
                (branch, *option.branches),
                option.type,
            )


def _typed(place: Place, name: str) -> Place:
    return place._replace(raws=(*place.raws, _TYPES[name]))


def _unlike(options: Iterable[Option]) -> list[Option]:
    """The options with labels that tell them apart."""
    found: list[Option] = []
    seen: dict[str, int] = {}
    for option in options:
        count = seen[option.label] = seen.get(option.label, 0) + 1
        label = option.label if count == 1 else f"{option.label} ({count})"
        found.append(Option(label, option.place, option.picks, option.branches, option.type))
        if len(found) > MAX_OPTIONS:
            break
    return found


def _is_null(outline: Outline, branch: Schema) -> bool:
    parts = outline.plan(outline.place(branch)).parts
    if merged_types(parts) == frozenset({"null"}):
        return True
    return any(p.get("const", 0) is None or p.get("enum") == [None] for p in parts)


def _shapes(outline: Outline, branch: Schema) -> bool:
    return any(not _SHAPING.isdisjoint(part) for part in outline.plan(outline.place(branch)).parts)


def _make_choice(outline: Outline, shape: Shape, branches: list[Schema]) -> bool:
    """Whether each branch is but a list of values; they become the shape's choices then."""
    choices: list[Any] = []
    labels: list[str | None] = []
    for branch in branches:
        parts = outline.plan(outline.place(branch)).parts
        only = constant(parts)
        values = merged_choices(parts) if only is UNSET else [only]
        if not values:
            return False
        title = next((p["title"] for p in parts if isinstance(p.get("title"), str)), None)
        for value in values:
            if not any(is_same(value, known) for known in choices):
                choices.append(value)
                labels.append(title[:MAX_TITLE] if title and len(values) == 1 else None)
    if len(choices) > MAX_CHOICES:
        return False
    shape.choices = choices
    shape.fixed["labels"] = labels
    shape.kind = "choice"
    if any(choice is None for choice in choices):
        shape.is_nullable = True
    return True


def _label(outline: Outline, selector: Selector, index: int, branch: Schema) -> str:
    """What tells a branch from the others: its title, its constant, its name or its type."""
    raw = selector.branches[index]
    parts = outline.plan(outline.place(branch)).parts
    title = next((p["title"] for p in parts if isinstance(p.get("title"), str)), "")
    if title:
        return title[:MAX_TITLE]
    for part in parts:
        for below in object_of(part, "properties").values():
            only = constant(outline.plan(outline.place(below)).parts)
            if isinstance(only, (str, int, float)):
                return show(only)
    name = outline.name_of(raw)
    if name:
        return name[:MAX_TITLE]
    only = constant(parts)
    values = merged_choices(parts) if only is UNSET else [only]
    if values:
        return ", ".join(map(show, values))[:MAX_TITLE]
    form = next((p["format"] for p in parts if isinstance(p.get("format"), str)), "")
    names = [_TYPE_NAMES[t] for t in _TYPES if t in (merged_types(parts) or ())]
    label = " or ".join(names)
    if label:
        return f"{label} ({form})" if form else label
    return f"Option {index + 1}"


def branch_of(
    shape: Shape, value: Any, remembered: tuple[tuple[str, int], ...] | str | None
) -> int:
    """Which option of a variant a value is in.

    The one that somebody chose, else the first that the value is valid for, else the one that it
    looks most like.
    """
    for index, option in enumerate(shape.options):
        if remembered is not None and key_of(option) == remembered:
            return index
    outline = shape.outline
    for index, option in enumerate(shape.options):
        if _is_type(option, value) and all(outline.is_valid(b, value) for b in option.branches):
            return index
    scores = [_likeness(settle(outline, o.place, value), value) for o in shape.options]
    return scores.index(max(scores))


def key_of(option: Option) -> tuple[tuple[str, int], ...] | str:
    """What an option is remembered by."""
    return (*option.picks, (option.type, 0)) if option.type else option.picks


def _is_type(option: Option, value: Any) -> bool:
    return not option.type or is_of(value, option.type)


def _likeness(shape: Shape, value: Any) -> float:
    """How much a value looks like one of this shape; constants of its keys tell most."""
    if value is None or not shape.fits(value):
        return -1000
    if shape.types is not None and not any(is_of(value, name) for name in shape.types):
        return -1000
    if not isinstance(value, dict):
        return 0
    score = 0.0
    for key, place in shape.fields.items():
        if key not in value:
            score -= 0.5 if key in shape.required else 0
            continue
        score += 1
        only = constant(shape.outline.plan(place).parts)
        if only is not UNSET:
            score += 100 if is_same(only, value[key]) else -100
    return score
