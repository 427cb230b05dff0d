"""Drives a page of panels in a test: looks at what it says and presses its buttons.

Owns a board (by default the control centre) that is redrawn only by the pilot, on a clock that the
test moves. Needs the notebook libraries, but neither a kernel nor a browser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets import view
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.display import ControlCentre
from bkg_workbench.widgets.inventory import Inventory
from bkg_workbench.widgets.panel import Panel
from bkg_workbench.widgets.pulse import Lease
from bkg_workbench.widgets.wishes import Verb

P = TypeVar("P", bound=Panel)


class Pilot:
    """The page of `bench` (by default a scripted one), in a test's hands.

        with Pilot() as pilot:
            pilot.bench.define("goose", capabilities=["goose.run"])
            pilot.click("goose", "start")
            assert pilot.bench.intents == [("start", "goose", False)]

    `page` makes the board, which gets the bench and `lease`, `now_ms`, `monotonic`, `autostart`; a
    panel of your own is driven as in

        def page(bench, **how):
            board = Board(bench, **how)
            board.lay(MyPanel())
            return board

        with Pilot(page=page) as pilot:
            pilot.intent(MyPanel, "greet", name="Ada")
            assert pilot.panel(MyPanel).shown["greeted"] == ["Ada"]

    `seconds` is its clock; add to it and `look` again. `toasts` has what the page said of outcomes,
    as (sentence, tone), and `sent` all other messages of the panels, as (panel, content, buffers).
    """

    def __init__(self, bench: Any = None, page: Callable[..., Board] = ControlCentre) -> None:
        self.bench: Any = ScriptedBench() if bench is None else bench
        self.seconds = 1000.0
        self.toasts: list[tuple[str, str]] = []
        self.questions: list[str] = []
        self.sent: list[tuple[Panel, dict[str, Any], list[bytes]]] = []
        self.board = page(
            self.bench,
            lease=Lease(monotonic=self._monotonic),
            now_ms=lambda: NOW + int((self.seconds - 1000.0) * 1000),
            monotonic=self._monotonic,
            autostart=False,
        )
        self._listen()

    def _monotonic(self) -> float:
        return self.seconds

    def look(self) -> view.View:
        """Redraw, and give what the inventory says of the workspace as plain data."""
        self._listen()
        self.board.step()
        return view.fold(self.board.moment())

    def row(self, plugin: str) -> view.Row:
        """What the inventory says of one plug-in. Raises `WorkbenchError` if it is not listed."""
        rows = self.look().rows
        if plugin not in rows:
            raise WorkbenchError(f"The page does not list {plugin}.", plugin=plugin)
        return rows[plugin]

    def panel(self, kind: type[P]) -> P:
        """The page's panel of a class. Raises `WorkbenchError` if there is none."""
        for panel in self.board.panels:
            if isinstance(panel, kind):
                return panel
        there = ", ".join(type(panel).__name__ for panel in self.board.panels)
        raise WorkbenchError(f"The page has no {kind.__name__}, but {there or 'no panel'}.")

    def click(self, plugin: str, verb: Verb, *, confirm: bool = True) -> None:
        """Press a lifecycle button, as a person would.

        One that is greyed out does nothing. Where the page asks first, the question is added to
        `questions` and answered; with `confirm=False` it is not, and nothing is sent. Returns when
        the wish has been posted (or refused: then there is a toast).
        """
        row = self.row(plugin)
        if verb not in row.can:
            return
        if verb in row.asks:
            self.questions.append(f"{verb.capitalize()} {plugin}?")
            if not confirm:
                return
        self.intent(Inventory, verb, plugins=[plugin])

    def intent(self, panel: type[Panel] | Panel, verb: str, /, **fields: Any) -> None:
        """Let a panel's page ask for something; returns when the board's work on it is done."""
        target = panel if isinstance(panel, Panel) else self.panel(panel)
        content = {**fields, "kind": "intent", "verb": verb}
        target._handle_custom_msg(content, [])
        self.board.settle()
        self.look()

    def close(self) -> None:
        """Close the page."""
        self.board.close()

    def _listen(self) -> None:
        for panel in self.board.panels:
            if not hasattr(panel.post, "to"):
                setattr(panel, "post", _Ear(self, panel))  # noqa: B010 - an instance's own

    def __enter__(self) -> Pilot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Ear:
    """Stands in for a panel's `post`, and keeps what it says."""

    def __init__(self, to: Pilot, panel: Panel) -> None:
        self.to, self._panel, self._post = to, panel, panel.post

    def __call__(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if content.get("kind") == "toast":
            self.to.toasts.append((content["text"], content["tone"]))
        elif content.get("kind") != "patch":
            self.to.sent.append((self._panel, content, buffers or []))
        self._post(content, buffers)
