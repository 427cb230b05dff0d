"""A panel: a view over the workspace's state that posts intents.

Owns what a panel may look at (`Moment`) and the base of all panels (`Panel`). When it is redrawn,
and on which thread its work is done, is the matter of the board that it lies on (`board.Board`).

    class Names(Panel):
        _esm = script("names.js")

        def fold(self, moment: Moment) -> Data:
            return {"names": list(moment.state.plugins)}

        def on_intent(self, intent: Data) -> None:
            self.work(lambda bench: bench.start(intent["plugin"], wait=False), "Start")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bkg_workbench.protocol.state import WorkbenchState
from bkg_workbench.widgets.live import Data, Live
from bkg_workbench.widgets.wishes import Verb

if TYPE_CHECKING:
    from bkg_workbench.widgets.bench import Bench
    from bkg_workbench.widgets.board import Board

Samples = Mapping[str, Sequence[Mapping[str, Any]]]
"""Per plug-in, its latest telemetry samples {plugin, at, cpu, mem_bytes}, oldest first."""


@dataclass(frozen=True)
class Moment:
    """All that a panel may look at; nothing in it changes.

    `now_ms` is in milliseconds since 1970; `asked` are the lifecycle wishes that the Host has not
    answered yet, by plug-in; `host` is the Host's `info`; `lost` says why the Host is out of reach;
    `closed`: the workbench was closed by its owner.
    """

    state: WorkbenchState
    now_ms: int
    samples: Samples = field(default_factory=dict)
    asked: Mapping[str, Verb] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    lost: str | None = None
    closed: bool = False

    @property
    def stale(self) -> bool:
        """Whether what is known is the last that was known, and nothing can be asked for."""
        return self.closed or self.lost is not None


class Panel(Live):
    """Shows `fold(moment)`. A subclass sets `_esm` and `_css` (see `Live`) and overrides `fold`."""

    board: Board | None = None
    """The board it lies on; set by the board."""

    def fold(self, moment: Moment) -> Data:
        """What the page shows of `moment`, as plain data. Pure: no I/O, no clock."""
        return {}

    def step(self, moment: Moment) -> None:
        """Redraw: called by the board, from one thread at a time, when something changed."""
        self.show(self.fold(moment))

    def pause(self) -> None:
        """Nobody looks: no `step` comes until somebody does."""

    def end(self) -> None:
        """End what the panel subscribed to; the page stays. A second call does nothing."""

    def work(self, fn: Callable[[Bench], Any], what: str, *, done: str | None = None) -> None:
        """Run `fn(bench)`, which may block, on a thread of its own, and return at once.

        `what` names the act for the toast of a failure ("Save settings of goose"); `done` is the
        toast of success, if there is to be one. Without a board nothing is done.
        """
        if (board := self.board) is not None:
            board.post(lambda: fn(board.bench), what=what, done=done, panel=self)
