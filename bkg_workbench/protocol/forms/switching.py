"""From one form of a value to another: what both share is kept.

Owns which parts of a value outlive the choice of another branch of a `oneOf`.
"""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol.forms.coercion import initial_of, number
from bkg_workbench.protocol.forms.keywords import UNSET, constant, is_of, show
from bkg_workbench.protocol.forms.options import settle
from bkg_workbench.protocol.forms.outline import Outline
from bkg_workbench.protocol.forms.shapes import Option, Shape


def switched(outline: Outline, old: Shape | None, option: Option, value: Any) -> Any:
    """The value in its new form.

    An object keeps the fields that both forms have, where their values fit the new one, and the
    keys that neither knows. A number becomes a text, and a text a number, where it is one.
    """
    fresh = initial_of(outline, option)
    new = settle(outline, option.place, fresh)
    if isinstance(value, dict) and isinstance(fresh, dict):
        return {**fresh, **_kept(outline, old, new, value)}
    if value is UNSET or value is None:
        return fresh
    if new.kind in ("integer", "number") and isinstance(value, str):
        found = number(value)
        return fresh if isinstance(found, str) else found
    if new.kind == "text" and isinstance(value, (int, float)):
        return show(value)
    return value if _may_be(new, value) else fresh


def _kept(outline: Outline, old: Shape | None, new: Shape, value: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, below in value.items():
        if key in new.fields:
            place = new.fields[key]
        elif new.is_open and new.further(key) is not None:
            found[key] = below
            continue
        else:
            if old is None or (key not in old.fields and old.further(key) is None):
                found[key] = below
            continue
        parts = outline.plan(place).parts
        if constant(parts) is UNSET and all(_takes_type(part, below) for part in parts):
            found[key] = below
    return found


def _takes_type(part: dict[str, Any], value: Any) -> bool:
    said = part.get("type")
    if "enum" in part and isinstance(part["enum"], list) and value not in part["enum"]:
        return False
    if said is None:
        return True
    return any(is_of(value, name) for name in ([said] if isinstance(said, str) else said))


def _may_be(shape: Shape, value: Any) -> bool:
    if not shape.fits(value):
        return False
    return shape.types is None or any(is_of(value, name) for name in shape.types)
