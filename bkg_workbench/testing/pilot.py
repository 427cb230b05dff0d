"""Drives the control centre in a test: looks at what it says and presses its buttons.

Owns a `ControlCentre` that is redrawn only by the pilot, on a clock that the test moves. Needs the
notebook libraries, but neither a kernel nor a browser.
"""

from __future__ import annotations

from typing import Any, Literal

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.display import ControlCentre
from bkg_workbench.widgets.pulse import Lease
from bkg_workbench.widgets.view import Row, View


class Pilot:
    """The control centre of `bench` (by default a scripted one), in a test's hands.

        with Pilot() as pilot:
            pilot.bench.define("goose", capabilities=["goose.run"])
            pilot.click("goose", "start")
            assert pilot.bench.intents == [("start", "goose", False)]

    `seconds` is its clock; add to it and `look` again.
    """

    def __init__(self, bench: Any = None) -> None:
        self.bench: Any = ScriptedBench() if bench is None else bench
        self.seconds = 1000.0
        typed: Bench = self.bench
        self.centre = ControlCentre(
            typed,
            lease=Lease(monotonic=self._monotonic),
            now_ms=lambda: NOW + int((self.seconds - 1000.0) * 1000),
            monotonic=self._monotonic,
            autostart=False,
        )

    def _monotonic(self) -> float:
        return self.seconds

    def look(self) -> View:
        """Redraw, and give what the page says as plain data."""
        self.centre.step()
        return self.centre.current()

    def row(self, plugin: str) -> Row:
        """What the page says of one plug-in. Raises `WorkbenchError` where it is not listed."""
        for row in self.look().rows:
            if row.name == plugin:
                return row
        raise WorkbenchError(f"The page does not list {plugin}.", plugin=plugin)

    def click(self, plugin: str, verb: Literal["start", "stop", "restart"]) -> None:
        """Press a lifecycle button, as a person would: one that is greyed out does nothing.

        Returns when the wish has been posted (or refused: then the page has a banner).
        """
        self.row(plugin)
        button = self.centre.inventory.rows[plugin].buttons[verb]
        if button.disabled:
            return
        button.click()
        self.centre.settle()
        self.look()

    def close(self) -> None:
        """Close the page."""
        self.centre.close()

    def __enter__(self) -> Pilot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
