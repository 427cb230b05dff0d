"""One request made from a page: begun on a thread of its own, followed, cancelled, told of.

Owns a run from its click to its end. What its answer looks like is `answers`', where it is shown
`tryit`'s. A run's thread has a loop of its own, so that a cancel reaches the request in the middle
of its waiting.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal

import msgspec

from bkg_workbench.errors import RequestCancelled, WorkbenchError
from bkg_workbench.protocol.envelopes import Progress
from bkg_workbench.protocol.schema import Schema, SchemaInvalid, mask, validate
from bkg_workbench.widgets import answers
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.live import Data

BLOCK = 2_000
"""Characters of one block of a stream's text: a page gets the last block anew with each redraw."""
MAX_BLOCKS = 200
MAX_LINE = 300
"""Characters of a piece, or of what was asked, in one line."""
MAX_KEPT = 5_000
"""Pieces of a stream that are kept for export."""

State = Literal["running", "ok", "failed", "cancelled"]

_log = logging.getLogger(__name__)


class Run:
    """One request: `capability` with `payload`. `schema` is the capability's entry in `meta`.

    `monotonic` and `now_ms` are the clocks; `changed` is called, on any thread, when there is
    something new to show. `timeout` in seconds.
    """

    def __init__(
        self,
        number: int,
        capability: str,
        payload: Any,
        schema: Mapping[str, Any],
        *,
        stream: bool,
        timeout: float,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.number, self.capability, self.payload = number, capability, payload
        self.stream, self.timeout = stream, timeout
        self.state: State = "running"
        self.error: WorkbenchError | None = None
        self.answer: Any = None
        self.pieces: list[Any] = []
        self._schema = schema
        self._asked = _text(mask(schema.get("input"), payload))
        self._monotonic, self._changed = monotonic, changed
        self._lock = threading.Lock()
        self._begun_at, self._begun = now_ms(), monotonic()
        self._seconds: float | None = None
        self._first_seconds: float | None = None
        self._count = self._bytes = 0
        self._blocks: list[str] = []
        self._text_length = 0
        self._progress: Progress | None = None
        self._told: Data = {}
        self._verdict: Data | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_cancelled = False
        self._thread: threading.Thread | None = None

    # --- its life ------------------------------------------------------------------------------

    def start(self, bench: Bench) -> None:
        """Begin, and return at once."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(bench)),
            name=f"bkg-try-{self.capability}",
            daemon=True,
        )
        self._thread.start()

    def cancel(self) -> None:
        """Stop it; the provider is told. From any thread; one that has ended stays as it is."""
        with self._lock:
            self._is_cancelled = True
            if self._task is not None and self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    def join(self, timeout: float = 5.0) -> None:
        """Wait, at most `timeout` seconds, until its thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    async def _run(self, bench: Bench) -> None:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            is_late = self._is_cancelled
        state: State = "failed"
        try:
            if is_late:
                raise asyncio.CancelledError
            await self._ask(bench)
            state = "ok"
        except asyncio.CancelledError:
            state = "cancelled"
            self.error = RequestCancelled(capability=self.capability)
        except WorkbenchError as error:
            self.error = error
        except Exception:  # the page must not wait for ever for what its code failed at
            _log.warning(
                "A run of %s failed in the page's own code", self.capability, exc_info=True
            )
            self.error = WorkbenchError()
        finally:
            with self._lock:
                self._task = None
                self._seconds = self._monotonic() - self._begun
            self._finish(state)
            self._changed()

    async def _ask(self, bench: Bench) -> None:
        if not self.stream:
            self.answer = await bench.acall(
                self.capability,
                self.payload,
                timeout=self.timeout,
                on_progress=self._on_progress,
            )
            return
        pieces: Any = bench.astream(self.capability, self.payload, timeout=self.timeout)
        async with aclosing(pieces):
            async for piece in pieces:
                self._take(piece)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        self._changed()

    def _take(self, piece: Any) -> None:
        text = answers.text_of(piece)
        with self._lock:
            if self._first_seconds is None:
                self._first_seconds = self._monotonic() - self._begun
            self._count += 1
            self._bytes += answers.size(piece)
            if len(self.pieces) < MAX_KEPT:
                self.pieces.append(piece)
            if text:
                self._write(text)
        self._changed()

    def _write(self, text: str) -> None:
        self._text_length += len(text)
        while text and len(self._blocks) <= MAX_BLOCKS:
            if not self._blocks or len(self._blocks[-1]) >= BLOCK:
                self._blocks.append("")
            room = BLOCK - len(self._blocks[-1])
            self._blocks[-1] += text[:room]
            text = text[room:]

    def _finish(self, state: State) -> None:
        """Make what the end needs to say, once."""
        told: Data = {}
        verdict = None
        if state == "ok" and not self.stream:
            self._bytes = answers.size(self.answer)
            told = answers.answer(self.answer)
            verdict = judge(self._schema.get("output"), [self.answer])
        elif self.stream and self.pieces:
            told = answers.answer(self.pieces)
            told["views"] = [v for v in told["views"] if v["kind"] != "text" or not self._blocks]
            verdict = judge(self._schema.get("chunk"), self.pieces)
        for view in told.get("views", ()):
            if view["kind"] == "table":
                place = view["at"].strip("/").replace("/", "-")
                view["table"] = "-".join(filter(None, (self.capability, str(self.number), place)))
        with self._lock:
            self._told, self._verdict, self.state = told, verdict, state

    # --- what is told of it --------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether its end has not come yet."""
        return self.state == "running"

    @property
    def weight(self) -> tuple[int, int]:
        """How many characters a page holds of its answer, and how many bytes the kernel does."""
        shown = len(self._told.get("json", "")) + sum(map(len, self._blocks))
        shown += sum(len(view.get("src", "")) for view in self._told.get("views", ()))
        return shown, self._bytes

    @property
    def pointers(self) -> dict[str, str]:
        """What the answering side found wrong, by pointer into the payload."""
        errors = self.error.facts.get("errors") if self.error is not None else None
        if not isinstance(errors, dict):
            return {}
        return {str(at): str(what) for at, what in errors.items()}

    def table(self, name: str) -> list[dict[str, Any]] | None:
        """The rows of a table of its answer, by the table's name; None where it has none such."""
        for view in self._told.get("views", ()):
            if view.get("table") == name:
                found = answers.at_pointer(self.whole, view["at"])
                return [row for row in found if isinstance(row, dict)]
        return None

    @property
    def whole(self) -> Any:
        """The answer, or the pieces of one that came as a stream."""
        return self.pieces if self.stream else self.answer

    def describe(self) -> Data:
        """The run as plain data for the page. Times in seconds, `at` in ms since 1970."""
        with self._lock:
            data: Data = {
                "id": self.number,
                "capability": self.capability,
                "state": self.state,
                "at": self._begun_at,
                "stream": self.stream,
                "bytes": self._bytes,
                "payload": self._asked,
                **self._told,
            }
            if self._seconds is not None:
                data["seconds"] = round(self._seconds, 4)
            if self.stream:
                self._describe_stream(data)
            if self._progress is not None and self.state == "running":
                data["progress"] = _progress(self._progress)
            if self._verdict is not None:
                data["verdict"] = self._verdict
            if self.error is not None:
                data["error"] = {"code": self.error.code, "text": str(self.error)}
        if self.pointers:
            data["error"]["at"] = self.pointers
        return data

    def _describe_stream(self, data: Data) -> None:
        data["count"] = self._count
        if self._first_seconds is not None:
            data["first"] = round(self._first_seconds, 4)
        if self._blocks:
            data["text"] = {str(n): block for n, block in enumerate(self._blocks)}
            data["blocks"] = len(self._blocks)
            data["textCut"] = sum(map(len, self._blocks)) < self._text_length
        elif self.state == "running":
            # Only the newest are looked at while it runs; each keeps its number, and so its place.
            newest = list(enumerate(self.pieces))[-20:]
            data["latest"] = {str(n): _text(piece) for n, piece in newest}


def judge(schema: Schema | None, values: list[Any]) -> Data | None:
    """Whether values are as their schema says: {ok, problems {pointer: sentence}}; None without."""
    if not isinstance(schema, dict):
        return None
    problems: dict[str, str] = {}
    try:
        for number, value in enumerate(values):
            prefix = "" if len(values) == 1 else f"/{number}"
            problems |= {prefix + at: what for at, what in validate(schema, value).items()}
            if len(problems) >= 20:
                break
    except SchemaInvalid as error:
        return {"ok": False, "problems": {"": str(error)}}
    return {"ok": not problems, "problems": problems}


def _progress(progress: Progress) -> Data:
    found: Data = {"value": progress.value}
    if progress.total:
        found["total"] = progress.total
    if progress.message:
        found["message"] = progress.message[:200]
    return found


def _text(value: Any) -> str:
    """A value as one line of JSON; not as data, in which null would mean absent."""
    text = msgspec.json.encode(answers.pruned(value)[0]).decode()
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"
