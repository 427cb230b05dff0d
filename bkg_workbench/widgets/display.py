"""The control centre of a workbench: inventory, ports and log on one page, and who shows it.

Owns the subscriptions and the redraw of a page, and the hooks by which `bench` shows itself in a
notebook and a dashboard says what is wrong. What is shown is `view.fold`'s; starts no process.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.protocol.state import WorkbenchState
from bkg_workbench.widgets import markup, view, words
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.following import Following
from bkg_workbench.widgets.logs import LogTail
from bkg_workbench.widgets.panels import Inventory, close_all, stylesheet
from bkg_workbench.widgets.presence import Presence
from bkg_workbench.widgets.pulse import Lease, Pulse

PROBLEM_SECONDS = 30.0
"""How long a refused wish stays on the page."""


class ControlCentre(ipywidgets.VBox):
    """The page of a workspace: header, plug-ins with their buttons, ports, live log.

    One model, any number of views. It ends its subscriptions when it is closed or its workbench
    is; in the second case the last that was known stays on the page.

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
        self._bench = bench
        self._now_ms, self._monotonic = now_ms, monotonic
        self._lock = threading.Lock()
        self._samples: dict[str, deque[dict[str, Any]]] = {}
        self._asked: dict[str, view.Verb] = {}
        self._problems: list[tuple[float, view.Banner]] = []
        self._postings: list[threading.Thread] = []
        self._host: dict[str, Any] | None = None
        self._ended = self._closed = False
        self._pulse = Pulse(self.step)
        self.inventory = Inventory(self.ask)
        self.logs = LogTail(bench)
        self.logs.wake = self._pulse.mark
        self.presence = Presence(self._pulse.mark, lease)
        below = ipywidgets.Box([self.logs, self.inventory.ports])
        below.add_class("bkg-below")
        super().__init__([stylesheet(), self.inventory, below, self.presence])
        self.add_class("bkg")
        self._telemetry = Following(bench, ["telemetry"], self._on_sample)
        self._unsubscribe = bench.on_change(lambda _: self._pulse.mark())
        if autostart:
            self._pulse.start()

    def close(self) -> None:
        """End subscriptions, thread and widgets. A second call does nothing."""
        self._end()
        if self._closed:
            return
        self._closed = True
        if _shown.get(self._bench) is self:
            del _shown[self._bench]
        for child in self.children:
            close_all(child)
        super().close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._unsubscribe()
            self._telemetry.close()
            self.logs.end()
            self._pulse.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def ask(self, verb: view.Verb, name: str) -> None:
        """Post a lifecycle wish and return; the page shows the state when it is fact."""
        with self._lock:
            if name in self._asked:
                return
            self._asked[name] = verb
        self._pulse.mark()
        posting = threading.Thread(
            target=self._post, args=(verb, name), name=f"bkg-{verb}", daemon=True
        )
        self._postings = [t for t in self._postings if t.is_alive()] + [posting]
        posting.start()

    def settle(self, timeout: float = 5.0) -> None:
        """Wait, at most `timeout` seconds each, until the wishes so far are posted (for tests)."""
        for posting in self._postings:
            posting.join(timeout)

    def step(self) -> None:
        """Redraw what changed, if somebody looks. Called from one thread at a time."""
        if self._is_bench_closed:
            self.inventory.apply(self.current())
            self._end()
            return
        if not self.presence.lease.held:
            self.logs.pause()
            return
        if self._host is None:
            self._look_back()
        self._telemetry.mend()
        state = self._bench.state
        self.inventory.apply(self.current(state))
        self.logs.show_names(list(state.plugins))
        if self.logs.step():
            self._pulse.mark()

    @property
    def _is_bench_closed(self) -> bool:
        return not self._bench.connected and self._bench.lost is None

    def current(self, state: WorkbenchState | None = None) -> view.View:
        """What the page says now, as plain data."""
        with self._lock:
            self._problems = [p for p in self._problems if p[0] > self._monotonic()]
            samples = {name: tuple(kept) for name, kept in self._samples.items()}
            asked = dict(self._asked)
            problems = [banner for _, banner in self._problems]
        return view.fold(
            state or self._bench.state,
            now_ms=self._now_ms(),
            samples=samples,
            asked=asked,
            problems=problems,
            host=self._host,
            lost=self._bench.lost,
            closed=self._is_bench_closed,
        )

    def _post(self, verb: view.Verb, name: str) -> None:
        try:
            getattr(self._bench, verb)(name, wait=False)
        except WorkbenchError as error:
            banner = view.Banner(f"{verb.capitalize()} {name}: {error}", "bad")
            with self._lock:
                self._problems.append((self._monotonic() + PROBLEM_SECONDS, banner))
        finally:
            with self._lock:
                self._asked.pop(name, None)
            self._pulse.mark()

    def _look_back(self) -> None:
        """Ask once for what came before the subscriptions: who the Host is, and samples."""
        self._host = {}
        try:
            self._host = self._bench.info()
            for sample in self._bench.telemetry(limit=view.POINTS * 10):
                self._keep(sample)
        except WorkbenchError:
            return  # a page without these is whole; `lost` says why there are none

    def _on_sample(self, data: Any) -> None:
        self._keep(data)
        self._pulse.mark()

    def _keep(self, sample: dict[str, Any]) -> None:
        name = sample.get("plugin")
        if isinstance(name, str):
            with self._lock:
                kept = self._samples.setdefault(name, deque(maxlen=view.POINTS))
                kept.append(sample)


_shown: WeakKeyDictionary[Any, ControlCentre] = WeakKeyDictionary()


def display_bench(bench: Bench) -> ControlCentre:
    """The control centre of `bench`: the same model each time, so that any output is a view of it.

    Closed by its own `close` or by that of the workbench.
    """
    centre = _shown.get(bench)
    if centre is None or centre.closed:
        centre = _shown[bench] = ControlCentre(bench)
    return centre


def show(bench: Bench) -> None:
    """Show `bench` where it stands at the end of a cell; in a terminal as text."""
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        widget = display_bench(bench)._repr_mimebundle_()
        display({**widget, "text/plain": text(bench)}, raw=True)  # type: ignore[no-untyped-call]
    else:
        sys.stdout.write(text(bench) + "\n")


def text(bench: Bench) -> str:
    """The workspace as a plain table, for terminals and logs."""
    state = bench.state
    lines = [f"Workbench of {state.workspace} ({bench.lost or 'connected'})"]
    width = max((len(name) for name in state.plugins), default=0)
    lines += [
        f"  {p.name:<{width}}  {p.state:<9}  {p.reason or ''}".rstrip()
        for p in state.plugins.values()
    ]
    lines.append(f"  {words.count(len(state.plugins), 'plug-in')}")
    return "\n".join(lines)


def page(
    connect: Callable[[], Bench], show: Callable[[Bench], Any] = display_bench
) -> ipywidgets.Widget:
    """A dashboard's content: `show(connect())`, or a plain sentence if there is no Host to join."""
    try:
        return show(connect())
    except WorkbenchError as error:
        return Sorry(str(error))


class Sorry(ipywidgets.VBox):
    """A sentence in place of a page, with a way to try again."""

    def __init__(self, sentence: str) -> None:
        body = ipywidgets.HTML(
            f'<div class="bkg-sorry"><h2>BKG Workbench</h2><p>{markup.text(sentence, 1000)}</p>'
            '<p><a class="bkg-again" href="">Try again</a></p></div>'
        )
        super().__init__([stylesheet(), body])
        self.add_class("bkg")
