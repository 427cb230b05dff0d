"""A panel's way to the page: plain data there, intents back.

Owns the base of the panels that are drawn in the browser: `show` sends what changed as a JSON merge
patch (RFC 7396), `on_intent` gets what the page asks for, `toast` says how it went. Knows no panel;
what is shown is made by pure functions, how it is drawn lies in `static/<panel>.js`.
"""

from __future__ import annotations

import threading
from importlib.resources import files
from typing import Any

import anywidget
import msgspec
import traitlets

STATIC = files("bkg_workbench.widgets") / "static"

Data = dict[str, Any]


def text(name: str) -> str:
    """A file of `static/` as text."""
    return (STATIC / name).read_text("utf-8")


def script(*names: str) -> str:
    """A panel's JavaScript module: the vendored Preact, `live.js`, then `names` of `static/`.

    They share one scope, and the last one has the `export default live(...)`.
    """
    vendored = text("vendor/htm-preact.js")
    runtime = f"const preact = {{}};\n((exports, module) => {{\n{vendored}\n}})(preact, {{}});\n"
    return runtime + "\n".join(text(name) for name in ("live.js", *names))


def style(*names: str) -> str:
    """A panel's stylesheet: `panels.css`, which all panels share, then `names` of `static/`."""
    return "\n".join(text(name) for name in ("panels.css", *names))


def plain(value: Any) -> Any:
    """`value` (dataclasses, structs, tuples) as JSON data, without the fields that are None.

    A merge patch uses null to remove a field, so absent and None are the same on a page.
    """
    return _dense(msgspec.to_builtins(value, str_keys=True))


def _dense(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dense(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_dense(item) for item in value]
    return value


def merge_patch(old: Data, new: Data) -> Data:
    """What turns `old` into `new`, as RFC 7396 has it; empty where they are the same.

    Objects are patched field by field, all else is replaced whole. Neither may hold None.
    """
    patch: Data = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if value is before and key in old:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif key not in old or value != before or type(value) is not type(before):
            patch[key] = value
    return patch


class Live(anywidget.AnyWidget):
    """Shows plain data on any number of pages and hears their intents.

    A subclass sets `_esm = script("its.js")` and `_css = style("its.css")` and overrides
    `on_intent`. The page's copy of the data is numbered: one that missed a patch asks for the
    whole. `show` may be called from any thread.
    """

    view = traitlets.Dict().tag(sync=True)

    def __init__(self, view: Data | None = None, **traits: Any) -> None:
        self._drawing = threading.Lock()
        self._shown: Data = dict(view or {})
        self._number = 0
        self._patch: Data | None = None
        super().__init__(view={"n": 0, "data": self._shown}, **traits)
        self.on_msg(self._on_message)
        serve_while_computing(self)

    @property
    def shown(self) -> Data:
        """What the pages show, as plain data."""
        return self._shown

    def show(self, data: Data) -> bool:
        """Show `data` (see `plain`), sending what changed. True if anything did."""
        with self._drawing:
            patch = merge_patch(self._shown, data)
            if not patch:
                return False
            self._number += 1
            self._shown, self._patch = data, patch
            try:
                self.view = {"n": self._number, "data": data}
            finally:
                self._patch = None
            return True

    def send_state(self, key: Any = None) -> None:
        """As in ipywidgets, but a new view travels as its patch."""
        if key == "view" and self._patch is not None:
            self.post({"kind": "patch", "n": self._number, "patch": self._patch})
        else:
            super().send_state(key)

    def toast(self, sentence: str, tone: str = "ok") -> None:
        """Say on the pages how something went: `tone` is ok, warn, bad or busy."""
        self.post({"kind": "toast", "text": sentence, "tone": tone})

    def post(self, content: Data, buffers: list[bytes] | None = None) -> None:
        """Send a message of the panel's own to its pages."""
        send: Any = self.send  # untyped in ipywidgets
        send(content, buffers=buffers)

    def on_intent(self, intent: Data) -> None:
        """What a page asks for: `intent["verb"]` and what belongs to it. Must return at once.

        Called on whatever thread the message arrives. Overridden by the panel.
        """

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict):
            return
        if content.get("kind") == "whole":
            super().send_state("view")
        elif content.get("kind") == "intent" and isinstance(content.get("verb"), str):
            self.on_intent(content)


def serve_while_computing(widget: Any) -> None:
    """Let the page's messages to `widget` reach the kernel while a cell computes.

    ipykernel 7 routes a message to the thread that last published on the widget's comm, which is
    the one of a computing cell; the page's own choice is a free one. The hook has no public name,
    so where it is missing a click waits for the cell to end.
    """
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default
