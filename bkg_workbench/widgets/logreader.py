"""Older log records for a page: what lies above its first line, and all that match, as a file.

Owns the thread that asks the Host, so that neither the kernel nor the redraw waits. A download is
a chain of the page's own questions, one piece each: a page that is gone, or cancels, asks no more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.widgets.bench import Bench

OLDER = 2_000
"""Records that one scroll to the top loads."""
PIECE = 5_000
"""Records of one piece of a download."""
WAITING = 32
"""Questions that may wait; more are refused."""
FIELDS = ("seq", "at", "plugin", "source", "level", "message")
FILTERS = ("level", "source", "text")

Post = Callable[[dict[str, Any], list[Any]], None]


def row(record: dict[str, Any]) -> list[Any]:
    """A record as it travels in batches: an array of `FIELDS`."""
    return [record.get(field) for field in FIELDS]


class LogReader:
    """Answers `older` and `piece` of the pages of one log, one after the other."""

    def __init__(self, bench: Bench, plugin: str | None, post: Post) -> None:
        self._bench, self._plugin, self._post = bench, plugin, post
        self._asked: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, question: dict[str, Any]) -> None:
        """Take a question and return at once. From any thread."""
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="bkg-log-reader", daemon=True
                )
                self._thread.start()
        try:
            self._asked.put_nowait(question)
        except queue.Full:
            self._refuse(question, "Too much is asked of this log at once; try again.")

    def settle(self) -> None:
        """Wait until every question so far is answered (for tests)."""
        self._asked.join()

    def close(self) -> None:
        """Answer no more. A second call does nothing."""
        with self._lock:
            self._closed, thread = True, self._thread
            self._thread = None
        while thread is not None and thread.is_alive():
            try:
                self._asked.put_nowait(None)
                break
            except queue.Full:
                self._asked.get_nowait()
                self._asked.task_done()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def _run(self) -> None:
        while (question := self._asked.get()) is not None:
            try:
                self._answer(question)
            except WorkbenchError as error:
                self._refuse(question, str(error))
            except (LookupError, TypeError, ValueError):
                self._refuse(question, "The page asked for something that the log has not.")
            finally:
                self._asked.task_done()
        self._asked.task_done()

    def _refuse(self, question: dict[str, Any], sentence: str) -> None:
        kind, token = question.get("kind"), question.get("token")
        self._post({"kind": kind, "token": token, "error": sentence}, [])

    def _answer(self, question: dict[str, Any]) -> None:
        if question["kind"] == "older":
            self._answer_older(question)
        else:
            self._answer_piece(question)

    def _answer_older(self, question: dict[str, Any]) -> None:
        before = int(question["before"])
        found = self._bench.logs(self._plugin, before=before, limit=OLDER)
        content = {"kind": "older", "token": question.get("token"), "whole": len(found) < OLDER}
        self._post(content, [row(record) for record in found])

    def _answer_piece(self, question: dict[str, Any]) -> None:
        """Records after `after` that match, up to what was the newest at the first question."""
        chosen = {k: str(v) for k, v in dict(question.get("filters") or {}).items() if v}
        plugin = self._plugin or chosen.get("plugin")
        filters = {key: chosen[key] for key in FILTERS if key in chosen}
        until, first = question.get("until"), question.get("first")
        if until is None:
            newest = self._bench.logs(plugin, limit=1)
            oldest = self._bench.logs(plugin, after=0, limit=1)
            until = newest[-1]["seq"] if newest else 0
            first = oldest[0]["seq"] if oldest else 0
        until = int(until)
        found = self._bench.logs(plugin, after=int(question["after"]), limit=PIECE, **filters)
        last = found[-1]["seq"] if found else int(question["after"])
        behind = bool(getattr(found, "behind", False))
        is_done = last >= until or (len(found) < PIECE and not behind)
        content = {
            "kind": "piece",
            "token": question.get("token"),
            "next": last,
            "until": until,
            "first": first,
            "done": is_done,
            "behind": behind,
        }
        self._post(content, [record for record in found if record["seq"] <= until])


def encoded(records: list[Any]) -> bytes:
    """Records as the first buffer of a message."""
    return msgspec.json.encode(records)
