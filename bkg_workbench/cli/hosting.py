"""`bkg host`: the workspace's Host in the foreground.

Owns its signals, what it prints while it runs, and its end: the first Ctrl-C (or SIGTERM, SIGHUP)
closes in order, a second one lets go of everything at once. A signal that was ignored when the
command began (`nohup`, `&` in a script) stays ignored. Output that nobody reads any more ends
nothing.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import msgspec

from bkg_workbench.cli import codes, secret
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.users import waits_for_first_start
from bkg_workbench.cli.words import STATE_STYLES, count, moment
from bkg_workbench.cli.workspaces import show_ports
from bkg_workbench.host.host import Host
from bkg_workbench.protocol.state import Chapter, PluginState, WorkbenchState

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TWICE_SECONDS = 0.5
"""A runner that passes a signal on makes two of one Ctrl-C; what comes so soon is no second one."""

Event = tuple[str, Any]


def host(arguments: argparse.Namespace, console: Console) -> int:
    """Run the Host until a signal or `host.stop` ends it."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    printer = Printer(console)
    bench: Host | None = None
    with _signals(events):
        try:
            bench = Host(arguments.workspace, autostart=not arguments.no_autostart)
            try:
                printer.closing(_serve(bench, arguments.web, events, printer))
            finally:
                bench.close()
        except KeyboardInterrupt:
            _abandon(bench, printer)
    printer.closed()
    return codes.OK


def _serve(bench: Host, web: bool, events: queue.SimpleQueue[Event], printer: Printer) -> str:
    """Print what happens until something asks for the end; gives what that was."""
    pending = threading.Event()

    def on_change(_: WorkbenchState) -> None:
        if not pending.is_set():
            pending.set()
            events.put(("state", None))

    end_changes = bench.on_change(on_change)
    printer.up(bench)
    printer.state(bench.state)
    _in_thread("host-stop", bench.wait_until_stopped, events, "stop")
    if waits_for_first_start(bench) and printer.has_terminal:
        _in_thread("host-first", lambda: _begin_auth(bench), events, "first")
    if web:
        _in_thread("host-web", bench.serve_web, events, "web")
    try:
        while True:
            kind, value = events.get()
            match kind:
                case "state":
                    pending.clear()
                    printer.state(bench.state)
                case "web" if isinstance(value, BaseException):
                    raise value
                case "first" if isinstance(value, str):
                    printer.first(value)
                case "first":
                    pass  # what became of apikeys is printed with its state
                case "web":
                    printer.web(value, bench.ports())
                case "stop":
                    return "asked to stop"
                case _:
                    return str(value)
    finally:
        end_changes()


def _begin_auth(bench: Host) -> str:
    """Let apikeys have its first start; gives the password of its admin."""
    password = secret.generated()
    bench.call("host.auth.begin", {"password": password}, timeout=120)
    return password


def _in_thread(
    name: str, work: Callable[[], Any], events: queue.SimpleQueue[Event], kind: str
) -> None:
    """Wait for `work` in a thread of its own; its result, or error, becomes an event."""

    def run() -> None:
        try:
            result: Any = work()
        except BaseException as error:  # the main thread decides what it means
            result = error
        events.put((kind, result))

    threading.Thread(target=run, name=name, daemon=True).start()


@contextmanager
def _signals(events: queue.SimpleQueue[Event]) -> Iterator[None]:
    """Make an event of the first signal, and of a later one a `KeyboardInterrupt`.

    `SimpleQueue.put` is the one way out of a handler that cannot deadlock with the main thread.
    """
    first: float | None = None

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            events.put(("signal", signal.Signals(number).name))
        elif now - first > TWICE_SECONDS:
            raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in SIGNALS}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, on_signal)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _abandon(bench: Host | None, printer: Printer) -> NoReturn:
    """End this process now; the plug-ins' keepers see it and end theirs."""
    printer.abandoned()
    if bench is not None:
        bench.abandon()
    os._exit(codes.INTERRUPTED)


class Printer:
    """What `bkg host` prints: lines for people, with `--json` one JSON object a line."""

    def __init__(self, console: Console) -> None:
        self._console: Console | None = console
        self._last: dict[str, tuple[Chapter | None, str | None]] = {}
        self._notices: set[str] = set()

    def up(self, bench: Host) -> None:
        """The Host is there."""
        info, ports = bench.info(), bench.ports()

        def say(console: Console) -> None:
            console.line(
                f"BKG Workbench {info['version']}: Host of {info['workspace']}, "
                f"process {info['pid']}",
                "bold",
            )
            show_ports(console, ports)

        self._tell("up", {**info, "ports": ports}, say)

    @property
    def has_terminal(self) -> bool:
        """Whether a person reads along, and nobody keeps what is printed."""
        console = self._console
        return console is not None and console.out.isatty() and not console.is_json

    def first(self, password: str) -> None:
        """The password that was made for the first start, this once."""

        def say(console: Console) -> None:
            console.line()
            console.line("  This is the first start. The gateway's user is `admin`, password:")
            console.line()
            console.line(f"      {password}", "bold")
            console.line()
            console.line("  It is shown this once and written down nowhere: keep it now.")
            console.line("  `bkg users password admin` changes it; ADMIN_PASSWORD, set before a")
            console.line("  first start, chooses it.")
            console.line()

        if self.has_terminal:
            self._tell("first", {}, say)

    def web(self, url: str, ports: list[dict[str, Any]]) -> None:
        """The dashboards are served: the last thing said at start, to be clicked."""

        def say(console: Console) -> None:
            show_ports(console, ports)
            console.line()
            console.line(f"  Control centre: {url}", "bold")
            console.line("  Ctrl-C ends it.")
            console.line()

        self._tell("web", {"url": url, "ports": ports}, say)

    def state(self, state: WorkbenchState) -> None:
        """What is new in the state since the last time."""
        for notice in state.notices:
            if notice.key + notice.text not in self._notices:
                self._notices.add(notice.key + notice.text)
                self._line(
                    "notice", notice.at, notice.level, notice.text, msgspec.to_builtins(notice)
                )
        for name, plugin in state.plugins.items():
            seen, preparing = self._last.get(name, (None, None))
            for chapter in _since(plugin, seen):
                data = {"plugin": name, **_told(chapter)}
                self._line("plugin", chapter.at, name, chapter.state, data, chapter.why)
            if plugin.preparing and plugin.preparing != preparing:
                now = int(time.time() * 1000)
                data = {"plugin": name, "at": now, "line": plugin.preparing}
                self._line("preparing", now, name, plugin.preparing, data)
            last = plugin.story[-1] if plugin.story else seen
            self._last[name] = (last, plugin.preparing)

    def closing(self, why: str) -> None:
        """The end begins."""
        ups = sum(1 for last, _ in self._last.values() if last and last.state != "stopped")
        text = f"Closing ({why}): {count(ups, 'plug-in')} to stop; Ctrl-C again lets go at once."
        self._tell("closing", {"why": why}, lambda console: console.line(text))

    def closed(self) -> None:
        """Everything has ended."""
        self._tell("closed", {}, lambda console: console.line("Closed."))

    def abandoned(self) -> None:
        """It ends at once."""
        text = "Let go at once; what still runs is ended by its keeper within seconds."
        self._tell("abandoned", {}, lambda console: console.note(text))

    def _line(
        self, event: str, at: int, who: str, what: str, data: dict[str, Any], why: str = ""
    ) -> None:
        def say(console: Console) -> None:
            style = STATE_STYLES.get(what)
            console.cells([moment(at), Cell(f"{who:<12}", "cyan"), Cell(what, style), why])

        self._tell(event, data, say)

    def _tell(self, event: str, data: dict[str, Any], say: Callable[[Console], None]) -> None:
        if self._console is None:
            return
        try:
            if self._console.is_json:
                self._console.data({"event": event, **data})
            else:
                say(self._console)
        except OSError:
            # The terminal or the pipe has gone; the Host stays.
            self._console = None


def _told(chapter: Chapter) -> dict[str, Any]:
    told = {"at": chapter.at, "state": chapter.state, "after": chapter.event}
    return {**told, "why": chapter.why} if chapter.why else told


def _since(plugin: PluginState, seen: Chapter | None) -> list[Chapter]:
    """Chapters after `seen` at which the state changed."""
    story = list(plugin.story)
    if seen in story:
        story = story[story.index(seen) + 1 :]
    state = seen.state if seen else "stopped"
    changed = []
    for chapter in story:
        if chapter.state != state:
            changed.append(chapter)
        state = chapter.state
    return changed
