"""Checks of how a plug-in starts, connects, registers and beats."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.supervisor.entrypoint import check_entrypoint
from bkg_workbench.testing.conformance.stage import (
    CONNECT_SECONDS,
    HEARTBEAT_SECONDS,
    REGISTER_SECONDS,
    SEED_HEARTBEAT_SECONDS,
)
from bkg_workbench.testing.conformance.trial import Check, Failed, Skipped, Trial, check, told
from bkg_workbench.testing.conformance.wire import Wire, shown

CHECKS: list[Check] = []
FLAGS = ("stream", "idempotent", "destructive")
WORDS = ("description", "scope")
PARTS = ("input", "output", "chunk")
SLACK_SECONDS = 1.5
"""What a loaded machine may add to an interval between two beats."""


@check(CHECKS, "start.script", "its start script can run: executable, shebang, LF")
async def start_script(trial: Trial) -> str | None:
    stage = trial.stage
    problem = check_entrypoint(stage.program, stage.folder)
    if problem:
        raise Failed(problem)
    return str(stage.program)


@check(CHECKS, "start.connects", "it connects to the bus that its environment names, at / or /bus")
async def start_connects(trial: Trial) -> str | None:
    life = await trial.begin()
    if life.wire is None:
        refused = "; ".join(trial.stage.refused)
        raise told(
            sent="BKG_PLUGIN_BUS_HOST and BKG_PLUGIN_BUS_PORT in its environment",
            came=refused or trial.ending(None),
            expected=f"a WebSocket at /bus or / within {CONNECT_SECONDS:g} s (or after a "
            "`preparing:` line), with a loopback Host header and without an Origin header",
        )
    return f"after {life.wire.opened - life.started:.1f} s, at {life.peers[0].path}"


@check(CHECKS, "start.token", "it proves who it is by its token, or by being our child")
async def start_token(trial: Trial) -> str | None:
    life = trial.first
    if life is None or not life.peers:
        raise Skipped("it never connected")
    wire = life.wires[0]
    given = {
        "the Authorization header": life.peers[0].token,
        "register.token": wire.register.token if wire.register else None,
    }
    for where, token in given.items():
        if token is not None and token != life.token:
            raise told(
                came=f"another token in {where}",
                expected="the value of BKG_PLUGIN_BUS_TOKEN as it is, or none at all",
            )
    used = [where for where, token in given.items() if token is not None]
    if used:
        return f"by {' and '.join(used)}"
    if not life.owned[0]:
        raise told(
            came="no token, from a process that is not below its start script",
            expected="a token, or a connection of the process that was started",
        )
    return "by its process, without a token (works on Linux only)"


@check(CHECKS, "register.first", f"its first message is a register, within {REGISTER_SECONDS:g} s")
async def register_first(trial: Trial) -> str | None:
    life = trial.first
    if life is None or not life.wires:
        raise Skipped("it never connected")
    wire = life.wires[0]
    expected = f"register as the first message, within {REGISTER_SECONDS:g} s of connecting"
    if wire.first is None:
        came = trial.ending(wire)
        if wire.closed is not None and wire.closed.code == 1003:
            came = "a binary frame; the bus carries text frames"
        raise told(came=came, expected=expected)
    if not _is_register(wire.first):
        raise told(came=wire.first_problem or shown(wire.first), expected=expected)
    taken = (wire.first_at or wire.opened) - wire.opened
    return f"after {taken:.2f} s, {len(wire.first)} bytes"


def _is_register(frame: bytes) -> bool:
    """Whether a frame means to be one; whether it is well-formed is another question."""
    try:
        return bool(json.loads(frame).get("type") == "register")
    except (ValueError, AttributeError, RecursionError):
        return b'"register"' in frame


@check(CHECKS, "register.fields", "register has the fields and types of the protocol")
async def register_fields(trial: Trial) -> str | None:
    wire = trial.first.wires[0] if trial.first and trial.first.wires else None
    if wire is None or wire.first is None:
        raise Skipped("no first message came")
    if not _is_register(wire.first):
        raise Skipped("its first message is no register")
    if wire.register is None:
        raise told(
            came=wire.first_problem or "nothing",
            expected='plugin, port (a number or "internal") and capabilities (a list of texts)',
        )
    return f"port {wire.register.port}, protocol {wire.register.protocol}"


@check(CHECKS, "register.name", "it registers with the name that BKG_PLUGIN_NAME gives it")
async def register_name(trial: Trial) -> str | None:
    name = trial.register.plugin
    if name != trial.options.name:
        raise told(
            sent=f"BKG_PLUGIN_NAME={trial.options.name}",
            came=f"a register as {name}",
            expected=f"a register as {trial.options.name}",
        )
    return name


@check(CHECKS, "register.capabilities", "its capabilities are names like area.verb, each once")
async def register_capabilities(trial: Trial) -> str | None:
    names = trial.register.capabilities
    bad = [name for name in names if not is_name(name)]
    if bad:
        raise told(
            came=f"the capability {bad[0]!r}",
            expected="two to four words with dots between them, such as demo.echo",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise told(came=f"{twice[0]} more than once", expected="each capability once")
    missing = sorted(set(trial.options.samples) - set(names))
    if missing:
        raise told(
            sent=f"a sample for {missing[0]}",
            came=f"a register with {', '.join(names) or 'no capability'}",
            expected="that it serves what a sample is given for",
        )
    return ", ".join(names) or "none"


@check(CHECKS, "register.config-schema", "configSchema, where given, is a JSON Schema of an object")
async def register_config_schema(trial: Trial) -> str | None:
    schema = trial.register.config_schema
    if schema is None:
        raise Skipped("it has no settings to describe")
    try:
        schemas.check(schema)
    except schemas.SchemaInvalid as error:
        raise told(came=f"configSchema: {error}", expected="JSON Schema 2020-12") from None
    if schema.get("type", "object") != "object":
        raise told(
            came=f"configSchema of the type {schema['type']!r}", expected="settings are an object"
        )
    effective = schemas.merge(schemas.defaults(schema), trial.stage.settings())
    errors = schemas.validate(schema, effective)
    if errors:
        where, what = next(iter(errors.items()))
        raise told(
            came=f"a configSchema that its own config.json does not match: {where or '/'}: {what}",
            expected="defaults that are valid (or --settings for what an operator has to give)",
        )
    properties = schema.get("properties")
    return f"{len(properties) if isinstance(properties, dict) else 0} settings"


@check(CHECKS, "register.meta", "meta, where given, is well-formed, its schemas too")
async def register_meta(trial: Trial) -> str | None:
    register = trial.register
    meta = register.meta
    if meta is None:
        raise Skipped("it has no meta")
    protocol = meta.get("protocol", 0)
    if not isinstance(protocol, int) or isinstance(protocol, bool) or protocol < 0:
        raise told(came=f"meta.protocol {protocol!r}", expected="a whole number from 0")
    for key, kind in (("version", str), ("engine", str), ("pid", int), ("schemas", dict)):
        if key in meta and not isinstance(meta[key], kind):
            raise told(
                came=f"meta.{key} {meta[key]!r}", expected=f"a value of type {kind.__name__}"
            )
    for name, schema in meta.get("schemas", {}).items():
        if name not in register.capabilities:
            raise told(
                came=f"meta.schemas for {name}", expected="schemas for registered capabilities only"
            )
        _judge_schema(name, schema)
    _judge_features(meta.get("features", []))
    return f"protocol {protocol}, {len(meta.get('schemas', {}))} schemas"


def _judge_schema(name: str, schema: Any) -> None:
    place = f"meta.schemas[{name}]"
    if not isinstance(schema, dict):
        raise told(came=f"{place}: {schema!r}", expected="an object")
    for key in FLAGS:
        if key in schema and not isinstance(schema[key], bool):
            raise told(came=f"{place}.{key}: {schema[key]!r}", expected="true or false")
    for key in WORDS:
        if not isinstance(schema.get(key, ""), (str, type(None))):
            raise told(came=f"{place}.{key}: {schema[key]!r}", expected="a text")
    for key in PARTS:
        if schema.get(key) is None:
            continue
        try:
            if not isinstance(schema[key], dict):
                raise schemas.SchemaInvalid(reason="it is not an object")
            schemas.check(schema[key])
        except schemas.SchemaInvalid as error:
            raise told(came=f"{place}.{key}: {error}", expected="JSON Schema 2020-12") from None


def _judge_features(features: Any) -> None:
    fits = isinstance(features, list) and all(
        isinstance(f, dict) and isinstance(f.get("title"), str) and isinstance(f.get("text"), str)
        for f in features
    )
    if not fits:
        raise told(came=f"meta.features {features!r}", expected="a list of {title, text}")


@check(
    CHECKS, "register.config-file", "it reads the settings file of BKG_PLUGIN_CONFIG_PATH", "SHOULD"
)
async def register_config_file(trial: Trial) -> str | None:
    schema = trial.register.config_schema
    if not (schema and schema.get("properties")) and not trial.stage.settings():
        raise Skipped("it has no settings")
    watch = trial.stage.config
    if watch is None:
        raise Skipped("this system cannot tell who opens a file")
    if not watch.was_opened():
        raise told(
            sent="settings in the file that BKG_PLUGIN_CONFIG_PATH names",
            came="no attempt to open it before the register",
            expected="that the effective settings are read from there",
        )
    return None


@check(CHECKS, "beat.first", "it beats at once")
async def beat_first(trial: Trial) -> str | None:
    wire = await trial.wire()
    if not await wire.until(lambda: bool(wire.beats), REGISTER_SECONDS):
        raise told(
            sent="a welcome" if wire.protocol >= 1 else None,
            came=f"no health envelope within {REGISTER_SECONDS:g} s of its register",
            expected="health at once, then at each interval",
        )
    at, beat = wire.beats[0]
    return f"{beat.status} after {at - (wire.first_at or at):.2f} s"


@check(CHECKS, "beat.interval", "it goes on beating at the interval that it is given")
async def beat_interval(trial: Trial) -> str | None:
    wire = await trial.wire()
    interval = HEARTBEAT_SECONDS if wire.protocol >= 1 else SEED_HEARTBEAT_SECONDS
    # What the Host allows: 2.5 intervals, then the plug-in counts as degraded.
    limit = 2.5 * interval + (SLACK_SECONDS if wire.protocol >= 1 else 0.0)
    wanted = 2 if wire.protocol >= 1 else 1
    for _ in range(wanted):
        count = len(wire.beats)
        last = wire.beats[-1][0] if wire.beats else (wire.first_at or wire.opened)
        # The checks before this one may have taken longer than an interval.
        left = limit if wire.protocol >= 1 else max(0.1, last + limit - time.monotonic())
        if not await wire.until(partial(_has_more, wire, count), left):
            raise told(
                sent=f"heartbeatSeconds {interval:g} in the welcome"
                if wire.protocol >= 1
                else None,
                came=f"{count} beats, then {await trial.gone(wire)} for {limit:g} s",
                expected=f"a health envelope every {interval:g} s",
            )
    return f"{len(wire.beats)} beats"


def _has_more(wire: Wire, count: int) -> bool:
    return len(wire.beats) > count
