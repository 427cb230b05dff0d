"""Records as DataFrames."""

from __future__ import annotations

from bkg_workbench.widgets.frames import frame


def test_times_become_utc_and_known_columns_stand_first() -> None:
    table = frame(
        [
            {"message": "a", "extra": {"x": 1}, "at": 1_790_000_000_123, "seq": 1},
            {"message": "b", "at": 1_790_000_000_456, "seq": 2},
        ]
    )
    assert list(table.columns) == ["seq", "at", "message", "extra"]
    assert table["at"].iloc[0].isoformat() == "2026-09-21T14:13:20.123000+00:00"
    assert table["extra"].iloc[0] == {"x": 1}
    assert table["extra"].isna().tolist() == [False, True]


def test_no_records_make_an_empty_table() -> None:
    assert frame([]).empty
