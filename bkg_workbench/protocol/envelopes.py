"""The wire types, and the only place that encodes and decodes them.

Owns the camelCase of the wire, its size-independent limits (depth, finite numbers, UTF-8) and the
error that names the field at fault. Payloads stay undecoded (`msgspec.Raw`) until somebody reads
them. Does not own sizes, connections or who may send what.

A frame is one JSON object as UTF-8 bytes; its string field `type` names the envelope.
"""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from bkg_workbench.errors import ProtocolError

PROTOCOL = 1
"""The version of the additive envelopes that this library speaks (`meta.protocol`)."""

MAX_DEPTH = 32
"""How deep objects and arrays may nest in a frame."""

NULL = msgspec.Raw(b"null")

RequestId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
# `$` alone would let a line feed follow.
PluginName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$(?!\n)")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=65_536)]
HealthStatus = Literal["up", "degraded", "down"]


class Envelope(
    msgspec.Struct, tag_field="type", rename="camel", omit_defaults=True, kw_only=True, frozen=True
):
    """Base of the wire types. Unknown fields are ignored. `kind` is the `type` on the wire."""

    kind: ClassVar[str]


class Register(Envelope, tag="register", frozen=True):
    """Plug-in to Host, first. `port` is a number or "internal"."""

    plugin: PluginName
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | Literal["internal"]
    capabilities: Annotated[list[str], msgspec.Meta(max_length=64)]
    config_schema: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None
    token: str | None = None

    @property
    def protocol(self) -> int:
        """The peer's version of the additive envelopes; 0 for one that knows only the seed's."""
        value = (self.meta or {}).get("protocol", 0)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0


class Health(Envelope, tag="health", frozen=True):
    """Plug-in to Host, every 10 s."""

    plugin: PluginName
    status: HealthStatus
    detail: Text | None = None


class Log(Envelope, tag="log", frozen=True):
    """Plug-in to Host: one log line. `timestamp` is ms since 1970 or ISO 8601.

    `level` is debug, info, warn or error; a record with another one is kept, not refused.
    """

    plugin: PluginName
    level: str
    message: str
    timestamp: int | float | str | None = None


class Telemetry(Envelope, tag="telemetry", frozen=True):
    """Plug-in to Host: `cpu` in percent of one core, `mem_bytes`, and any further numbers."""

    plugin: PluginName
    cpu: Annotated[float, msgspec.Meta(ge=0)] | None = None
    mem_bytes: Annotated[float, msgspec.Meta(ge=0)] | None = msgspec.field(
        name="mem_bytes", default=None
    )
    numbers: dict[str, float] = {}


class Caller(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """Who asks, as the Host knows it; it says so to plug-ins and believes nobody else's word.

    `name` is for logs. `user` is set for a user who proved who they are to apikeys, `credential`
    names the key or session that they used. What the caller may do is what `scopes` and each of
    `limits` (the `calls` of the plug-ins that pass the request on) cover.
    """

    name: str
    user: str | None = None
    credential: str | None = None
    scopes: tuple[str, ...] = ()
    limits: tuple[tuple[str, ...], ...] = ()


class Request(Envelope, tag="request", frozen=True):
    """Either way. `deadline_ms`: what is left of the asker's time. Only the Host sets `caller`."""

    request_id: RequestId
    capability: Annotated[str, msgspec.Meta(max_length=128)]
    payload: msgspec.Raw = NULL
    token: str | None = None
    stream: bool = False
    deadline_ms: Count | None = None
    traceparent: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    caller: Caller | None = None


class Response(Envelope, tag="response", frozen=True):
    """The one answer to a request."""

    request_id: RequestId
    success: bool
    data: msgspec.Raw = NULL
    error: str | None = None
    code: str | None = None
    detail: Any = None


class Welcome(Envelope, tag="welcome", frozen=True):
    """Host to peer, after `register` with `meta.protocol` >= 1, or first on /attach."""

    protocol: int
    heartbeat_seconds: float
    settings: dict[str, Any] | None = None
    instance: str | None = None


class Chunk(Envelope, tag="chunk", frozen=True):
    """Answering side: one piece of a streamed reply; `seq` counts from 0 without gaps."""

    request_id: RequestId
    seq: Count
    data: msgspec.Raw = NULL


class Progress(Envelope, tag="progress", frozen=True):
    """Answering side: how far the work is."""

    request_id: RequestId
    value: float
    total: float | None = None
    message: Text | None = None


class Cancel(Envelope, tag="cancel", frozen=True):
    """Asking side: the answer is not wanted any more."""

    request_id: RequestId


class Config(Envelope, tag="config", frozen=True):
    """Host to plug-in: new settings to apply live; answered by `response`."""

    request_id: RequestId
    settings: dict[str, Any]
    version: int


class Event(Envelope, tag="event", frozen=True):
    """Host to an attached client: one event of a subscription."""

    subscription: str
    seq: Count
    topic: str
    data: msgspec.Raw = NULL


class Error(Envelope, tag="error", frozen=True):
    """Host to peer: what was wrong with a message or a connection."""

    code: str
    error: str
    detail: Any = None


AnyEnvelope = (
    Register | Health | Log | Telemetry | Request | Response | Welcome
    | Chunk | Progress | Cancel | Config | Event | Error
)  # fmt: skip

for _envelope in AnyEnvelope.__args__:
    _envelope.kind = str(_envelope.__struct_config__.tag)
_types = {_envelope.kind for _envelope in AnyEnvelope.__args__}

_decoder: msgspec.json.Decoder[AnyEnvelope] = msgspec.json.Decoder(AnyEnvelope)
_encoder = msgspec.json.Encoder()
_any_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)


class _Type(msgspec.Struct):
    type: str


_type_decoder = msgspec.json.Decoder(_Type)

# Possessive, and content with a string that never ends: no frame costs more than one pass.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")
# Numbers that may be beyond a double; shorter ones stay below 1e209.
_HUGE_NUMBER = re.compile(rb"[\[:,\s]-?(?:[0-9.]{200}|[0-9.]++[eE]\+?[0-9]{2})")
_MISSING = re.compile(r"^Object missing required field `([^`]*)`$")
_FLOAT_MAX = sys.float_info.max


class UnknownType(ProtocolError):
    """The envelope's type is not one of this protocol version: to be ignored, and counted."""

    template = "The envelope type {type!r} is not known."


def decode(frame: bytes) -> AnyEnvelope:
    """The envelope in a frame.

    Raises `UnknownType` for a type of another protocol version and `ProtocolError`, with the
    field at fault as fact `field`, for anything else that the wire format does not allow.
    """
    _check(frame)
    try:
        envelope = _decoder.decode(frame)
        if isinstance(envelope, Telemetry):
            return _with_numbers(envelope, frame)
        return envelope
    except msgspec.ValidationError as error:
        reason, field = _explain(error)
        if field == "type" and (kind := _type_of(frame)) not in _types and kind is not None:
            raise UnknownType(type=kind) from None
        raise ProtocolError(reason=reason, field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(reason=str(error)) from None


def encode(envelope: AnyEnvelope) -> bytes:
    """The frame of an envelope. Raises `ProtocolError` where a value has no JSON form."""
    try:
        if isinstance(envelope, Telemetry):
            return _encoder.encode(
                {
                    "type": "telemetry",
                    "plugin": envelope.plugin,
                    "cpu": envelope.cpu,
                    "mem_bytes": envelope.mem_bytes,
                    **envelope.numbers,
                }
            )
        return _encoder.encode(envelope)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(reason=str(error)) from None


def raw(value: Any) -> msgspec.Raw:
    """`value` as undecoded JSON that fits into an envelope; a `Raw` stays itself.

    Raises `ProtocolError` where it has no JSON form, or nests too deep for the peer to accept it.
    """
    if isinstance(value, msgspec.Raw):
        return value
    if value is None:
        return NULL
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(reason=str(error)) from None
    if _is_deep(data, MAX_DEPTH - 1):
        raise ProtocolError(reason=f"it nests deeper than {MAX_DEPTH - 1} levels")
    return msgspec.Raw(data)


def from_outside(data: bytes) -> msgspec.Raw:
    """JSON that came by another door than the bus, as undecoded JSON that a peer will accept.

    Raises `ProtocolError`. Whether it is JSON at all is found by whoever decodes it.
    """
    if _is_deep(data, MAX_DEPTH - 1):
        raise ProtocolError(reason=f"it nests deeper than {MAX_DEPTH - 1} levels")
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(reason=str(error)) from None
    return msgspec.Raw(data)


def value(data: msgspec.Raw | None) -> Any:
    """The Python value of undecoded JSON."""
    if data is None:
        return None
    try:
        return _any_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(reason=str(error)) from None


def _check(frame: bytes) -> None:
    """What the decoder does not see inside payloads that it leaves undecoded."""
    if _is_deep(frame, MAX_DEPTH):
        raise ProtocolError(reason=f"it nests deeper than {MAX_DEPTH} levels")
    try:
        if not frame.isascii():
            frame.decode()
        if _HUGE_NUMBER.search(frame):
            _any_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(reason=str(error)) from None


def _is_deep(frame: bytes, levels: int) -> bool:
    if frame.count(b"{") + frame.count(b"[") <= levels:
        return False
    # Each pass takes away the innermost pairs, so as many passes as levels empty the text.
    brackets = _STRING.sub(b"", frame).translate(_BRACKETS, _NOT_BRACKETS.replace(b"[", b""))
    for _ in range(levels):
        if not brackets:
            return False
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == before:
            return True
    return bool(brackets)


def _with_numbers(envelope: Telemetry, frame: bytes) -> Telemetry:
    fields: dict[str, Any] = _any_decoder.decode(frame)
    numbers = {
        name: number
        for name, number in fields.items()
        if name not in ("cpu", "mem_bytes", "type", "plugin", "numbers")
        and isinstance(number, (int, float))
        and not isinstance(number, bool)
        and -_FLOAT_MAX <= number <= _FLOAT_MAX
    }
    return msgspec.structs.replace(envelope, numbers=numbers)


def _type_of(frame: bytes) -> str | None:
    try:
        return _type_decoder.decode(frame).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _explain(error: msgspec.ValidationError) -> tuple[str, str | None]:
    reason, _, place = str(error).partition(" - at `$")
    field = place.rstrip("`").lstrip(".") or None
    if missing := _MISSING.match(reason):
        return (f"{reason} at {field}" if field else reason), ".".join(
            part for part in (field, missing[1]) if part
        )
    return (f"{reason} at {field}" if field else reason), field
