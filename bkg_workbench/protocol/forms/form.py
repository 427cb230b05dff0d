"""A form: a schema, a value, and the edits that somebody makes.

Owns the state of one form and what is told of it. How it is drawn is not its matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bkg_workbench.protocol.forms import limits
from bkg_workbench.protocol.forms.edits import (
    Edit,
    Refused,
    State,
    check_edit,
    edited,
    edited_as_text,
)
from bkg_workbench.protocol.forms.nodes import Description, Node, TooLarge, pretty
from bkg_workbench.protocol.forms.outline import Outline, outline
from bkg_workbench.protocol.forms.verdict import judge
from bkg_workbench.protocol.masks import mask
from bkg_workbench.protocol.references import Schema, SchemaInvalid
from bkg_workbench.protocol.validation import Errors
from bkg_workbench.protocol.values import is_same, merge

MAX_UNDO = 100


class Form:
    """One form. `schema` and `value` are plain JSON; neither is ever changed.

    A schema that no form can draw, or that cannot be used at all, gives a single JSON node and a
    notice. `inherited` is what counts where the value says nothing: it is shown as the default, and
    both together are what must be valid. Not to be shared between threads.
    """

    def __init__(
        self, schema: Schema | None, value: Any, *, inherited: dict[str, Any] | None = None
    ) -> None:
        self._schema: Schema = schema or {}
        self._inherited = inherited
        if inherited is not None:
            self._schema = {**self._schema, "default": inherited}
        self._notice: str | None = None
        self._refused: Errors = {}
        self._outline: Outline | None = None
        try:
            self._outline = outline(self._schema)
            limits.check(self._outline)
        except SchemaInvalid as error:
            self._notice = f"No form can be made of this schema: {error.facts['reason']}."
        self.reset(value)

    @property
    def value(self) -> Any:
        """The value as edited so far; never to be changed in place."""
        return self._state.value

    @property
    def errors(self) -> Errors:
        """{JSON pointer: a short sentence}; the last edit's refusal among them."""
        return {**self._judged(), **self._refused}

    @property
    def is_valid(self) -> bool:
        """Whether the value may be saved; a schema that cannot be used forbids nothing."""
        return not self._judged()

    @property
    def is_dirty(self) -> bool:
        """Whether the value differs from the one that the form began with."""
        return bool(self._state.drafts) or not is_same(self._state.value, self._begun)

    def reset(self, value: Any) -> None:
        """Begin anew with another value."""
        self._begun = value
        self._past: list[State] = []
        self._enter(State(value))

    def apply(self, edit: Edit) -> None:
        """Make one edit of the page.

        What a person may do wrong becomes an error on the pointer. Raises ValueError for an edit
        that is malformed; the form stays as it is.
        """
        check_edit(edit)
        try:
            if self._notice is None and self._outline is not None:
                state = edited(self._outline, self._state, edit)
            else:
                state = edited_as_text(self._schema, self._state, edit)
        except Refused as refusal:
            self._refused = {str(edit["at"]): str(refusal)}
            return
        if state is not self._state:
            self._past = [*self._past[1 - MAX_UNDO :], self._state]
        self._enter(state)

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        self._refused = {}
        if not self._past:
            return False
        self._enter(self._past.pop())
        return True

    def describe(self) -> Node:
        """The neutral form description: plain data, equal for an equal state."""
        errors = self.errors
        notice = self._notice
        root: Node | None = None
        if notice is None and self._outline is not None:
            state = self._state
            walk = Description(self._outline, state.value, state.chosen, state.drafts, errors)
            try:
                root = walk.root()
            except TooLarge as error:
                notice = str(error)
        whole: Node = {"root": root or self._as_json(errors), "errors": errors}
        if notice is not None:
            whole["notice"] = f"{notice} Edit it as JSON."
        whole["isDirty"] = self.is_dirty
        whole["isValid"] = self.is_valid
        return whole

    def _enter(self, state: State) -> None:
        self._state = state
        self._refused = {}
        self._found: Errors | None = None

    def _judged(self) -> Errors:
        if self._found is None:
            state = self._state
            if self._inherited is not None:
                state = replace(state, value=merge(self._inherited, state.value))
            self._found = judge(self._outline, state)
        return self._found

    def _as_json(self, errors: Errors) -> Node:
        value, drafts = self._state.value, self._state.drafts
        node: Node = {"kind": "json", "at": "", "isSet": True, "required": True}
        title = self._schema.get("title")
        if isinstance(title, str) and title:
            node["title"] = title[:200]
        if value is None:
            node["isNull"] = True
        node["text"] = drafts.get("") or pretty(mask(self._schema, value))
        where = next(iter(errors), None)
        if where is not None:
            node["error"] = f"{where} {errors[where]}".strip()
        return node
