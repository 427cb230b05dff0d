"""Checks of how a plug-in answers, and of what it bears from the other side."""

from __future__ import annotations

import math
from typing import Any

from bkg_workbench.bus.channel import REGISTERED_LIMIT
from bkg_workbench.errors import ProtocolError
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.testing.conformance.trial import (
    UNKNOWN,
    Check,
    Failed,
    Skipped,
    Trial,
    check,
    data_of,
    quiet,
    told,
)
from bkg_workbench.testing.conformance.wire import Kind, Question, Wire, shown

CHECKS: list[Check] = []
"""In their order, between the handshake and the end."""
VERDICTS: list[Check] = []
"""Over all that was seen; the last of all."""

CONCURRENT = 20
HUGE_BYTES = REGISTERED_LIMIT - 4096
HUGE_SECONDS = 30.0
QUIET_SECONDS = 0.3
NESTED: Any = "deep"
for _ in range(20):
    NESTED = {"in": NESTED}
ODD_PAYLOADS: tuple[Any, ...] = (
    None, True, 0, -1, 2**53 - 1, 1e300, "", "text", "ä\u0000\u2028🙂", [], [None], {"": {}},
    NESTED,
)  # fmt: skip


@check(CHECKS, "answer.unknown", "a capability that it does not have gets a failed response")
async def answer_unknown(trial: Trial) -> str | None:
    wire = await trial.wire()
    question = await trial.ask(wire, UNKNOWN, payload={})
    response = await trial.answer(wire, question)
    if response.success:
        raise told(
            sent=question.shown,
            came=f"success with {shown(bytes(response.data))}",
            expected="success false, with a sentence in `error`",
        )
    return response.error


@check(CHECKS, "answer.each", "each capability answers, be the payload good or not")
async def answer_each(trial: Trial) -> str | None:
    names = trial.register.capabilities
    if not names:
        raise Skipped("it has no capabilities")
    seen: list[str] = []
    failures: list[str] = []
    for name in names:
        try:
            payload = trial.payload(name)
        except Skipped as skipped:
            seen.append(str(skipped))
            continue
        wire = await trial.wire()
        question = await trial.ask(wire, name, payload=payload)
        try:
            response = await trial.answer(wire, question)
            seen.append(f"{name}: {_told(trial, name, response)}")
        except Failed as failed:
            failures.append(str(failed))
    if failures:
        hint = "; where it needs another payload: --capability NAME --payload JSON"
        raise Failed(failures[0] + (hint if not trial.options.samples else ""))
    return "; ".join(seen)


def _told(trial: Trial, name: str, response: Any) -> str:
    """How it was answered. A sample that fails is a failure, since it was meant to be good."""
    if response.success:
        return "success"
    if name in trial.options.samples:
        raise told(
            sent=f"the sample for {name}",
            came=f"a failure: {response.error}",
            expected="success, or another sample",
        )
    return f"refused ({shown((response.error or '').encode())})"


@check(CHECKS, "answer.output", "what it answers matches the schema that it gave")
async def answer_output(trial: Trial) -> str | None:
    matched = 0
    for wire in _wires(trial):
        for question in wire.questions.values():
            matched += _judge_output(trial, question)
    if not matched:
        raise Skipped("no successful answer has a schema; samples may give one")
    return f"{matched} answers"


def _judge_output(trial: Trial, question: Question) -> int:
    # A streamed answer has the closing data alone.
    schema = trial.schema(question.capability).get("output")
    if not isinstance(schema, dict) or question.stream:
        return 0
    for response in question.responses:
        if not response.success:
            return 0
        try:
            errors = schemas.validate(schema, data_of(response))
        except schemas.SchemaInvalid:
            return 0
        except ProtocolError as error:
            errors = {"": str(error)}
        if errors:
            where, what = next(iter(errors.items()))
            raise told(
                sent=question.shown,
                came=f"{shown(bytes(response.data))}: {where or '/'}: {what}",
                expected="data that matches meta.schemas[…].output",
            )
    return len(question.responses)


@check(CHECKS, "answer.concurrent", f"{CONCURRENT} requests at once are answered, each with its id")
async def answer_concurrent(trial: Trial) -> str | None:
    name, payload = _any(trial)
    wire = await trial.wire()
    questions = [await trial.ask(wire, name, payload=payload) for _ in range(CONCURRENT)]
    await trial.all_answered(wire, questions)
    return f"{CONCURRENT} x {name}"


def _any(trial: Trial) -> tuple[str, Any]:
    """What may be asked often; a name that nobody has where there is nothing else."""
    try:
        return trial.pick()
    except Skipped:
        trial.register  # noqa: B018 - raises where there is nobody to ask
        return UNKNOWN, {}


@check(CHECKS, "input.odd", "payloads of any JSON type are answered, or refused in words")
async def input_odd(trial: Trial) -> str | None:
    name, _ = _any(trial)
    wire = await trial.wire()
    questions = [await trial.ask(wire, name, payload=payload) for payload in ODD_PAYLOADS]
    questions.append(await trial.ask(wire, name))
    await trial.all_answered(wire, questions)
    return f"{len(questions)} payloads for {name}"


@check(CHECKS, "input.unknown", "types and fields that it does not know are ignored")
async def input_unknown(trial: Trial) -> str | None:
    name, payload = _any(trial)
    wire = await trial.wire()
    before = len(trial.stage.problems)
    strange = {"type": "conformance.future", "requestId": wire.new_id(), "data": [1, {"a": None}]}
    await wire.send(strange)
    more = {"future": {"a": [1]}, "priority": 5}
    question = await trial.ask(wire, name, payload=payload, **more)
    await trial.answer(wire, question)
    await quiet(QUIET_SECONDS)
    found = trial.stage.problems[before:]
    if found:
        raise told(
            sent=f"{shown(strange)} and {question.shown}",
            came=found[0].text,
            expected="that unknown types are ignored",
        )
    return None


@check(CHECKS, "input.huge", f"a message of nearly {REGISTERED_LIMIT >> 20} MiB does it no harm")
async def input_huge(trial: Trial) -> str | None:
    wire = await trial.wire()
    question = await trial.ask(wire, UNKNOWN, payload={"filler": "x" * HUGE_BYTES})
    await trial.answer(wire, question, max(HUGE_SECONDS, trial.patience))
    await trial.lives_on(wire, f"a request of {HUGE_BYTES} bytes")
    return f"{HUGE_BYTES} bytes"


@check(CHECKS, "wire.ping", "it answers WebSocket pings")
async def wire_ping(trial: Trial) -> str | None:
    wire = await trial.wire()
    if not await wire.channel.ping(trial.options.timeout):
        raise told(
            sent="a WebSocket ping",
            came=f"{await trial.gone(wire)} within {trial.options.timeout:g} s",
            expected="a pong",
        )
    return None


# -- over all that was seen ---------------------------------------------------------------------
def _verdict(trial: Trial, kind: Kind, expected: str) -> None:
    trial.register  # noqa: B018 - nothing was seen of one that never registered
    found = [problem.text for problem in trial.stage.problems if problem.kind == kind]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise told(came=found[0] + more, expected=expected)


def _wires(trial: Trial) -> list[Wire]:
    lives = [*trial.ended, trial.stage.life] if trial.stage.life else trial.ended
    return [wire for life in lives for wire in life.wires]


def _seen(trial: Trial, kind: str) -> str:
    count = sum(wire.seen[kind] for wire in _wires(trial))
    if not count:
        raise Skipped("none came")
    return f"{count} seen"


@check(VERDICTS, "answer.once", "each request has exactly one response, with its own requestId")
async def answer_once(trial: Trial) -> str | None:
    if trial.stage.life is not None:
        await quiet(QUIET_SECONDS)
    _verdict(trial, "answer", "one response for each requestId that was asked, and no other")
    count = math.fsum(len(wire.questions) for wire in _wires(trial))
    return f"{count:.0f} requests"


@check(VERDICTS, "wire.envelopes", "whatever it sends is a valid envelope of a plug-in")
async def wire_envelopes(trial: Trial) -> str | None:
    _verdict(trial, "envelope", "envelopes of docs/protocol.md, under its own name")
    return None


@check(
    VERDICTS, "wire.additions", "nothing of protocol 1 goes out without it, or before the welcome"
)
async def wire_additions(trial: Trial) -> str | None:
    _verdict(trial, "addition", "chunk, progress and cancel only after a welcome")
    return f"protocol {trial.register.protocol}"


@check(VERDICTS, "wire.logs", "its log envelopes have a known level and a readable timestamp")
async def wire_logs(trial: Trial) -> str | None:
    _verdict(trial, "log", "debug, info, warn or error; ms since 1970 or ISO 8601")
    return _seen(trial, "log")


@check(VERDICTS, "wire.telemetry", "its telemetry has cpu, mem_bytes and numbers")
async def wire_telemetry(trial: Trial) -> str | None:
    _verdict(trial, "telemetry", "cpu (percent), mem_bytes and further numbers")
    return _seen(trial, "telemetry")


@check(VERDICTS, "wire.requests", "requests of its own name a capability")
async def wire_requests(trial: Trial) -> str | None:
    _verdict(trial, "asking", "capability names, and cancels of what it asked")
    return _seen(trial, "request")


@check(
    VERDICTS,
    "wire.streams",
    "chunks count from 0 without gaps, before the response, where asked for",
)
async def wire_streams(trial: Trial) -> str | None:
    _verdict(trial, "stream", "seq 0, 1, 2 … for a request with stream true, then the response")
    count = sum(len(q.chunks) for wire in _wires(trial) for q in wire.questions.values())
    if not count:
        raise Skipped("no chunk came; a sample for a streaming capability may bring some")
    return f"{count} chunks"
