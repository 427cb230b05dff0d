"""What the checks share: the table of them, how one ends, and asking the plug-in.

Owns bringing a plug-in up again where a check has brought it down, so that each check is judged by
itself. Does not own what is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.protocol.envelopes import Register, Response, value
from bkg_workbench.testing.conformance.report import Requirement
from bkg_workbench.testing.conformance.stage import Life, Stage
from bkg_workbench.testing.conformance.wire import Question, Wire, shown

MAX_LIVES = 8
LATE_SECONDS = 2.0
"""What an answer may take beyond the asker's own time."""
GONE_SECONDS = 2.0
"""How long a connection's end waits for the news of the process's."""
UNKNOWN = "conformance.nothing"
"""A capability that nobody has."""


class Failed(Exception):
    """The check failed; the text says what was sent, what came and what was expected."""


class Skipped(Exception):
    """The check does not apply; the text says why."""


CheckFunction = Callable[["Trial"], Awaitable[str | None]]


@dataclass(frozen=True)
class Check:
    """One requirement of docs/protocol.md and the function that tries it."""

    id: str
    title: str
    requirement: Requirement
    function: CheckFunction

    @property
    def area(self) -> str:
        """The first word of the id."""
        return self.id.partition(".")[0]


def check(
    table: list[Check], id: str, title: str, requirement: Requirement = "MUST"
) -> Callable[[CheckFunction], CheckFunction]:
    """Add the decorated function to a table of checks. It gives what it saw, or raises."""

    def add(function: CheckFunction) -> CheckFunction:
        table.append(Check(id, title, requirement, function))
        return function

    return add


def told(*, sent: str | None = None, came: str, expected: str) -> Failed:
    """A failure in the form that all of them have."""
    parts = [f"sent: {sent}"] if sent else []
    return Failed("; ".join([*parts, f"came: {came}", f"expected: {expected}"]))


class Trial:
    """One run: a stage, the lives of the plug-in on it, and the first of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.options = stage, stage.options
        self.lives = 0
        self.first: Life | None = None
        self.ended: list[Life] = []

    # -- lives ----------------------------------------------------------------------------------
    async def begin(self) -> Life:
        """Start a process anew."""
        self.lives += 1
        try:
            life = await self.stage.start()
        except OSError as error:
            raise Failed(f"came: {error}; expected: a process that starts") from None
        self.first = self.first or life
        return life

    async def life(self) -> Life:
        """A process that is registered; another one where the last is no more."""
        life = self.stage.life
        if life is not None and life.exit is None and life.is_usable:
            return life
        if self.first is None or self.first.wire is None or self.first.wire.register is None:
            raise Skipped("it never registered")
        if life is not None:
            await self.finish(life)
        if self.lives >= MAX_LIVES:
            raise Skipped(f"it had gone {self.lives} times already")
        life = await self.begin()
        if not life.is_usable:
            raise told(
                sent="a fresh start, since it had gone",
                came=self.ending(life.wire),
                expected="a register as at the first start",
            )
        return life

    async def finish(self, life: Life) -> None:
        """End a process; what it did to end is kept."""
        await self.stage.end(life)
        self.ended.append(life)
        if self.stage.life is life:
            self.stage.life = None

    async def wire(self) -> Wire:
        """The connection of a registered process."""
        wire = (await self.life()).wire
        assert wire is not None
        return wire

    async def modern(self) -> Wire:
        """The connection of a plug-in that speaks protocol 1. Raises `Skipped` for another."""
        wire = await self.wire()
        if wire.protocol < 1:
            raise Skipped("it registers without meta.protocol, so it never sees this")
        return wire

    def ending(self, wire: Wire | None) -> str:
        """How a connection, or its process, went."""
        life = self.stage.life
        words = []
        if wire is None:
            words.append("no connection")
        elif wire.closed is not None:
            words.append(f"the connection was closed ({wire.closed.code} {wire.closed.reason})")
        else:
            words.append("nothing")
        if life is not None and life.exit is not None:
            words.append(f"the process ended with {life.exit}")
        if self.stage.log:
            words.append(f"its last line: {shown(self.stage.log[-1].encode())}")
        return ", ".join(words)

    # -- asking ---------------------------------------------------------------------------------
    @property
    def register(self) -> Register:
        """What it first registered with. Raises `Skipped` where it never did."""
        wire = self.first.wire if self.first else None
        if wire is None or wire.register is None:
            raise Skipped("it never registered")
        return wire.register

    def schema(self, capability: str) -> dict[str, Any]:
        """What its meta says of a capability."""
        found = (self.register.meta or {}).get("schemas")
        schema = found.get(capability) if isinstance(found, dict) else None
        return schema if isinstance(schema, dict) else {}

    def payload(self, capability: str) -> Any:
        """The sample for a capability, else {}. Raises `Skipped` for one that may do harm."""
        if capability in self.options.samples:
            return self.options.samples[capability]
        if self.schema(capability).get("destructive"):
            raise Skipped(
                f"{capability} is destructive; give --capability {capability} --payload JSON"
            )
        return {}

    def pick(self) -> tuple[str, Any]:
        """The capability that may best be asked often, with a payload. Raises `Skipped`."""

        def rank(name: str) -> tuple[bool, bool]:
            return name not in self.options.samples, not self.schema(name).get("idempotent")

        for name in sorted(self.register.capabilities, key=rank):
            try:
                return name, self.payload(name)
            except Skipped:
                continue
        raise Skipped("it has no capability that may be asked; give --capability and --payload")

    @property
    def patience(self) -> float:
        """How long an answer is awaited, in seconds."""
        return self.options.timeout + LATE_SECONDS

    def timed(self, wire: Wire, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields with a deadline where the plug-in knows what that is."""
        if wire.protocol < 1:
            return fields
        return {"deadlineMs": int(self.options.timeout * 1000), **fields}

    async def ask(self, wire: Wire, capability: str, **fields: Any) -> Question:
        """Send a request; its answer is still to come."""
        try:
            return await wire.ask(capability, self.timed(wire, fields))
        except ChannelClosed:
            # The sender may notice before the reader does.
            await wire.until(lambda: wire.closed is not None, GONE_SECONDS)
            raise told(
                sent=f"a request for {capability}",
                came=await self.gone(wire),
                expected="a connection that stays",
            ) from None

    async def answer(
        self, wire: Wire, question: Question, seconds: float | None = None
    ) -> Response:
        """The response to a question. Raises `Failed` where none comes."""
        seconds = self.patience if seconds is None else seconds
        if not await wire.until(lambda: question.is_answered, seconds):
            raise told(
                sent=question.shown,
                came=f"{await self.gone(wire)} within {seconds:g} s",
                expected="one response with this requestId",
            )
        return question.responses[0]

    async def gone(self, wire: Wire) -> str:
        """Words for a connection that gave no answer; notes the process's end."""
        if wire.closed is not None and self.stage.life is not None:
            await self.stage.until(lambda: False, GONE_SECONDS)
        return self.ending(wire)

    async def lives_on(self, wire: Wire, after: str) -> None:
        """Raise `Failed` unless it still answers after what was done to it."""
        question = await self.ask(wire, UNKNOWN, payload={})
        try:
            await self.answer(wire, question)
        except Failed:
            raise told(
                sent=after,
                came=f"{await self.gone(wire)}; a request afterwards had no answer",
                expected="that it goes on as before",
            ) from None

    async def all_answered(
        self, wire: Wire, questions: Sequence[Question], seconds: float | None = None
    ) -> None:
        """Raise `Failed` unless every question has its answer."""
        seconds = self.patience if seconds is None else seconds
        await wire.until(lambda: all(q.is_answered for q in questions), seconds)
        open_ = [q for q in questions if not q.is_answered]
        if open_:
            raise told(
                sent=f"{len(questions)} requests, among them {open_[0].shown}",
                came=f"{len(questions) - len(open_)} answers within {seconds:g} s, then "
                f"{await self.gone(wire)}; open: {', '.join(q.request_id for q in open_)}",
                expected="one response for each, with its own requestId",
            )


def data_of(response: Response) -> Any:
    """The data of an answer as a Python value."""
    return value(response.data)


async def quiet(seconds: float) -> None:
    """Let what is still on its way arrive."""
    await asyncio.sleep(seconds)
