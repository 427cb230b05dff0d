"""The lines of the lines bridge, as text: what a program reads and what it may write.

Pure. Owns both forms, JSON and tabs; `lines` owns what the lines bring about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.errors import PluginFailure, WorkbenchError, from_wire
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.envelopes import NULL, HealthStatus, Response, encode, raw
from bkg_workbench.protocol.session import respond
from bkg_workbench.sdk.runner import WrongSetup

if TYPE_CHECKING:
    from bkg_workbench.sdk.context import Context

COMPACT = -1
"""`msgspec.json.format` with this indent writes on one line."""

_STATUSES: dict[str, HealthStatus] = {"up": "up", "degraded": "degraded", "down": "down"}


class BadLine(ValueError):
    """A line that says nothing. `number` is that of the request that it seems to answer."""

    def __init__(self, message: str, number: str | None = None) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class Declared:
    """What a program registers with."""

    capabilities: tuple[str, ...]
    config_schema: dict[str, Any] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    port: int | None = None

    def schema(self, capability: str) -> dict[str, Any]:
        """What `meta.schemas` says of a capability, with the flags that it leaves out."""
        found = self.meta.get("schemas", {}).get(capability, {})
        flags = {"stream": False, "scope": capability, "idempotent": False, "destructive": False}
        return {"description": "", **flags, **found}


@dataclass(frozen=True)
class Answer:
    """The answer to a request: `data`, or `error`."""

    number: str
    data: msgspec.Raw = field(default_factory=lambda: NULL)
    error: WorkbenchError | None = None


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer."""

    number: str
    data: msgspec.Raw


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    number: str
    value: float
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class Log:
    """A log record."""

    level: str
    message: str


@dataclass(frozen=True)
class Status:
    """What the next beats say."""

    status: HealthStatus
    detail: str | None = None


@dataclass(frozen=True)
class Telemetry:
    """Numbers for the samples from now on."""

    numbers: dict[str, float]


@dataclass(frozen=True)
class Request:
    """A request of the program's own; `timeout` in seconds."""

    number: str
    capability: str
    payload: Any
    token: str | None
    timeout: float


Line = Answer | Chunk | Progress | Log | Status | Telemetry | Request


# -- to the program -----------------------------------------------------------------------------
def request_line(number: str, payload: msgspec.Raw, context: Context, *, tabs: bool) -> bytes:
    """A request as the program reads it."""
    data = msgspec.json.format(bytes(payload), indent=COMPACT)
    if tabs:
        kind = b"stream" if context.wants_stream else b"request"
        # No JSON text has a tab or a line end in it once it is compact.
        return b"\t".join((kind, number.encode(), context.capability.encode(), data)) + b"\n"
    remaining = context.remaining_seconds
    fields: dict[str, Any] = {
        "type": "request",
        "requestId": number,
        "capability": context.capability,
        "payload": msgspec.Raw(data),
    }
    if context.token is not None:
        fields["token"] = context.token
    if context.wants_stream:
        fields["stream"] = True
    if remaining is not None:
        fields["deadlineMs"] = int(remaining * 1000)
    return msgspec.json.encode(fields) + b"\n"


def cancel_line(number: str, *, tabs: bool) -> bytes:
    """That an answer is not wanted any more."""
    if tabs:
        return b"cancel\t" + number.encode() + b"\n"
    return msgspec.json.encode({"type": "cancel", "requestId": number}) + b"\n"


def response_line(number: str, data: Any, error: WorkbenchError | None) -> bytes:
    """The answer to a request of the program's own; always JSON."""
    frame = encode(respond(number, data, error))
    return msgspec.json.format(frame, indent=COMPACT) + b"\n"


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as environment variables: `maxFiles` is BKG_SETTING_MAX_FILES.

    Texts as they are, everything else as JSON.
    """
    found = {}
    for name, value in settings.items():
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        key = "BKG_SETTING_" + re.sub(r"[^A-Za-z0-9]", "_", words).upper()
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        # An environment cannot hold a NUL.
        found[key] = text.replace("\0", "")
    return found


# -- from the program ---------------------------------------------------------------------------
def declared(text: bytes) -> Declared:
    """What a register line, or a register file, says. Raises `WrongSetup`."""
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WrongSetup(f"What it registers with is not JSON ({error}).") from None
    if not isinstance(fields, dict) or fields.get("type", "register") != "register":
        raise WrongSetup("What it registers with is no object of the type register.")
    names = fields.get("capabilities")
    if not isinstance(names, list) or not all(isinstance(n, str) and is_name(n) for n in names):
        raise WrongSetup("It has to register `capabilities`, a list of names like area.verb.")
    schema, meta, port = (fields.get(key) for key in ("configSchema", "meta", "port"))
    if schema is not None and not isinstance(schema, dict):
        raise WrongSetup("The configSchema that it registers with is no object.")
    meta = {} if meta is None else meta
    schemas = meta.get("schemas", {}) if isinstance(meta, dict) else None
    if not isinstance(schemas, dict) or not all(isinstance(s, dict) for s in schemas.values()):
        raise WrongSetup("The meta that it registers with is no object, or its schemas are none.")
    return Declared(tuple(names), schema, meta, port if isinstance(port, int) else None)


def parse(line: bytes) -> Line:
    """What a line says, in either form. Raises `BadLine`."""
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadLine("it is not UTF-8") from None
    return _of_json(text) if text.lstrip().startswith("{") else _of_tabs(text)


def _of_tabs(text: str) -> Line:
    kind, *fields = text.split("\t", 2)
    first, second = [*fields, "", ""][:2]
    match kind:
        case "ok" if first:
            return Answer(first, _json(second or "null", first))
        case "chunk" if first:
            return Chunk(first, _json(second, first))
        case "error" if first:
            return Answer(first, error=PluginFailure(second or "It failed without a reason."))
        case "log" if first:
            return Log(first, second)
        case "health" if first in _STATUSES:
            return Status(_STATUSES[first], second or None)
    raise BadLine(repr(text[:80]))


def _of_json(text: str) -> Line:
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadLine(f"{text[:80]!r} is not JSON ({error})") from None
    number = fields.get("requestId")
    try:
        return _line(fields)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
        raise BadLine(
            f"{text[:80]!r} ({error})", number if isinstance(number, str) else None
        ) from None


def _line(fields: dict[str, Any]) -> Line:
    match fields.get("type"):
        case "response":
            plain = {name: field for name, field in fields.items() if name != "data"}
            response = msgspec.convert(plain, Response)
            if response.success:
                return Answer(response.request_id, raw(fields.get("data")))
            error = from_wire(response.error, response.code, response.detail)
            return Answer(response.request_id, error=error)
        case "chunk":
            return Chunk(str(fields["requestId"]), raw(fields.get("data")))
        case "progress":
            return Progress(
                str(fields["requestId"]),
                float(fields["value"]),
                fields.get("total"),
                fields.get("message"),
            )
        case "log":
            return Log(str(fields.get("level", "info")), str(fields["message"]))
        case "health" if fields.get("status") in _STATUSES:
            detail = fields.get("detail")
            return Status(_STATUSES[fields["status"]], None if detail is None else str(detail))
        case "telemetry":
            numbers = {
                name: value
                for name, value in fields.items()
                if name not in ("type", "plugin", "cpu", "mem_bytes", "numbers")
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            }
            return Telemetry(numbers)
        case "request":
            return Request(
                str(fields["requestId"]),
                str(fields["capability"]),
                fields.get("payload"),
                fields.get("token"),
                float(fields.get("deadlineMs", 30_000)) / 1000,
            )
    raise ValueError(f"the type {fields.get('type')!r} is none of a line's")


def _json(text: str, number: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadLine(
            f"the data for {number}, {text[:80]!r}, is not JSON ({error})", number
        ) from None
    return msgspec.Raw(text.encode())
