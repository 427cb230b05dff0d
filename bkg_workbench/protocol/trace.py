"""Trace context as the W3C has it (Trace Context, level 1): whose work a request is part of.

Owns the form of `traceparent` and what follows from one hop to the next. Ids are given, not made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Span:
    """One hop of a trace: `span_id` within `trace_id`, below `parent_id` (None: the first).

    Ids are lower-case hex, 16 and 32 characters, not all zeros.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    is_sampled: bool = True

    def __str__(self) -> str:
        """As a `traceparent`, for whoever works below this span."""
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED if self.is_sampled else 0:02x}"


def parse(traceparent: str | None) -> Span | None:
    """The span that a `traceparent` names, or None where there is none or it is not well formed.

    A version above 00 is read as far as 00 goes; ff, zero ids and capital letters are not valid.
    """
    found = _FORM.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if (
        version == "ff"
        or (version == "00" and rest)
        or not int(trace_id, 16)
        or not int(span_id, 16)
    ):
        return None
    return Span(trace_id, span_id, is_sampled=bool(int(flags, 16) & SAMPLED))


def hop(traceparent: str | None, *, trace_id: str, span_id: str) -> Span:
    """The span of a request that came with `traceparent`; `trace_id` is used where it has none."""
    above = parse(traceparent)
    if above is None:
        return Span(trace_id, span_id)
    return Span(above.trace_id, span_id, above.span_id, above.is_sampled)
