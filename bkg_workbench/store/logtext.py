"""What a log line may hold: cut, stripped of control codes, its secrets redacted.

Owns the cleaning of one message. Records are numbered and kept elsewhere (`store.logs`).
"""

from __future__ import annotations

import math
import re
from typing import Any

MAX_BYTES = 16 * 1024

LEVELS = ("debug", "info", "warn", "error")
SOURCES = ("stdout", "stderr", "log", "host")

_LEVEL_OF = {
    "trace": "debug",
    "notice": "info",
    "warning": "warn",
    "critical": "error",
    "fatal": "error",
    **{level: level for level in LEVELS},
}

# Escape sequences: OSC, DCS, APC and PM up to their end, CSI, then any other.
_ESCAPES = re.compile(
    r"\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?"
    r"|(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|\x1b[ -/]{0,8}[0-~]?"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_MARK = re.compile(r"…\[\+([0-9]{1,18}) bytes\]\Z")
_TOGETHER = 32
_HINTS = ("bkg_", "bearer", "basic ", "token", "passw", "secret", "key", "authoriz")
_KEY = re.compile(r"(bkg_[0-9a-f]{12}_)[A-Za-z0-9_-]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{4,}")
_PAIR = re.compile(
    r"(?i)((?:token|password|passwd|passphrase|secret|authorization|(?:api|access|private)[_-]?key)"
    r"[\"']?\s{0,8}[:=]\s{0,8})"
    r"(\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|(?:(?:bearer|basic)\s+)?[^\s,;&\"'}\])]+)"
)


def clean(message: str) -> str:
    """The message as it is kept: at most `MAX_BYTES`, printable, on one line, without secrets."""
    if len(message) > MAX_BYTES // 4:
        message = _cut(message)
    if not message.isprintable():
        if "\x1b" in message or "\x9b" in message:
            message = _ESCAPES.sub("", message)
        message = redact(message.rstrip("\r\n")).replace("\r\n", "\n")
        # A forged second record would need a line of its own.
        message = message.rsplit("\r", 1)[-1].replace("\n", "\\n")
        return _CONTROLS.sub("�", message)
    return redact(message)


def clean_all(messages: list[str]) -> list[str]:
    """`clean` for many: most lines need nothing, and together that is seen quickly."""
    cleaned: list[str] = []
    for start in range(0, len(messages), _TOGETHER):
        some = messages[start : start + _TOGETHER]
        joined = "".join(some)
        lower = joined.lower()
        is_plain = (
            len(joined) <= MAX_BYTES // 4
            and joined.isprintable()
            and not any(hint in lower for hint in _HINTS)
        )
        cleaned += some if is_plain else map(clean, some)
    return cleaned


def _cut(message: str) -> str:
    """At most `MAX_BYTES`, and how many are missing: also those that others cut off before."""
    rest = 0
    if mark := _MARK.search(message[-40:]):
        message, rest = message[: -len(mark[0])], int(mark[1])
    head = message[:MAX_BYTES].encode("utf-8", "replace")
    rest += max(0, len(head) - MAX_BYTES)
    rest += len(message[MAX_BYTES:].encode("utf-8", "replace"))
    if not rest:
        return message
    return head[:MAX_BYTES].decode("utf-8", "ignore") + f"…[+{rest} bytes]"


def redact(message: str) -> str:
    """The message with what looks like a secret replaced by `***`."""
    lower = message.lower()
    if not any(hint in lower for hint in _HINTS):
        return message
    message = _KEY.sub(r"\1***", message)
    message = _PAIR.sub(r"\1***", message)
    return _BEARER.sub(r"\1\2***", message)


def level_of(level: Any) -> str:
    """One of `LEVELS`; what is not known is `info`."""
    return _LEVEL_OF.get(level.lower(), "info") if isinstance(level, str) else "info"


def timestamp_of(timestamp: Any) -> int | float | str | None:
    """The plug-in's own timestamp, kept as data; None for what is none."""
    if isinstance(timestamp, str):
        return clean(timestamp[:64]) or None
    if isinstance(timestamp, bool) or not isinstance(timestamp, (int, float)):
        return None
    # A whole number may be larger than any float.
    return timestamp if abs(timestamp) < 2**53 and math.isfinite(timestamp) else None
