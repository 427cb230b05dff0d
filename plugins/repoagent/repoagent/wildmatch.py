"""Git's wildmatch in time that no pattern can blow up.

Owns matching of one gitignore pattern's segments, for the patterns whose usual translation into a
regular expression backtracks without bound (a hostile .gitignore could hang the plug-in) or is not
exact. After git's wildmatch.c: `*` and `?` stay inside a segment, `**` as a whole segment spans
segments, brackets know ranges, `!`/`^`, escapes and POSIX classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_STAR = "*"


def compile_segments(body: str) -> Callable[[list[str]], bool] | None:
    """A test whether `body` matches a path given as its segments; None where nothing can match.

    `body` has neither the leading nor the trailing slash of its pattern.
    """
    segments: list[re.Pattern[str] | None] = []
    tokens: list[str] = []
    raw = ""
    at = 0
    while at <= len(body):
        slash = next((s for s in ("/", "\\/") if body.startswith(s, at)), "")
        if at == len(body) or slash:
            if len(raw) > 1 and not raw.strip("*"):
                if not segments or segments[-1] is not None:
                    segments.append(None)
            else:
                segments.append(re.compile(_regex(tokens), re.DOTALL))
            tokens, raw = [], ""
            at += len(slash) or 1
            continue
        end, token = _token(body, at)
        if token is None:
            return None
        tokens.append(token)
        raw += body[at:end]
        at = end
    return lambda parts: _matches(segments, parts)


def _token(body: str, at: int) -> tuple[int, str | None]:
    # (where the next token begins, this one as a regular expression or None for "never matches")
    char = body[at]
    if char == "\\":
        if at + 1 == len(body):
            return at + 1, None
        return at + 2, re.escape(body[at + 1])
    if char == "*":
        return at + 1, _STAR
    if char == "?":
        return at + 1, "[^/]"
    if char == "[":
        return _bracket(body, at)
    return at + 1, re.escape(char)


def _bracket(body: str, at: int) -> tuple[int, str | None]:
    end = at + 1
    negated = body[end : end + 1] in ("!", "^")
    end += negated
    members: list[str] = []
    previous: str | None = None
    first = True
    while True:
        if end >= len(body):
            return end, None
        char = body[end]
        if char == "]" and not first:
            break
        first = False
        if body.startswith("[:", end):
            close = body.find("]", end + 2)
            if close < 0:
                return end, None
            if body[close - 1] == ":" and close - 1 >= end + 2:
                name = body[end + 2 : close - 1]
                if name not in _CLASSES:
                    return end, None
                members.append(_CLASSES[name])
                previous, end = None, close + 1
                continue
        if char == "-" and previous is not None and body[end + 1 : end + 2] not in ("", "]"):
            end += 1
            if body[end] == "\\":
                end += 1
                if end >= len(body):
                    return end, None
            if previous <= body[end]:
                members.append(f"{re.escape(previous)}-{re.escape(body[end])}")
            previous, end = None, end + 1
            continue
        if char == "\\":
            end += 1
            if end >= len(body):
                return end, None
            char = body[end]
        members.append(re.escape(char))
        previous, end = char, end + 1
    inside = "".join(members)
    if not inside:
        return end + 1, "[^/]" if negated else "(?!)"
    return end + 1, f"(?!/)[{'^' if negated else ''}{inside}]"


def _regex(tokens: list[str]) -> str:
    # Each `*` but the last takes the first place where what follows it fits, and never gives it
    # back (an atomic group): what comes later can always start further right, so this is exact.
    pieces: list[str] = [""]
    for token in tokens:
        if token == _STAR:
            pieces.append("")
        else:
            pieces[-1] += token
    if len(pieces) == 1:
        return f"{pieces[0]}\\Z"
    middle = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{pieces[0]}{middle}[^/]*{pieces[-1]}\\Z"


def _matches(segments: list[re.Pattern[str] | None], parts: list[str]) -> bool:
    end = len(segments)
    states = _skip(segments, {0})
    for part in parts:
        following: set[int] = set()
        for state in states:
            if state == end:
                continue
            segment = segments[state]
            if segment is None:
                following.add(state)
                if state == end - 1:
                    following.add(end)
            elif segment.match(part):
                following.add(state + 1)
        states = _skip(segments, following)
        if not states:
            return False
    return end in states


def _skip(segments: list[re.Pattern[str] | None], states: set[int]) -> set[int]:
    # `**` may stand for no segment at all, except at the end, where something must follow.
    for state in sorted(states):
        if state < len(segments) - 1 and segments[state] is None:
            states.add(state + 1)
    return states
