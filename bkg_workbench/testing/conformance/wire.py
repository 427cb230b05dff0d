"""One connection of the plug-in under test: what was sent, what came, and what is wrong with it.

Owns the strict reading of frames: each is judged when it comes, and each question keeps its
answers. Does not own processes, nor what a check makes of it all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed
from bkg_workbench.errors import ProtocolError
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.envelopes import (
    AnyEnvelope,
    Cancel,
    Chunk,
    Health,
    Log,
    Progress,
    Register,
    Request,
    Response,
    Telemetry,
    decode,
)

LEVELS = ("debug", "info", "warn", "error")
SHOWN_CHARACTERS = 160
MAX_PROBLEMS = 20
"""How many of a kind are kept."""
ADDITIVE = (Chunk, Progress, Cancel)

Kind = Literal["envelope", "register", "addition", "answer", "stream", "log", "telemetry", "asking"]


@dataclass(frozen=True)
class Problem:
    """Something that came and may not come so."""

    kind: Kind
    text: str


@dataclass
class Question:
    """One request of ours, and all that came for it."""

    request_id: str
    capability: str
    shown: str
    stream: bool = False
    chunks: list[Chunk] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)

    @property
    def is_answered(self) -> bool:
        """Whether a response has come."""
        return bool(self.responses)


class Wire:
    """The Host's end of one connection. `now` gives seconds; `problems` is shared by all wires."""

    def __init__(
        self, channel: Channel, name: str, problems: list[Problem], now: Callable[[], float]
    ) -> None:
        self.channel, self.name, self.problems, self.now = channel, name, problems, now
        self.opened = now()
        self.first: bytes | None = None
        self.first_at: float | None = None
        self.first_problem: str | None = None
        self.register: Register | None = None
        self.welcomed = False
        self.beats: list[tuple[float, Health]] = []
        self.seen = {"log": 0, "telemetry": 0, "request": 0}
        self.questions: dict[str, Question] = {}
        self.closed: ChannelClosed | None = None
        self._changed = asyncio.Event()
        self._asked: set[str] = set()
        self._ids = 0

    @property
    def protocol(self) -> int:
        """What the plug-in registered with; 0 before."""
        return self.register.protocol if self.register else 0

    async def listen(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                frame = await self.channel.receive()
                if self.first is None:
                    self.first, self.first_at = frame, self.now()
                    self._introduced(frame)
                else:
                    await self._received(frame)
                self._changed.set()
        except ChannelClosed as closed:
            self.closed = closed
            self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether `condition` came true in time; the end of the connection ends the waiting."""
        end = self.now() + seconds
        while not condition():
            left = end - self.now()
            if left <= 0 or self.closed:
                return condition()
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return condition()
        return True

    # -- sending --------------------------------------------------------------------------------
    async def send(self, envelope: dict[str, Any]) -> None:
        """Send one object. Raises `ChannelClosed`."""
        await self.channel.send(json.dumps(envelope, ensure_ascii=False).encode())

    def new_id(self) -> str:
        """A request id that was not used on this connection."""
        self._ids += 1
        return f"c{self._ids}"

    async def ask(
        self, capability: str, fields: dict[str, Any], *, type: str = "request"
    ) -> Question:
        """Send a request (or a `config`), whose further fields are given. Raises `ChannelClosed`"""
        envelope: dict[str, Any] = {"type": type, "requestId": self.new_id()}
        if type == "request":
            envelope["capability"] = capability
        envelope |= fields
        question = Question(
            envelope["requestId"], capability, shown(envelope), bool(fields.get("stream"))
        )
        self.questions[question.request_id] = question
        await self.send(envelope)
        return question

    # -- receiving ------------------------------------------------------------------------------
    def problem(self, kind: Kind, text: str) -> None:
        """Keep what is wrong, each thing once and of each kind the first few."""
        found = Problem(kind, text)
        same = [p for p in self.problems if p.kind == kind]
        if found not in same and len(same) < MAX_PROBLEMS:
            self.problems.append(found)

    def _introduced(self, frame: bytes) -> None:
        try:
            envelope = decode(frame)
        except ProtocolError as error:
            self.first_problem = f"{shown(frame)}, which is not valid: {error}"
            return
        if isinstance(envelope, Register):
            self.register = envelope
            self.channel.limit = REGISTERED_LIMIT
        else:
            self.first_problem = f"{shown(frame)}, which is no register"

    async def _received(self, frame: bytes) -> None:
        try:
            envelope = decode(frame)
        except ProtocolError as error:
            self.problem("envelope", f"{shown(frame)} is not valid: {error}")
            return
        if isinstance(envelope, ADDITIVE):
            self._judge_addition(envelope, frame)
        match envelope:
            case Health():
                self.beats.append((self.now(), envelope))
                self._judge_name(envelope.plugin, frame)
            case Log():
                self.seen["log"] += 1
                self._judge_log(envelope, frame)
            case Telemetry():
                self.seen["telemetry"] += 1
                self._judge_telemetry(envelope, frame)
            case Response():
                self._responded(envelope, frame)
            case Chunk():
                self._streamed(envelope, frame)
            case Progress():
                self._judge_progress(envelope, frame)
            case Request():
                await self._asked_by_plugin(envelope, frame)
            case Cancel():
                if envelope.request_id not in self._asked:
                    self.problem("asking", f"{shown(frame)}, but it never asked that")
            case _:
                self.problem("envelope", f"{shown(frame)}: a plug-in does not send this type")

    def _judge_name(self, name: str, frame: bytes) -> None:
        if name != self.name:
            self.problem("envelope", f"{shown(frame)}: the plug-in's name is {self.name}")

    def _judge_addition(self, envelope: AnyEnvelope, frame: bytes) -> None:
        if self.protocol < 1:
            self.problem("addition", f"{shown(frame)}, without meta.protocol in its register")
        elif not self.welcomed:
            self.problem("addition", f"{shown(frame)}, before it was welcomed")

    def _judge_log(self, log: Log, frame: bytes) -> None:
        self._judge_name(log.plugin, frame)
        if log.level not in LEVELS:
            self.problem("log", f"{shown(frame)}: level is none of {', '.join(LEVELS)}")
        if not _is_time(log.timestamp):
            self.problem(
                "log", f"{shown(frame)}: timestamp is neither milliseconds since 1970 nor ISO 8601"
            )

    def _judge_telemetry(self, sample: Telemetry, frame: bytes) -> None:
        self._judge_name(sample.plugin, frame)
        if sample.cpu is None or sample.mem_bytes is None:
            self.problem("telemetry", f"{shown(frame)}: cpu and mem_bytes are both due")
        fields = json.loads(frame)
        for name, value in fields.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name not in ("type", "plugin") and not is_number:
                self.problem("telemetry", f"{shown(frame)}: {name} is no number")

    def _responded(self, response: Response, frame: bytes) -> None:
        question = self.questions.get(response.request_id)
        if question is None:
            self.problem("answer", f"{shown(frame)}: no request has this requestId")
            return
        question.responses.append(response)
        if len(question.responses) > 1:
            self.problem(
                "answer",
                f"{question.shown} was answered {len(question.responses)} times; last with "
                f"{shown(frame)}",
            )
        if not response.success and not (response.error or "").strip():
            self.problem("answer", f"{shown(frame)}: a failure has a sentence in `error`")

    def _streamed(self, chunk: Chunk, frame: bytes) -> None:
        question = self.questions.get(chunk.request_id)
        if question is None:
            self.problem("stream", f"{shown(frame)}: no request has this requestId")
            return
        due = len(question.chunks)
        question.chunks.append(chunk)
        if not question.stream:
            self.problem("stream", f"{shown(frame)}: {question.shown} did not ask for a stream")
        elif chunk.seq != due:
            self.problem("stream", f"{shown(frame)}: seq {due} was due")
        if question.is_answered:
            self.problem("stream", f"{shown(frame)} came after the response")

    def _judge_progress(self, progress: Progress, frame: bytes) -> None:
        if progress.request_id not in self.questions:
            self.problem("answer", f"{shown(frame)}: no request has this requestId")

    async def _asked_by_plugin(self, request: Request, frame: bytes) -> None:
        """The kit serves nothing: each is answered with the error that a Host would give."""
        self.seen["request"] += 1
        if not is_name(request.capability):
            self.problem("asking", f"{shown(frame)}: that is no capability's name")
        self._asked.add(request.request_id)
        answer: dict[str, Any] = {
            "type": "response",
            "requestId": request.request_id,
            "success": False,
            "error": f"Nobody serves {request.capability} here; this is a conformance run.",
            "code": "capability_not_found",
        }
        await self.send(answer)


def _is_time(value: int | float | str | None) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True
    return 0 <= value <= 2**53


def shown(message: bytes | dict[str, Any]) -> str:
    """A message as it may stand in a sentence: cut, and without control characters."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    if not isinstance(message, bytes) and len(data) <= SHOWN_CHARACTERS:
        data = json.dumps(message, ensure_ascii=False).encode()
    text = data[: 4 * SHOWN_CHARACTERS].decode(errors="replace")
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}… ({len(data)} bytes)"
