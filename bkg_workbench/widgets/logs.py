"""The live log: batches of records to a virtual list in the page.

Owns what travels between kernel and page: the newest records on a page's `hello`, then a batch each
redraw, bounded, with what was dropped counted. Filters, colours and scrolling are the page's
(`static/logs.js`); searching older records is `bench.logs`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import anywidget
import msgspec
import traitlets

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.following import Following
from bkg_workbench.widgets.live import STATIC, serve_while_computing
from bkg_workbench.widgets.panels import put

PENDING = 20_000
"""Records that wait for the next batch; beyond, the oldest are dropped and counted."""
BATCH = 5_000
"""Records of one batch."""
BACKLOG = 2_000
"""Records that a page gets when it says hello."""
LINES = 100_000
"""Records that the page keeps."""

_FIELDS = ("seq", "at", "plugin", "source", "level", "message")


class LogTail(anywidget.AnyWidget):
    """A live log of the workspace, or of one plug-in.

    Nothing is sent before a page says `hello {after, token}`; it is answered with `backlog`, and
    `batch`es follow. After a pause `resync` makes each page say hello again. Records are arrays of
    seq, at (ms), plugin, source, level, message, as JSON in the message's first buffer.
    """

    _esm = (STATIC / "logs.js").read_text("utf-8")
    _css = (STATIC / "logs.css").read_text("utf-8")

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    only = traitlets.Unicode("").tag(sync=True)
    lines = traitlets.Int(LINES).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)

    def __init__(self, bench: Bench, *, plugin: str | None = None, height: int = 360) -> None:
        super().__init__(only=plugin or "", height=height)
        self._bench = bench
        self._plugin = plugin
        self._lock = threading.Lock()
        self._pending: deque[list[Any]] = deque()
        self._dropped = 0
        self._hellos: deque[dict[str, Any]] = deque(maxlen=16)
        self._listeners = False
        self._paused = False
        self.on_msg(self._on_message)
        serve_while_computing(self)
        self.wake: Callable[[], None] = _nothing
        topic = f"logs.{plugin}" if plugin else "logs"
        self._following = Following(bench, [topic], self._on_batch)

    def end(self) -> None:
        """End the subscription; what is on the page stays. A second call does nothing."""
        self._following.close()

    def close(self) -> None:
        """End the subscription and the widget. A second call does nothing."""
        self.end()
        super().close()

    def show_names(self, names: list[str]) -> None:
        """The plug-ins that the page offers to choose from."""
        put(self, "names", names)

    def pause(self) -> None:
        """Nobody looks: drop what waits. The next `step` with somebody there resynchronises."""
        with self._lock:
            self._pending.clear()
            self._dropped = 0
            self._paused = self._listeners

    def step(self) -> bool:
        """Send what is due. True if more waits already."""
        if self._following.mend() or self._paused:
            self._paused = False
            self._post({"kind": "resync"}, [])
        while self._hellos:
            self._answer(self._hellos.popleft())
        with self._lock:
            records = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
            dropped, self._dropped = self._dropped, 0
            more = bool(self._pending)
        if self._listeners and (records or dropped):
            self._post({"kind": "batch", "dropped": dropped}, records)
        return more

    def _answer(self, hello: dict[str, Any]) -> None:
        after = hello.get("after")
        after = after if isinstance(after, int) else 0
        try:
            found = self._bench.logs(self._plugin, limit=BACKLOG)
        except (
            WorkbenchError
        ):  # the Host is out of reach; the panel says so, the log stays as it is
            found = []
        records = [_row(r) for r in found if int(r.get("seq", 0)) > after]
        self._listeners = True
        # With one plug-in's log the numbers between its records belong to others.
        whole = self._plugin is None and after > 0 and len(found) >= BACKLOG
        missing = max(0, records[0][0] - after - 1) if whole and records else 0
        content = {"kind": "backlog", "token": hello.get("token"), "after": after}
        self._post({**content, "dropped": missing}, records)

    def _post(self, content: dict[str, Any], records: list[list[Any]]) -> None:
        send: Any = self.send  # untyped in ipywidgets
        send(content, buffers=[msgspec.json.encode(records)])

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("kind") == "hello":
            self._hellos.append(content)
            self.wake()

    def _on_batch(self, data: Any) -> None:
        rows = [_row(record) for record in data.get("records", ())]
        with self._lock:
            self._pending.extend(rows)
            self._dropped += int(data.get("dropped") or 0)
            while len(self._pending) > PENDING:
                self._pending.popleft()
                self._dropped += 1
        self.wake()


def _row(record: dict[str, Any]) -> list[Any]:
    return [record.get(field) for field in _FIELDS]


def _nothing() -> None:
    return None
