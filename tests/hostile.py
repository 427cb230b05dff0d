"""Hostile frames: a corpus of known tricks, and damage done to real envelopes at random.

Owns what is sent; what has to become of it stands in tests/soak/test_hostile_frames.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

DEEP = 33
SMALL = 60_000
"""Bytes that a frame of the corpus has at most, but for the few that are meant to be large."""

ENVELOPES: list[dict[str, Any]] = [
    {"type": "register", "plugin": "demo", "port": 8080, "capabilities": ["demo.work"],
     "configSchema": {"type": "object"}, "meta": {"protocol": 1, "schemas": {}}},
    {"type": "health", "plugin": "demo", "status": "up", "detail": "fine"},
    {"type": "log", "plugin": "demo", "level": "info", "message": "hello", "timestamp": 1},
    {"type": "telemetry", "plugin": "demo", "cpu": 1.5, "mem_bytes": 10, "models": 2},
    {"type": "request", "requestId": "r1", "capability": "demo.work", "payload": {"a": [1, "x"]},
     "stream": True, "deadlineMs": 500, "traceparent": "00-a-b-01", "token": "t"},
    {"type": "request", "requestId": "r2", "capability": "host.config.save",
     "payload": {"name": "demo", "settings": {"a": 1}, "version": 1, "reason": "x"}},
    {"type": "request", "requestId": "r3", "capability": "host.logs.query",
     "payload": {"plugin": "demo", "regex": "a+", "limit": 5, "after": 0}},
    {"type": "request", "requestId": "r4", "capability": "host.plugin.get",
     "payload": {"name": "demo"}},
    {"type": "request", "requestId": "r5", "capability": "host.telemetry.query", "payload": {}},
    {"type": "request", "requestId": "r6", "capability": "host.subscribe",
     "payload": {"topics": ["telemetry"]}},
    {"type": "response", "requestId": "h1-1", "success": True, "data": {"a": None}},
    {"type": "response", "requestId": "h1-2", "success": False, "error": "no",
     "code": "request_failed", "detail": {"self": 1, "message": "x", "seconds": "y"}},
    {"type": "chunk", "requestId": "h1-1", "seq": 0, "data": [1]},
    {"type": "progress", "requestId": "h1-1", "value": 1, "total": 2, "message": "half"},
    {"type": "cancel", "requestId": "r1"},
    {"type": "config", "requestId": "c1", "settings": {"a": 1}, "version": 2},
    {"type": "welcome", "protocol": 1, "heartbeatSeconds": 10},
    {"type": "event", "subscription": "s1", "seq": 0, "topic": "state", "data": {}},
    {"type": "error", "code": "protocol_error", "error": "no"},
]  # fmt: skip

NAMES = [
    "", "__proto__", "constructor", "__class__", "toString", "..", "../../etc/passwd", "a\n",
    "A", "a" * 33, "a" * 10_000, "host", "apikeys", "<script>alert(1)</script>", "a;b", "%2e%2e",
    "\u202edemo", "\x00", "demo\x00", "{0.__class__}", "%s%n", "🦢", "demo'--",
]  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 2**53, 2**64, 10**400, -(10**308), 1.5, 1e308, -0.0,
    [], {}, [[]], {"": ""}, {"type": "log"}, [None] * 500, {"a": {"b": {"c": [{}]}}},
    *NAMES,
]  # fmt: skip

# As text, since no encoder would make them.
TOKENS = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e999", "01", "+1", ".5", "1.", "0x10", "1_000",
    "9" * 4_301, "-" + "9" * 400, "1e-400", '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\x"',
    '"\t"', "'a'", "undefined", "None", "[" * 40 + "]" * 40, "[" * 5_000, '{"a":' * 5_000,
    "[" * 500 + "]" * 500, '{"a":1,"a":2}', "[1,]", "{,}", '{"a"}', "/* */1", "\ufeff1", "",
    '"' + "\\u00e9" * 5_000 + '"', '"' + "\\" * 4_001 + '"', "1 2", "tru", "nul",
]  # fmt: skip

WHOLE = [
    b"", b" ", b"null", b"0", b'"log"', b"[]", b"{}", b"[{}]", b"true", b"{} {}", b"{}{}", b"{",
    b"}", b'{"type"', b'{"type":}', b'{"type":"log"} trailing', b"\xef\xbb\xbf{}",
    b'\xef\xbb\xbf{"type":"cancel","requestId":"x"}', b"[" * 50_000, b'{"a":' * 10_000,
    b"[" * 500 + b"]" * 500, b'{"type":"\\ud800"}', b'{"type":["log"]}', b'{"type":null}',
    b'{"type":"log","type":"cancel","requestId":"x"}', b'{"type":"__proto__"}',
    b'{"type":"' + b"x" * 50_000 + b'"}', b'{"type":"log"' + b" " * 50_000 + b"}",
    b'{"type":"telemetry","plugin":"demo",' + b",".join(b'"k%d":%d' % (n, n) for n in range(3_000))
    + b"}",
    b'{"type":"log","plugin":"demo","level":"info","message":"' + b"\\u001b]52;c;" * 3_000 + b'"}',
]  # fmt: skip


def corpus() -> Iterator[bytes]:
    """The known tricks: every value and token in every field of every envelope."""
    yield from WHOLE
    for envelope in ENVELOPES:
        for name in envelope:
            yield _dumped({k: v for k, v in envelope.items() if k != name})
            for value in VALUES:
                yield _dumped({**envelope, name: value})
            for token in TOKENS:
                yield _with_token(envelope, name, token)
        yield _dumped({**envelope, **dict.fromkeys(NAMES, 1)})
        yield _dumped({**envelope, "deep": _nested(DEEP)})


def damaged(seed: int) -> Iterator[bytes]:
    """Envelopes damaged at random, without end; the same for the same seed."""
    dice = random.Random(seed)
    frames = [_dumped(envelope) for envelope in ENVELOPES]
    tricks = [_flip, _cut, _double, _insert, _swap, _splice, _value, _rename]
    while True:
        frame = dice.choice(frames)
        for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
            frame = dice.choice(tricks)(dice, frame, frames)
        yield frame[:SMALL]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _with_token(envelope: dict[str, Any], name: str, token: str) -> bytes:
    mark = "\x01here\x01"
    text = json.dumps({**envelope, name: mark})
    return text.replace(json.dumps(mark), token).encode()


def _nested(levels: int) -> Any:
    value: Any = 1
    for n in range(levels):
        value = [value] if n % 2 else {"a": value}
    return value


def _flip(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    data = bytearray(frame)
    for _ in range(dice.choice((1, 1, 4))):
        if data:
            # Mostly ASCII: bytes that are no UTF-8 close the connection, and are tried elsewhere.
            data[dice.randrange(len(data))] = dice.randrange(128 if dice.random() < 0.97 else 256)
    return bytes(data)


def _cut(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    start = dice.randrange(len(frame) + 1)
    return frame[:start] + frame[start + dice.randrange(1, 20) :]


def _double(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    start = dice.randrange(len(frame) + 1)
    part = frame[start : start + dice.randrange(1, 60)]
    return frame[:start] + part * dice.choice((2, 3, 100)) + frame[start:]


def _insert(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    place = dice.randrange(len(frame) + 1)
    return frame[:place] + dice.choice(TOKENS).encode() + frame[place:]


def _swap(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    data = bytearray(frame or b" ")
    one, other = dice.randrange(len(data)), dice.randrange(len(data))
    data[one], data[other] = data[other], data[one]
    return bytes(data)


def _splice(dice: random.Random, frame: bytes, frames: list[bytes]) -> bytes:
    other = dice.choice(frames)
    return frame[: dice.randrange(len(frame) + 1)] + other[dice.randrange(len(other)) :]


def _value(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    try:
        envelope = json.loads(frame)
    except (ValueError, RecursionError):
        return frame
    if not isinstance(envelope, dict) or not envelope:
        return frame
    place: Any = envelope
    key: Any = dice.choice(list(envelope))
    while isinstance(place[key], (dict, list)) and place[key] and dice.random() < 0.7:
        place = place[key]
        key = dice.choice(list(place)) if isinstance(place, dict) else dice.randrange(len(place))
    place[key] = dice.choice(VALUES)
    return _dumped(envelope)


def _rename(dice: random.Random, frame: bytes, _: list[bytes]) -> bytes:
    parts = frame.split(b'"')
    if len(parts) > 2:
        parts[dice.randrange(1, len(parts) - 1)] = _dumped(dice.choice(NAMES))[1:-1]
    return b'"'.join(parts)
