"""How durations, sizes, times and differences read."""

from __future__ import annotations

from datetime import datetime

import pytest

from bkg_workbench.cli.words import DASH, change, count, duration, moment, percent, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH), (-3, "0.0 s"), (0.44, "0.4 s"), (59.4, "59 s"), (60, "1 min 00 s"),
        (3599, "59 min 59 s"), (7500, "2 h 05 min"), (270_000, "3 d 3 h"),
    ],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, DASH), (0, "0 B"), (512, "512 B"), (1023, "1.0 KiB"), (4.5 * 2**20, "4.5 MiB"),
        (87 * 2**20, "87 MiB"), (1.2 * 2**30, "1.2 GiB"), (3 * 2**40, "3.0 TiB"),
    ],
)  # fmt: skip
def test_a_size_has_a_binary_unit(octets: float | None, text: str) -> None:
    assert size(octets) == text


def test_shares_and_counts() -> None:
    assert [percent(None), percent(0.44), percent(137.2)] == [DASH, "0.4 %", "137 %"]
    assert [count(1, "file"), count(1200, "file")] == ["1 file", "1,200 files"]


def test_a_time_is_local_and_says_the_day_unless_it_is_today() -> None:
    local = datetime(2026, 3, 1, 12, 30, 5, 250_000)
    at = int(local.timestamp() * 1000)
    assert moment(at) == "2026-03-01 12:30:05.250"
    assert moment(at, today=local) == "12:30:05.250"
    assert moment(None) == DASH
    assert moment(10**18) == str(10**18)


def test_a_difference_is_one_line() -> None:
    assert change({"op": "add", "path": "/a", "after": 1}) == "+ /a: 1"
    assert change({"op": "remove", "path": "/a", "before": 1}) == "- /a: 1"
    assert change({"op": "replace", "path": "", "before": 1, "after": 2}) == "~ /: 1 → 2"
