"""Lines from bytes: nothing is lost in silence, nothing reaches a terminal."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.supervisor.output import LINE_BYTES, Drain, Lines, clean


def lines_of(*parts: bytes) -> list[str]:
    lines = Lines()
    return [line for part in parts for line in lines.feed(part)] + lines.end()


@pytest.mark.row("L7")
def test_the_last_line_needs_no_newline():
    assert lines_of(b"one\ntwo") == ["one", "two"]
    assert lines_of(b"one\n") == ["one"]
    assert lines_of(b"") == []


def test_empty_lines_are_lines():
    assert lines_of(b"\n\na\n\n") == ["", "", "a", ""]


@pytest.mark.row("L4")
def test_a_line_is_cut_at_16_kib_and_says_how_much_is_missing():
    for parts in ([b"x" * 100_000 + b"\nnext\n"], [b"x" * 60_000, b"x" * 40_000, b"\nnext\n"]):
        long, following = lines_of(*parts)
        assert long == "x" * LINE_BYTES + f"…[+{100_000 - LINE_BYTES} bytes]"
        assert following == "next"
    first, long, following = lines_of(b"a\n" + b"x" * 20_000 + b"\nnext\n")
    assert (first, len(long.partition("…")[0]), following) == ("a", LINE_BYTES, "next")


@pytest.mark.row("L3")
def test_a_line_without_end_takes_no_memory():
    lines = Lines()
    for _ in range(1600):
        assert lines.feed(b"y" * 65_536) == []
    assert len(lines._rest) == LINE_BYTES
    [line] = lines.feed(b"\n")
    assert line.endswith(f"…[+{1600 * 65_536 - LINE_BYTES} bytes]")


@pytest.mark.row("L5")
def test_bytes_that_are_not_text_are_replaced():
    [line] = lines_of(bytes(b for b in range(256) if b != 10))
    assert "\ufffd" in line
    assert "ABC" in line
    assert line.isprintable() or "\t" in line
    line.encode()  # no lone surrogates


@pytest.mark.row("L5")
def test_what_a_carriage_return_overwrites_is_one_line():
    assert lines_of(b" 1 %\r 2 %\r", b"100 %\r\nnext\r\n") == ["100 %", "next"]
    assert lines_of(b"half\r", b"\nnext\n") == ["half", "next"]
    assert lines_of(b"a\nb\rc\nd\n") == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07copied", "copied"),
        ("\x9b31mred", "red"),
        ("\x1bPq data\x1b\\after", "after"),
        ("bell\x07 back\x08 nul\x00", "bell back nul"),
        ("\x1b", ""),
        ("a\tb", "a\tb"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("\x1b]0;never ended", ""),
    ],
)
@pytest.mark.row("L6")
def test_terminal_sequences_are_removed(text: str, expected: str):
    assert clean(text) == expected


@given(st.lists(st.binary(max_size=200)))
@pytest.mark.row("L5")
def test_any_bytes_in_any_pieces_give_the_same_lines(parts: list[bytes]):
    assert lines_of(*parts) == lines_of(b"".join(parts))


@given(st.lists(st.text(st.characters(blacklist_categories=("C", "Zl", "Zp")))))
def test_text_comes_through_as_it_is(texts: list[str]):
    assert lines_of("".join(f"{text}\n" for text in texts).encode()) == texts


@pytest.mark.row("L2")
def test_half_a_million_lines_take_seconds_at_most():
    block = b"".join(b"2026-01-01 00:00:00 INFO line %06d of many\n" % n for n in range(1400))
    block, lines, count = block[:65_536], Lines(), 0
    start = time.process_time()
    while count < 500_000:
        count += len(lines.feed(block))
    assert time.process_time() - start < 10.0


async def test_a_drain_goes_on_when_its_lines_cannot_be_taken(caplog: pytest.LogCaptureFixture):
    taken = []

    def take(lines: list[str]) -> None:
        taken.extend(lines)
        raise RuntimeError("full")

    reader, writer = os.pipe()
    drain = Drain(reader, take)
    os.write(writer, b"one\n")
    await asyncio.sleep(0)
    os.write(writer, b"two")
    os.close(writer)
    await asyncio.wait_for(drain.ended, 5)
    assert "".join(taken) in ("onetwo",)
    assert "could not be taken" in caplog.text
    drain.close()
