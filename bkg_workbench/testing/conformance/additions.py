"""Checks of protocol 1: deadlines, cancel, streams, live settings. And of doing without it."""

from __future__ import annotations

from typing import Any

from bkg_workbench.protocol import schema as schemas
from bkg_workbench.testing.conformance.trial import (
    Check,
    Failed,
    Skipped,
    Trial,
    check,
    data_of,
    quiet,
    told,
)
from bkg_workbench.testing.conformance.wire import shown

CHECKS: list[Check] = []
QUIET_SECONDS = 0.3
WRONG: dict[str, Any] = {
    "string": 4711, "integer": "no number", "number": "no number", "boolean": "no flag",
    "array": "no list", "object": "no object", "null": "not null",
}  # fmt: skip
"""For each type of JSON Schema a value that is not of it."""


@check(CHECKS, "seed.alone", "without meta.protocol it needs nothing but the seed's envelopes")
async def seed_alone(trial: Trial) -> str | None:
    if trial.register.protocol >= 1:
        raise Skipped("it speaks protocol 1")
    await trial.lives_on(await trial.wire(), "no welcome, no deadline, no stream, no config")
    return None


@check(CHECKS, "deadline.answered", "a request whose time is over at once still gets one response")
async def deadline_answered(trial: Trial) -> str | None:
    wire = await trial.modern()
    name, payload = trial.pick()
    question = await trial.ask(wire, name, payload=payload, deadlineMs=1)
    response = await trial.answer(wire, question)
    return "success" if response.success else response.error


@check(CHECKS, "cancel.answered", "a cancelled request gets one response; other cancels none")
async def cancel_answered(trial: Trial) -> str | None:
    wire = await trial.modern()
    name, payload = trial.pick()
    before = len(trial.stage.problems)
    question = await trial.ask(wire, name, payload=payload)
    for request_id in (question.request_id, question.request_id, wire.new_id()):
        await wire.send({"type": "cancel", "requestId": request_id})
    response = await trial.answer(wire, question)
    await wire.send({"type": "cancel", "requestId": question.request_id})
    await quiet(QUIET_SECONDS)
    found = trial.stage.problems[before:]
    if found:
        raise told(
            sent=f"{question.shown}, then cancel for it and for an id that was never asked",
            came=found[0].text,
            expected="one response to the request, nothing to the cancels",
        )
    await trial.lives_on(wire, "cancels")
    return "success, it was quicker" if response.success else response.error


@check(
    CHECKS, "stream.closed", "a streamed answer is chunks from 0 without gaps, then its response"
)
async def stream_closed(trial: Trial) -> str | None:
    seen = []
    for name in _streaming(trial):
        wire = await trial.modern()
        question = await trial.ask(wire, name, payload=trial.payload(name), stream=True)
        response = await trial.answer(wire, question)
        numbers = [chunk.seq for chunk in question.chunks]
        if numbers != list(range(len(numbers))):
            raise told(
                sent=question.shown,
                came=f"chunks with seq {', '.join(map(str, numbers[:20]))}",
                expected="seq 0, 1, 2 … without gaps",
            )
        how = "closed" if response.success else f"refused ({response.error})"
        seen.append(f"{name}: {len(numbers)} chunks, {how}")
    return "; ".join(seen)


@check(CHECKS, "stream.whole", "asked without stream, a streaming capability answers whole")
async def stream_whole(trial: Trial) -> str | None:
    names = _streaming(trial)
    for name in names:
        wire = await trial.modern()
        question = await trial.ask(wire, name, payload=trial.payload(name))
        await trial.answer(wire, question)
        if question.chunks:
            raise told(
                sent=question.shown,
                came=f"{len(question.chunks)} chunks",
                expected="one response and no chunk",
            )
    return ", ".join(names)


def _streaming(trial: Trial) -> list[str]:
    if trial.register.protocol < 1:
        raise Skipped("it registers without meta.protocol, so it is never asked for a stream")
    names = [n for n in trial.register.capabilities if trial.schema(n).get("stream")]
    if not names:
        raise Skipped("none of its capabilities streams")
    return names


@check(CHECKS, "config.answered", "config is answered: applied live, or to be restarted for")
async def config_answered(trial: Trial) -> str | None:
    wire = await trial.modern()
    fields = {"settings": _effective(trial), "version": 1}
    question = await wire.ask("config", fields, type="config")
    response = await trial.answer(wire, question)
    if not response.success:
        raise told(
            sent=question.shown,
            came=f"a failure: {response.error}",
            expected="success, since these are the settings that it has",
        )
    data = data_of(response)
    applied = data.get("applied") if isinstance(data, dict) else None
    if applied not in ("live", "restart"):
        raise told(
            sent=question.shown,
            came=f"the data {shown(bytes(response.data))}",
            expected='{"applied": "live"} or {"applied": "restart"}',
        )
    await trial.lives_on(wire, question.shown)
    return f"applied: {applied}"


@check(CHECKS, "config.refused", "config that its own schema refuses is refused", "SHOULD")
async def config_refused(trial: Trial) -> str | None:
    wire = await trial.modern()
    wrong = _invalid(trial)
    question = await wire.ask("config", {"settings": wrong, "version": 2}, type="config")
    response = await trial.answer(wire, question)
    if response.success:
        raise told(
            sent=question.shown,
            came=f"success with {shown(bytes(response.data))}",
            expected="a failure with the code config_invalid",
        )
    if response.code != "config_invalid":
        raise told(
            sent=question.shown,
            came=f"a failure with the code {response.code}",
            expected="the code config_invalid",
        )
    return response.error


def _effective(trial: Trial) -> dict[str, Any]:
    below = schemas.defaults(trial.register.config_schema)
    return dict(schemas.merge(below, trial.stage.settings()))


def _invalid(trial: Trial) -> dict[str, Any]:
    """Settings with one value of a wrong type. Raises `Skipped` where its schema allows all."""
    schema = trial.register.config_schema
    if not schema:
        raise Skipped("it has no configSchema")
    properties = schema.get("properties")
    for name, child in properties.items() if isinstance(properties, dict) else ():
        kind = child.get("type") if isinstance(child, dict) else None
        if not isinstance(kind, str) or kind not in WRONG:
            continue
        wrong = {**_effective(trial), name: WRONG[kind]}
        try:
            if schemas.validate(schema, wrong):
                return wrong
        except schemas.SchemaInvalid as error:
            raise Failed(f"came: configSchema: {error}; expected: a usable one") from None
    raise Skipped("its configSchema says the type of no setting")
