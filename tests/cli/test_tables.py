"""Columns line up, fit, and let nothing through that steers a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.cli.tables import Cell, clean, clip, pairs, table, width_of

HEADERS = ["NAME", "PORT", "URL"]
ROWS = [["bus", "43121", "ws://127.0.0.1:43121/bus"], ["a-longer-name", "80", "-"]]


def test_columns_line_up_and_no_line_ends_in_space() -> None:
    lines = table(HEADERS, ROWS, right={"PORT"})
    assert lines == [
        "NAME            PORT  URL",
        "bus            43121  ws://127.0.0.1:43121/bus",
        "a-longer-name     80  -",
    ]


def test_wide_and_combining_characters_take_the_cells_that_they_take() -> None:
    lines = table(["A", "B"], [["日本", "x"], ["e\u0301e", "x"], ["abcd", "x"]])
    assert [width_of(line) for line in lines[1:]] == [7, 7, 7]


def test_a_narrow_terminal_cuts_the_widest_column_and_says_so() -> None:
    lines = table(HEADERS, ROWS, width=36)
    assert max(map(width_of, lines)) <= 36
    assert lines[1].endswith("…")


def test_a_column_that_is_to_be_copied_stays_whole() -> None:
    lines = table(HEADERS, ROWS, width=30, whole={"URL", "PORT"})
    assert "ws://127.0.0.1:43121/bus" in lines[1]


def test_without_a_terminal_nothing_is_cut() -> None:
    assert len(table(["A"], [["x" * 500]])[1]) == 500


def test_colours_do_not_move_columns() -> None:
    rows = [[Cell("running", "green"), "x"], [Cell("up", "red"), "x"]]
    painted = table(["STATE", "N"], rows, colours=True)
    assert "\x1b[32mrunning\x1b[0m" in painted[1]
    assert [re.sub("\x1b\\[[0-9]+m", "", line) for line in painted] == table(["STATE", "N"], rows)


def test_a_table_without_rows_is_its_head() -> None:
    assert table(HEADERS, []) == ["NAME  PORT  URL"]


def test_pairs_line_up() -> None:
    assert pairs([("a", "1"), ("long", Cell("2"))]) == ["a     1", "long  2"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x07", "a\\x0db\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("two\nlines", "two\\x0alines"),
        ("\u202eabc", "\\u202eabc"),
        ("a\tb", "a    b"),
        ("Grüße, 日本", "Grüße, 日本"),
    ],
)
def test_what_could_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(max_size=60), st.integers(min_value=0, max_value=40))
def test_a_clipped_text_never_takes_more_cells_than_asked(text: str, cells: int) -> None:
    assert width_of(clip(text, cells)) <= max(cells, 0) or width_of(text) <= cells


@given(st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), max_size=5))
def test_no_cell_breaks_the_lines_of_a_table(rows: list[list[str]]) -> None:
    lines = table(HEADERS, rows, width=60)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() or "\n" not in line for line in lines)
    assert not any("\x1b" in line for line in lines)
