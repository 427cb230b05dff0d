"""Trace context: what is read from a `traceparent`, and what the next hop gets."""

from __future__ import annotations

import pytest

from bkg_workbench.protocol.trace import Span, hop, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_survives_being_read_and_written():
    text = f"00-{TRACE}-{SPAN}-01"
    assert parse(text) == Span(TRACE, SPAN)
    assert str(parse(text)) == text
    assert str(parse(f"00-{TRACE}-{SPAN}-00")) == f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    "text",
    [
        None, "", "nonsense", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)  # fmt: skip
def test_what_is_not_well_formed_begins_a_new_trace(text: str | None):
    assert parse(text) is None
    assert hop(text, trace_id="a" * 32, span_id="b" * 16) == Span("a" * 32, "b" * 16)


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert parse(f"01-{TRACE}-{SPAN}-09-more") == Span(TRACE, SPAN)


def test_a_hop_keeps_the_trace_and_its_flag_and_stands_below_the_one_before():
    span = hop(f"00-{TRACE}-{SPAN}-00", trace_id="a" * 32, span_id="b" * 16)
    assert span == Span(TRACE, "b" * 16, SPAN, is_sampled=False)
