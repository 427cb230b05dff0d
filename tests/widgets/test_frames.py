"""Records as DataFrames."""

from __future__ import annotations

import pandas as pd
import pytest

from bkg_workbench.client.records import Records
from bkg_workbench.widgets.frames import COLUMNS, frame

RECORDS: dict[str, dict[str, object]] = {
    "logs": {"seq": 1, "at": 0, "plugin": "a", "source": "log", "level": "info", "message": "m"},
    "telemetry": {"seq": 1, "at": 0, "plugin": "a", "cpu": None, "mem_bytes": 5, "models": 2.0},
    "events": {"seq": 1, "at": 0, "plugin": "a", "event": "e", "state": "running", "why": ""},
    "calls": {"seq": 1, "at": 0, "capability": "a.b", "plugin": None, "caller": "c",
              "outcome": "ok", "duration_ms": 2},
    "versions": {"version": 1, "at": 0, "author": "a", "reason": None, "diff": [], "settings": {}},
}  # fmt: skip


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


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_table_of_a_kind_has_its_columns_with_records_and_without(kind: str) -> None:
    empty, one = frame([], kind), frame([RECORDS[kind]], kind)
    assert set(COLUMNS[kind]) == set(empty.columns)
    assert set(COLUMNS[kind]) <= set(one.columns)
    assert [c for c in one.columns if c in empty.columns] == list(empty.columns)
    for table in (empty, one):
        assert str(table["at"].dtype).endswith("UTC]")
    both = pd.concat([empty, one])
    assert both["at"].dtype == one["at"].dtype


def test_questions_to_an_empty_table_have_empty_answers() -> None:
    logs, telemetry = frame([], "logs"), frame([], "telemetry")
    assert logs[logs["level"] == "error"].groupby("plugin").size().empty
    assert logs[logs["message"].str.contains("x") & (logs["at"] > "2026-01-01")].empty
    assert telemetry.set_index("at").resample("1min")["cpu"].mean().empty


def test_figures_that_are_not_known_stay_figures() -> None:
    table = frame([RECORDS["telemetry"]], "telemetry")
    assert table["cpu"].dtype == "float64"
    assert table["cpu"].isna().all()


def test_the_kind_of_records_reaches_their_table() -> None:
    import bkg_workbench

    assert bkg_workbench.Workbench is not None  # its import registers the hook
    assert list(Records(kind="events").df.columns) == [
        "seq", "at", "plugin", "event", "state", "why"
    ]  # fmt: skip
