"""A page of panels: what they share of a workbench, when they are redrawn, and how it ends.

Owns the subscriptions to state and telemetry, the redraw thread, the presence of a viewer, the
lifecycle wishes under way, and the threads on which panels' blocking work is done. What a panel
shows is the panel's own matter (`panel.Panel.fold`). Starts no process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.state import WorkbenchState
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.following import Following
from bkg_workbench.widgets.logs import LogTail
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.presence import Presence
from bkg_workbench.widgets.pulse import Lease, Pulse
from bkg_workbench.widgets.wishes import Verb, Wish, outcome, wish

KEPT = 600
"""Telemetry samples of a plug-in that a board keeps."""
LOOK_BACK = 60
"""Samples of each plug-in that a new board asks for."""
MAX_LOOK_BACK = 5000
"""Samples that a new board asks for in all."""

_log = logging.getLogger(__name__)


class Board(ipywidgets.VBox):
    """Panels one below the other, over one workbench.

    One model, any number of views. It ends its subscriptions when it is closed or its workbench
    is; in the second case the last that was known stays on the page. A subclass makes its panels
    and calls `lay` at the end of its `__init__`.

    Parameters: `now_ms` and `monotonic` are the clocks; with `autostart=False` nothing is redrawn
    but by `step()`.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        lease: Lease | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
        autostart: bool = True,
    ) -> None:
        self.bench = bench
        self.children: tuple[ipywidgets.Widget, ...]
        self._now_ms, self._monotonic = now_ms, monotonic
        self._autostart = autostart
        self._lock = threading.Lock()
        self._samples: dict[str, deque[dict[str, Any]]] = {}
        self._asked: dict[str, Verb] = {}
        self._wishes: dict[str, Wish] = {}
        self._postings: list[threading.Thread] = []
        self._host: dict[str, Any] | None = None
        self._ended = self._closed = False
        self._panels: tuple[Panel, ...] = ()
        self._tails: tuple[LogTail, ...] = ()
        self._complained: set[Panel] = set()
        self._pulse = Pulse(self.step)
        self.presence = Presence(self._pulse.mark, lease)
        super().__init__()
        self.add_class("bkg")
        self._telemetry = Following(bench, ["telemetry"], self._on_sample)
        self._unsubscribe = bench.on_change(lambda _: self._pulse.mark())

    # --- what lies on it -----------------------------------------------------------------------

    def lay(self, *children: ipywidgets.Widget) -> None:
        """Make `children` the page's content; panels inside of boxes are found too.

        What lay there before and does not any more is ended and closed.
        """
        before: list[ipywidgets.Widget] = list(self.children)
        inside = [widget for child in children for widget in _all(child)]
        self._panels = tuple(w for w in inside if isinstance(w, Panel))
        self._tails = tuple(w for w in inside if isinstance(w, LogTail))
        for panel in self._panels:
            panel.board = self
        for tail in self._tails:
            tail.wake = self.mark
        self.children = (*children, self.presence)
        for child in before:
            if child is not self.presence and child not in children:
                _end(child)
                close_all(child)
        if self._autostart and not self._ended:
            self._autostart = False
            self._pulse.start()
        self.mark()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The panels on it, in the order in which they are redrawn."""
        return self._panels

    def close(self) -> None:
        """End subscriptions, thread and widgets. A second call does nothing."""
        self._end()
        if self._closed:
            return
        self._closed = True
        for child in self.children:
            close_all(child)
        super().close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._unsubscribe()
            self._telemetry.close()
            for child in self.children:
                _end(child)
            self._pulse.close()

    # --- what panels ask of it -----------------------------------------------------------------

    def mark(self) -> None:
        """Something changed: redraw soon. From any thread."""
        self._pulse.mark()

    def toast(self, sentence: str, tone: str = "ok", panel: Panel | None = None) -> None:
        """Say on the page how something went (see `Live.toast`); by `panel`, if it lies here."""
        speaker = panel if panel in self._panels else next(iter(self._panels), None)
        if speaker is not None and not self._closed:
            speaker.toast(sentence, tone)

    def post(
        self,
        fn: Callable[[], Any],
        *,
        what: str = "",
        done: str | None = None,
        panel: Panel | None = None,
    ) -> None:
        """Run `fn`, which may block, on a thread of its own, and return at once.

        A toast tells of the failure (`what` is its first words), and with `done` of success.
        """
        self._run(lambda: self._carry_out(fn, what, done, panel), what)

    def ask(self, verb: Verb, name: str) -> None:
        """Post a lifecycle wish and return.

        The page shows the state when it is fact, and a toast says so. A wish for a plug-in whose
        last wish the Host has not answered yet is not sent.
        """
        with self._lock:
            if name in self._asked:
                return
            self._asked[name] = verb
            if (plugin := self.bench.state.plugins.get(name)) is not None:
                self._wishes[name] = wish(verb, plugin)
        self.mark()
        self._run(lambda: self._wish(verb, name), f"{verb} {name}")

    def open_plugin(self, name: str) -> None:
        """Show the page of a plug-in, where no address leads there. Nothing by default."""

    def settle(self, timeout: float = 5.0) -> None:
        """Wait, at most `timeout` seconds each, until what was posted is done (for tests)."""
        for posting in self._postings:
            posting.join(timeout)

    # --- redraw --------------------------------------------------------------------------------

    def step(self) -> None:
        """Redraw what changed, if somebody looks. Called from one thread at a time."""
        if self._is_bench_closed:
            self.draw(self.moment())
            self._end()
            return
        if not self.presence.lease.held:
            for part in (*self._panels, *self._tails):
                part.pause()
            return
        if self._host is None:
            self._look_back()
        self._telemetry.mend()
        moment = self.moment()
        self._tell_outcomes(moment.state)
        self.draw(moment)
        self._step_tails(moment.state)

    def draw(self, moment: Moment) -> None:
        """Redraw the panels; one that fails does not hinder the others."""
        for panel in self._panels:
            try:
                panel.step(moment)
                self._complained.discard(panel)
            except Exception:  # a panel may be anybody's
                if panel not in self._complained:
                    _log.warning("%s could not be redrawn", type(panel).__name__, exc_info=True)
                self._complained.add(panel)

    def moment(self) -> Moment:
        """What there is to see now."""
        with self._lock:
            samples = {name: tuple(kept) for name, kept in self._samples.items()}
            asked = dict(self._asked)
        return Moment(
            state=self.bench.state,
            now_ms=self._now_ms(),
            samples=samples,
            asked=asked,
            host=self._host or {},
            lost=self.bench.lost,
            closed=self._is_bench_closed,
        )

    @property
    def _is_bench_closed(self) -> bool:
        return not self.bench.connected and self.bench.lost is None

    def _step_tails(self, state: WorkbenchState) -> None:
        for tail in self._tails:
            tail.show_names(list(state.plugins))
            if tail.step():
                self.mark()

    def _tell_outcomes(self, state: WorkbenchState) -> None:
        with self._lock:
            open_ = [w for name, w in self._wishes.items() if name not in self._asked]
            told = [(w, outcome(w, state.plugins.get(w.plugin))) for w in open_]
            for made, result in told:
                if result is not None:
                    del self._wishes[made.plugin]
        for _, result in told:
            if result is not None and result.text:
                self.toast(result.text, result.tone)

    # --- work on other threads -----------------------------------------------------------------

    def _run(self, fn: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=fn, name=f"bkg-{name}", daemon=True)
        with self._lock:
            self._postings = [t for t in self._postings if t.is_alive()] + [thread]
            thread.start()

    def _carry_out(
        self, fn: Callable[[], Any], what: str, done: str | None, panel: Panel | None
    ) -> None:
        prefix = f"{what}: " if what else ""
        try:
            fn()
        except WorkbenchError as error:
            self.toast(f"{prefix}{error}", "bad", panel)
        except Exception as error:  # a panel may be anybody's, and its thread has no other witness
            _log.warning("%s failed", what or "A panel's work", exc_info=True)
            self.toast(f"{prefix}{type(error).__name__}; the log of the page says more.", "bad")
        else:
            if done is not None:
                self.toast(done, "ok", panel)
        finally:
            self.mark()

    def _wish(self, verb: Verb, name: str) -> None:
        try:
            getattr(self.bench, verb)(name, wait=False)
        except WorkbenchError as error:
            with self._lock:
                self._wishes.pop(name, None)
            self.toast(f"{verb.capitalize()} {name}: {error}", "bad")
        finally:
            with self._lock:
                self._asked.pop(name, None)
            self.mark()

    def _look_back(self) -> None:
        """Ask once for what came before the subscriptions: who the Host is, and samples."""
        self._host = {}
        try:
            self._host = self.bench.info()
            limit = min(MAX_LOOK_BACK, LOOK_BACK * max(10, len(self.bench.state.plugins)))
            past = self.bench.telemetry(limit=limit)
        except WorkbenchError:
            return  # a page without these is whole; `lost` says why there are none
        found: dict[str, list[dict[str, Any]]] = {}
        for sample in past:
            found.setdefault(sample["plugin"], []).append(sample)
        with self._lock:
            for name, older in found.items():
                kept = self._samples.get(name, ())
                # What came meanwhile is among them, and must not be there twice.
                begun = kept[0].get("at", 0) if kept else float("inf")
                before = [s for s in older if s["at"] < begun]
                self._samples[name] = deque((*before, *kept), maxlen=KEPT)

    def _on_sample(self, data: Any) -> None:
        self._keep(data)
        self.mark()

    def _keep(self, sample: dict[str, Any]) -> None:
        name = sample.get("plugin")
        if isinstance(name, str):
            with self._lock:
                self._samples.setdefault(name, deque(maxlen=KEPT)).append(sample)


def close_all(widget: Any) -> None:
    """Close a widget and everything in it; a board closes what lies on it itself."""
    if not isinstance(widget, Board):
        for child in getattr(widget, "children", ()):
            close_all(child)
    widget.close()


def _all(widget: Any) -> Iterator[Any]:
    """A widget and all that lie in it, at any depth; a board of its own has its own panels."""
    yield widget
    if not isinstance(widget, Board):
        for child in getattr(widget, "children", ()):
            yield from _all(child)


def _end(widget: Any) -> None:
    for part in _all(widget):
        if isinstance(part, (Panel, LogTail)):
            part.end()
