"""What is wrong with a form's value, at the places where a person can mend it.

Owns whose mistakes are told where a value may have several forms, and that an unchanged secret has
none. The mistakes themselves are the validator's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bkg_workbench.protocol.forms.edits import State
from bkg_workbench.protocol.forms.nodes import Description, TooLarge
from bkg_workbench.protocol.forms.outline import Outline
from bkg_workbench.protocol.forms.reading import steps
from bkg_workbench.protocol.masks import MASK
from bkg_workbench.protocol.validation import Errors


def judge(outline: Outline | None, state: State) -> Errors:
    """{JSON pointer: sentence} of the value and of JSON that cannot be read.

    Of a value with a masked secret all is told but what the mask itself would be blamed for.
    """
    errors: Errors = {}
    if outline is not None and not outline.validator.is_valid(state.value):
        errors = _told(outline, state)
    for at, text in state.drafts.items():
        errors[at] = f"is not valid JSON: {_why(text)}"
    return errors


def _told(outline: Outline, state: State) -> Errors:
    if outline.is_simple:
        return outline.validator.errors(state.value)
    walk = Description(outline, state.value, state.chosen, {}, {})
    try:
        walk.root()
    except TooLarge:
        pass  # what it found so far still holds
    picks = walk.picks
    errors = outline.validator.errors(state.value, lambda at, word: picks.get((at, word)))
    return {
        at: sentence
        for at, sentence in errors.items()
        if at not in walk.secrets or _value_at(state.value, at) != MASK
    }


def _value_at(value: Any, at: str) -> Any:
    for step in steps(at):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _why(text: str) -> str:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return str(error).removeprefix("JSON is malformed: ")
    except RecursionError:
        return "it nests too deep"
    return "it cannot be read"
