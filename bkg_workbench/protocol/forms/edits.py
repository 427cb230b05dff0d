"""Edits of a form: each takes a state to the next one, and changes nothing in place.

Owns what each edit means and which are refused, with the sentence that says why. A refused edit
leaves the state as it was. Whether the value is valid afterwards is `verdict`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from bkg_workbench.protocol.forms.coercion import initial, read, unused_choice
from bkg_workbench.protocol.forms.keywords import UNSET, constant
from bkg_workbench.protocol.forms.nodes import escape
from bkg_workbench.protocol.forms.outline import Outline
from bkg_workbench.protocol.forms.reading import Chosen, Spot, find, remember, steps
from bkg_workbench.protocol.forms.switching import switched
from bkg_workbench.protocol.masks import MASK, mask, unmask
from bkg_workbench.protocol.references import Schema
from bkg_workbench.protocol.values import MAX_SETTINGS_DEPTH, is_same, is_too_deep

MAX_TEXT = 1024 * 1024
MAX_KEY = 256

Edit = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """What a form holds: the value, the branches that somebody chose, and unfinished JSON.

    `drafts` are {JSON pointer: the text as it was typed}.
    """

    value: Any
    chosen: Chosen = field(default_factory=dict)
    drafts: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The edit cannot be made; the sentence says why."""


def edited(outline: Outline, state: State, edit: Edit) -> State:
    """The state after an edit.

    Raises `Refused` for what a person may try, and ValueError for what no form would send.
    """
    at = edit["at"]
    spot = find(outline, state.value, at, state.chosen)
    if spot is None:
        raise Refused("is not there any more")
    here: Spot | None = spot
    while here is not None:
        shape = here.seen.variant or here.shape if here.seen else None
        if shape is not None and shape.is_read_only:
            raise Refused("is read-only")
        here = here.above
    return _VERBS[edit["op"]](outline, state, spot, edit)


def edited_as_text(schema: Schema, state: State, edit: Edit) -> State:
    """The state after an edit where there is but one JSON node, at the root."""
    if edit["at"] != "" or edit["op"] not in ("text", "set"):
        raise Refused("can only be edited as JSON")
    if edit["op"] == "set":
        return State(_json(edit["value"]))
    value = _parsed(edit["text"])
    if value is UNSET:
        return _drafted(state, "", edit["text"])
    return State(unmask(schema, value, state.value, keep_unknown=True))


def check_edit(edit: Edit) -> None:
    """Raise ValueError for what no form would send."""
    at, verb = edit.get("at"), edit.get("op")
    if not isinstance(at, str) or (at and not at.startswith("/")):
        raise ValueError(f"an edit needs the JSON pointer `at`, not {at!r}")
    if not isinstance(verb, str) or verb not in _VERBS:
        raise ValueError(f"an edit's `op` is one of {', '.join(_VERBS)}, not {verb!r}")
    wanted: tuple[str, type] | None = _WANTED.get(verb)
    if verb == "set" and "value" not in edit:
        raise ValueError("the edit `set` needs a `value`")
    if wanted is not None:
        word, kind = wanted
        given = edit.get(word)
        if not isinstance(given, kind) or isinstance(given, bool):
            raise ValueError(f"the edit `{verb}` needs `{word}`, a {kind.__name__}")
    if verb == "add" and not isinstance(edit.get("key", ""), str):
        raise ValueError("the edit `add` takes `key`, a str")


# The verbs


def _set(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    return _place(outline, state, spot, _read(outline, spot, _json(edit["value"])))


def _json(value: Any) -> Any:
    """A copy of a JSON value."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError, msgspec.DecodeError):
        raise ValueError("the edit `set` needs a JSON value") from None


def _read(outline: Outline, spot: Spot, value: Any) -> Any:
    """A typed value as its place wants it; `UNSET` where that means that there is none."""
    if spot.shape is None or spot.place is None:
        return value
    seen = read(spot.shape, value)
    if seen is UNSET:
        return value if spot.role == "item" else UNSET
    if value != "" or spot.role == "item":
        return seen
    if spot.shape.kind == "text" and not spot.required:
        wants = "format" in spot.shape.fixed or not _takes(outline, spot, "")
        return UNSET if wants and spot.role == "field" else ""
    return seen


def _takes(outline: Outline, spot: Spot, value: Any) -> bool:
    return spot.shape is not None and all(outline.is_valid(p, value) for p in spot.shape.parts)


def _unset(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    if spot.role == "item":
        raise Refused("cannot be empty; remove the item instead")
    if spot.role == "root":
        return State(initial(outline, outline.root))
    return _place(outline, state, spot, UNSET)


def _add(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    shape, value = spot.shape, spot.value
    if shape is None or spot.place is None:
        raise Refused("takes no more")
    if value is None or value is UNSET:
        if shape.kind not in ("list", "map"):
            return _place(outline, state, spot, initial(outline, spot.place))
        # Saved lists replace the default whole: one more than it, not instead of it.
        begun = shape.default if value is UNSET and isinstance(shape.default, list) else []
        value = begun if shape.kind == "list" else {}
    if shape.kind == "list" and isinstance(value, list):
        if not shape.has_room(len(value)):
            raise Refused(f"takes no more than {len(value)}")
        place = shape.item(len(value))
        item = initial(outline, place)
        found = find(outline, state.value, f"{spot.at}/{len(value)}", state.chosen)
        if found is not None and found.shape is not None and found.shape.kind == "choice":
            unused = unused_choice(found.shape, value)
            item = item if unused is UNSET else unused
        return _place(outline, state, spot, [*value, item], keep=True)
    if shape.kind in ("group", "map") and isinstance(value, dict):
        if not shape.has_room(len(value)):
            raise Refused("takes no more keys")
        key = edit.get("key")
        key = _free_key(value) if key is None else _good_key(key, value)
        if key in shape.fields:
            raise Refused(f"{key!r} is a field already")
        place = shape.further(key) or outline.place(True)
        entry = initial(outline, place)
        return _place(outline, state, spot, {**value, key: entry}, keep=True)
    raise Refused("takes no more")


def _remove(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    above = spot.above
    if above is None:
        return _unset(outline, state, spot, edit)
    if spot.role != "item":
        return _place(outline, state, spot, UNSET)
    if spot.value is UNSET or above.shape is None:
        raise Refused("is not there any more")
    index = int(spot.key)
    if len(above.value) <= above.shape.least:
        raise Refused(f"must stay: the list needs {above.shape.least}")
    rest = [*above.value[:index], *above.value[index + 1 :]]
    order = [*range(index), *range(index + 1, len(above.value))]
    return _reorder(outline, state, above, rest, order)


def _move(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    above, to = spot.above, edit["to"]
    if spot.role != "item" or above is None:
        raise Refused("is no item of a list")
    count, index = len(above.value) if above.value is not UNSET else 0, int(spot.key)
    if not (index < count and 0 <= to < count):
        raise Refused("cannot be moved out of the list")
    order = [*range(index), *range(index + 1, count)]
    order.insert(to, index)
    return _reorder(outline, state, above, [above.value[i] for i in order], order)


def _rename(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    above = spot.above
    if above is None or spot.role not in ("entry", "further", "unknown"):
        raise Refused("has a name of its own")
    if spot.value is UNSET:
        raise Refused("is not there any more")
    if edit["key"] == spot.key:
        return state
    key = _good_key(edit["key"], above.value)
    if above.shape is not None and key in above.shape.fields:
        raise Refused(f"{key!r} is a field already")
    value = {key if k == spot.key else k: v for k, v in above.value.items()}
    renamed = f"{above.at}/{escape(key)}"
    state = _place(outline, state, above, value, keep=True)
    return _moved(state, {spot.at: renamed})


def _choose(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    index, seen = edit["index"], spot.seen
    shape = seen.variant or seen.shape if seen else None
    if shape is None:
        raise Refused("has no choices")
    if shape.kind == "choice":
        choices = [choice for choice in shape.choices if choice is not None]
        if not 0 <= index < len(choices):
            raise Refused("has no such choice")
        return _place(outline, state, spot, choices[index])
    if shape.kind != "variant" or seen is None:
        raise Refused("has no choices")
    if not 0 <= index < len(shape.options):
        raise Refused("has no such choice")
    if index == seen.chosen:
        return state
    option = shape.options[index]
    old = seen.shape if seen.chosen is not None else None
    value = switched(outline, old, option, spot.value)
    state = _place(outline, state, spot, value)
    return replace(state, chosen=remember(state.chosen, spot.at, option))


def _text(outline: Outline, state: State, spot: Spot, edit: Edit) -> State:
    text = edit["text"]
    if not text.strip() and spot.role not in ("root", "item"):
        return _place(outline, state, spot, UNSET)
    value = _parsed(text)
    if value is UNSET:
        return _drafted(state, spot.at, text)
    return _place(outline, state, spot, _unhidden(outline, state, spot, value))


def _parsed(text: str) -> Any:
    """The value of a JSON text; `UNSET` if it is not valid."""
    if len(text) > MAX_TEXT:
        raise Refused("is longer than 1 MiB")
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return UNSET
    if is_too_deep(value):
        raise Refused(f"nests deeper than {MAX_SETTINGS_DEPTH} levels")
    return value


def _unhidden(outline: Outline, state: State, spot: Spot, value: Any) -> Any:
    """What was typed, with the secrets that the text showed as masks."""
    if MASK not in str(value) or is_same(mask(outline.schema, state.value), state.value):
        return value
    whole = _with(outline, state.value, spot, value)
    whole = unmask(outline.schema, whole, state.value, keep_unknown=True)
    for step in steps(spot.at):
        whole = whole[int(step)] if isinstance(whole, list) else whole[step]
    return whole


# How they are carried out


def _place(outline: Outline, state: State, spot: Spot, value: Any, *, keep: bool = False) -> State:
    """The state with `value` at a spot; `keep` what was chosen and typed below it."""
    if value is not UNSET and is_too_deep(value):
        raise Refused(f"nests deeper than {MAX_SETTINGS_DEPTH} levels")
    whole = _with(outline, state.value, spot, value)
    inside = spot.at + "/"

    def stays(at: str) -> bool:
        return at != spot.at and (keep or not at.startswith(inside))

    return State(
        whole,
        {at: v for at, v in state.chosen.items() if stays(at) or (keep and at == spot.at)},
        {at: v for at, v in state.drafts.items() if stays(at)},
    )


def _with(outline: Outline, whole: Any, spot: Spot, value: Any) -> Any:
    """The whole value with another one at a spot; objects on the way are made."""
    above = spot.above
    if above is None:
        return initial(outline, outline.root) if value is UNSET else value
    if spot.role == "item":
        items = list(above.value) if isinstance(above.value, list) else []
        items[int(spot.key) : int(spot.key) + 1] = [value]
        return _with(outline, whole, above, items)
    if value is UNSET and spot.value is UNSET:
        return whole
    if isinstance(above.value, dict):
        changed = {k: v for k, v in above.value.items() if k != spot.key or v is not UNSET}
    else:
        changed = _constants(outline, above)
    if value is UNSET:
        changed.pop(spot.key, None)
    else:
        changed[spot.key] = value
    return _with(outline, whole, above, changed)


def _constants(outline: Outline, spot: Spot) -> dict[str, Any]:
    """What an object begins with when a field in it is set: its required constants."""
    if spot.shape is None:
        return {}
    found = {}
    for key, place in spot.shape.fields.items():
        only = constant(outline.plan(place).parts) if key in spot.shape.required else UNSET
        if only is not UNSET:
            found[key] = only
    return found


def _drafted(state: State, at: str, text: str) -> State:
    return replace(state, drafts={**state.drafts, at: text})


def _reorder(
    outline: Outline, state: State, above: Spot, items: list[Any], order: list[int]
) -> State:
    """The state with a list's items in another order; `order` are their old indices."""
    # A removed item's choices and drafts go to nowhere.
    moved: dict[str, str | None] = {f"{above.at}/{i}": None for i in range(len(above.value))}
    moved |= {f"{above.at}/{old}": f"{above.at}/{new}" for new, old in enumerate(order)}
    return _moved(_place(outline, state, above, items, keep=True), moved)


def _moved(state: State, moved: Mapping[str, str | None]) -> State:
    """The state whose choices and drafts have gone along with what they belong to."""

    def renamed(known: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for at, what in known.items():
            base = next((old for old in moved if at == old or at.startswith(old + "/")), None)
            if base is None:
                found[at] = what
            elif (to := moved[base]) is not None:
                found[to + at[len(base) :]] = what
        return found

    if not state.chosen and not state.drafts:
        return state
    return replace(state, chosen=renamed(state.chosen), drafts=renamed(state.drafts))


def _good_key(key: str, taken: Mapping[str, Any]) -> str:
    if not key:
        raise Refused("needs a name")
    if len(key) > MAX_KEY:
        raise Refused(f"needs a name of at most {MAX_KEY} characters")
    if key in taken:
        raise Refused(f"“{key}” is there already")
    return key


def _free_key(taken: Mapping[str, Any]) -> str:
    names = ("new", *(f"new{n}" for n in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


_VERBS: dict[str, Callable[[Outline, State, Spot, Edit], State]] = {
    "set": _set,
    "unset": _unset,
    "add": _add,
    "remove": _remove,
    "move": _move,
    "rename": _rename,
    "choose": _choose,
    "text": _text,
}
_WANTED: dict[str, tuple[str, type]] = {
    "move": ("to", int),
    "rename": ("key", str),
    "choose": ("index", int),
    "text": ("text", str),
}
