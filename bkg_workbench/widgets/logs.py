"""The live log: batches of records to a virtual list in the page.

Owns what travels between kernel and page: the newest records on a page's `hello`, then a batch each
redraw, bounded, with every line counted that the page is not given (`widgets.tally`). Filters,
colours and scrolling are the page's (`static/log*.js`); older records and downloads are
`widgets.logreader`'s.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import anywidget
import traitlets

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.following import Following
from bkg_workbench.widgets.live import serve_while_computing, text
from bkg_workbench.widgets.logreader import LogReader, encoded, row
from bkg_workbench.widgets.tally import Said, Tally

PENDING = 20_000
"""Records that wait for the next batch; beyond, the oldest are dropped and counted."""
BATCH = 5_000
"""A batch ends with the piece that reaches so many records."""
BACKLOG = 2_000
"""Records that a page gets when it says hello."""
LINES = 100_000
"""Records that the page keeps."""

SCRIPTS = (
    "logstore.js",
    "logfilter.js",
    "logsift.js",
    "loglines.js",
    "logparts.js",
    "logfile.js",
    "logbar.js",
    "logview.js",
    "logchosen.js",
    "logs.js",
)


class _Piece(NamedTuple):
    plugin: str
    rows: list[list[Any]]
    said: Said


class LogTail(anywidget.AnyWidget):
    """A live log of the workspace, or of one plug-in.

    Nothing is sent before a page says `hello {after, token}`, where `after` has the number of the
    last line that it was given of each plug-in; it is answered with `backlog`, and `batch`es
    follow. After a pause `resync` makes each page say hello again. Both bear `said {plugin: [seq,
    lines, first]}` (see `Said`), so that a page knows what it was not given, however that came
    about. Records are arrays of seq, at (ms), plugin, source, level, message, as JSON in the
    message's first buffer.
    """

    _esm = "\n".join(text(name) for name in SCRIPTS)
    _css = text("logs.css")

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    only = traitlets.Unicode("").tag(sync=True)
    lines = traitlets.Int(LINES).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)

    def __init__(self, bench: Bench, *, plugin: str | None = None, height: int = 360) -> None:
        super().__init__(only=plugin or "", height=height)
        self._bench = bench
        self._plugin = plugin
        self._lock = threading.Lock()
        self._pending: deque[_Piece] = deque()
        self._waiting = 0
        self._tally = Tally()
        self._passed: dict[str, Said] = {}
        self._untold: dict[str, Said] = {}
        self._hellos: dict[Any, dict[str, Any]] = {}
        self._listeners = False
        self._paused = False
        self._reader = LogReader(bench, plugin, self._post)
        self.on_msg(self._on_message)
        serve_while_computing(self)
        self.wake: Callable[[], None] = _nothing
        topic = f"logs.{plugin}" if plugin else "logs"
        self._following = Following(bench, [topic], self._on_batch)

    def end(self) -> None:
        """End the subscription; what is on the page stays. A second call does nothing."""
        self._following.close()
        self._reader.close()

    def close(self) -> None:
        """End the subscription and the widget. A second call does nothing."""
        self.end()
        super().close()

    def show_names(self, names: list[str]) -> None:
        """The plug-ins that the page offers to choose from."""
        if self.names != names:
            self.names = names

    def settle(self) -> None:
        """Wait until what pages asked of older records is answered (for tests)."""
        self._reader.settle()

    def pause(self) -> None:
        """Nobody looks: drop what waits. The next `step` with somebody there resynchronises."""
        with self._lock:
            self._let_go(0)
        self._paused = self._listeners

    def step(self) -> bool:
        """Send what is due. True if more waits already."""
        if self._following.mend() or self._paused:
            self._paused = False
            self._post({"kind": "resync"}, [])
        rows, said, more = self._take()
        if self._listeners and said:
            # In the order of their numbers: the Host tells plug-in by plug-in.
            rows.sort(key=_number)
            self._post({"kind": "batch", "said": said}, rows)
        with self._lock:
            hellos, self._hellos = self._hellos, {}
        for hello in hellos.values():
            self._answer(hello)
        return more

    def _take(self) -> tuple[list[list[Any]], dict[str, Said], bool]:
        rows: list[list[Any]] = []
        with self._lock:
            if not self._listeners:
                self._let_go(0)
            while self._pending and len(rows) < BATCH:
                piece = self._pending.popleft()
                rows += piece.rows
                self._pass(piece)
            said, self._untold = self._untold, {}
            return rows, said, bool(self._pending)

    def _let_go(self, keep: int) -> None:
        """Drop the oldest pieces until at most `keep` records wait. Their `said` is told."""
        while self._pending and self._waiting > keep:
            self._pass(self._pending.popleft())

    def _pass(self, piece: _Piece) -> None:
        self._waiting -= len(piece.rows)
        self._passed[piece.plugin] = self._untold[piece.plugin] = piece.said

    def _answer(self, hello: dict[str, Any]) -> None:
        after = hello.get("after")
        after = after if isinstance(after, dict) else {}
        floor = hello.get("floor")
        floor = floor if isinstance(floor, int) else 0
        is_known = True
        try:
            found = self._bench.logs(self._plugin, limit=BACKLOG)
        except WorkbenchError:  # the Host is out of reach; the page says so, the log stays as it is
            found, is_known = [], False
        rows = [row(r) for r in found if int(r.get("seq", 0)) > after.get(r["plugin"], floor)]
        self._listeners = True
        content = {
            "kind": "backlog",
            "token": hello.get("token"),
            "said": dict(self._passed),
            "whole": is_known and len(found) < BACKLOG,
        }
        self._post(content, rows)

    def _post(self, content: dict[str, Any], records: list[Any]) -> None:
        send: Any = self.send  # untyped in ipywidgets
        send(content, buffers=[encoded(records)])

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict):
            return
        if content.get("kind") == "hello":
            with self._lock:
                self._hellos[str(content.get("token"))] = content
            self.wake()
        elif content.get("kind") in ("older", "piece"):
            self._reader.ask(content)

    def _on_batch(self, data: Any) -> None:
        rows = [row(record) for record in data.get("records", ())]
        plugin = data.get("plugin") or (rows[-1][2] if rows else self._plugin)
        if not plugin:
            return
        with self._lock:
            said = self._tally.count(
                plugin,
                int(data.get("from") or 0),
                int(data.get("to") or 0),
                len(rows) + int(data.get("dropped") or 0),
                data.get("total"),
                self._bench.state.instance,
            )
            self._pending.append(_Piece(plugin, rows, said))
            self._waiting += len(rows)
            if self._waiting > PENDING:
                self._let_go(PENDING)
        self.wake()


def _number(record: list[Any]) -> int:
    return int(record[0])


def _nothing() -> None:
    return None
