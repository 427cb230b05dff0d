"""A form on the page: what a `Form` says is drawn, what is typed there goes back to it.

Owns the way between a `Form` (`protocol.forms`, which owns values, errors and what an edit means)
and the pages that show it, and `FormWidget`, a form of its own. A panel with a form among other
things uses `Editing` and `FORM_SCRIPTS`. Knows nothing of settings or capabilities.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bkg_workbench.protocol.forms import Form
from bkg_workbench.widgets.live import Data, Live, script, style

FORM_SCRIPTS = ("form_desk.js", "form_inputs.js", "form_parts.js", "forms.js")
"""For `script(*FORM_SCRIPTS, "its.js")` of a panel whose script uses the component `Form`."""
FORM_STYLES = ("forms.css",)

MAX_PAGES = 16
"""Pages whose latest edit is remembered."""
MAX_EXACT = 2**53
"""Up to here a browser knows every whole number."""


class Editing:
    """A `Form` that pages edit. May be used from any thread.

    Each page numbers its edits; `heard` in the description says how far they came, so that a page
    knows when what it shows is the model's answer.
    """

    def __init__(self, form: Form) -> None:
        self._lock = threading.RLock()
        self._form = form
        self._heard: dict[str, int] = {}
        self.revision = 0
        """Grows with all that may change the description."""

    @property
    def form(self) -> Form:
        """The form that is edited."""
        return self._form

    def replace(self, form: Form) -> None:
        """Edit another form from now on, on the same pages."""
        with self._lock:
            self._form = form
            self.revision += 1

    def reset(self, value: Any) -> None:
        """Begin anew with another value of the same schema."""
        with self._lock:
            self._form.reset(value)
            self.revision += 1

    def put(self, value: Any) -> None:
        """Put another value in place of the one that is edited."""
        with self._lock:
            self._form.apply({"op": "set", "at": "", "value": value})
            self.revision += 1

    def take(self, intent: Mapping[str, Any]) -> bool:
        """Carry out a page's edit, `{edit, page, n}`. False for what is none, or too late.

        An edit is too late when its place has gone meanwhile, because of another page.
        """
        edit, page, number = intent.get("edit"), intent.get("page"), intent.get("n")
        if not isinstance(edit, dict) or not isinstance(page, str) or not isinstance(number, int):
            return False
        with self._lock:
            self.revision += 1
            self._heard.pop(page, None)
            self._heard[page] = number
            while len(self._heard) > MAX_PAGES:
                del self._heard[next(iter(self._heard))]
            try:
                self._form.apply(edit)
            except ValueError:
                return False
            return True

    def describe(
        self, *, errors: Mapping[str, str] | None = None, changed: Iterable[str] = ()
    ) -> Data:
        """The form's description for the page, as plain data.

        `errors` are told beside the form's own; `changed` are pointers of values that differ from
        what is saved.
        """
        with self._lock:
            description: Data = self._form.describe()
            description["heard"] = dict(self._heard)
        marks = set(changed)
        for node in nodes(description["root"]):
            _tidy(node)
            at = node["at"]
            if errors and at in errors and "error" not in node:
                node["error"] = errors[at]
            if at in marks:
                node["changed"] = True
        if errors:
            description["errors"] = {**errors, **description.get("errors", {})}
            description["isValid"] = False
        return description


def nodes(node: Data) -> Iterator[Data]:
    """A node of a description and all that lie in it."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        for inside in ("fields", "items", "entries", "unknown"):
            waiting += here.get(inside, {}).values()
        if "body" in here:
            waiting.append(here["body"])


def _tidy(node: Data) -> None:
    """Make a node fit for a page: no number that a browser would round."""
    for name in ("value", "default"):
        number = node.get(name)
        if isinstance(number, int) and abs(number) > MAX_EXACT:
            node[name] = str(number)


class FormWidget(Live):
    """One form on a page.

        form = Form(schema, value)
        FormWidget(form, on_change=lambda form: print(form.value, form.errors))

    `on_change` is called after each edit, on the thread on which it arrives; it must return soon.
    """

    _esm = script(*FORM_SCRIPTS, "form.js")
    _css = style(*FORM_STYLES)

    def __init__(self, form: Form, on_change: Callable[[Form], Any] | None = None) -> None:
        self.editing = Editing(form)
        self._on_change = on_change
        super().__init__(self.editing.describe())

    @property
    def form(self) -> Form:
        """The form that it shows."""
        return self.editing.form

    def refresh(self) -> None:
        """Show what the form says by now; for changes that did not come from the page."""
        self.show(self.editing.describe())

    def on_intent(self, intent: Data) -> None:
        """An edit of the page."""
        if intent["verb"] != "edit":
            return
        is_taken = self.editing.take(intent)
        self.refresh()
        if is_taken and self._on_change is not None:
            self._on_change(self.form)
