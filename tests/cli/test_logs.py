"""How log records look, what times of the command line mean, and what an export holds."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.cli import export
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.logs import show
from bkg_workbench.cli.times import instant
from bkg_workbench.client.records import Records
from bkg_workbench.errors import InvalidParams, WorkspaceError
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.logsearch import select

NOW = 1_790_000_000_000


class Bench:
    """The part of a workbench that an export needs, over records in memory."""

    def __init__(self, count: int = 0) -> None:
        self.records: list[dict[str, Any]] = []
        self.limits: list[int] = []
        for _ in range(count):
            self.say()

    def say(self, message: str = "", plugin: str = "a", level: str = "info") -> None:
        seq = len(self.records) + 1
        record = {"seq": seq, "at": NOW + seq, "plugin": plugin, "source": "log", "level": level}
        self.records.append({**record, "message": message or f"line {seq}"})

    def logs(self, plugin: str | None = None, **filters: Any) -> Records:
        query = QueryLogs(plugin=plugin, **{k: v for k, v in filters.items() if v is not None})
        self.limits.append(query.limit)
        found = select(iter(self.records), query)
        self.say("said while the export goes on")
        return Records(found)


def written(bench: Bench, file: Path, **options: Any) -> tuple[int, str]:
    done = export.export(bench, file, options.pop("plugin", None), {}, **options)  # type: ignore[arg-type]
    assert done["file"] == str(file)
    return done["records"], file.read_text()


def test_an_export_holds_all_that_was_there_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PIECE", 10)
    bench = Bench(95)
    count, text = written(bench, tmp_path / "all.jsonl")
    assert count == 95
    assert [json.loads(line)["seq"] for line in text.splitlines()] == list(range(1, 96))
    assert max(bench.limits) == 10


def test_an_export_to_csv_keeps_every_character(tmp_path: Path) -> None:
    bench = Bench()
    bench.say('a "quoted", line\\n=1+1 ä')
    _, text = written(bench, tmp_path / "all.CSV")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["message"] == 'a "quoted", line\\n=1+1 ä'
    assert row["time"] == "2026-09-21T14:13:20.001+00:00"
    assert (row["seq"], row["timestamp"]) == ("1", "")


def test_an_export_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    assert written(Bench(), tmp_path / "none.jsonl") == (0, "")
    assert written(Bench(), tmp_path / "none.csv") == (0, ",".join(export.COLUMNS) + "\n")


def test_only_the_newest_are_exported_where_that_is_asked(tmp_path: Path) -> None:
    count, text = written(Bench(20), tmp_path / "some.jsonl", newest=3)
    assert count == 3
    assert [json.loads(line)["seq"] for line in text.splitlines()] == [18, 19, 20]


def test_an_export_is_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    written(Bench(3), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("older\n")
    bench = Bench(3)

    def fail(*_: Any, **__: Any) -> Records:
        raise InvalidParams("no such filter")

    bench.logs = fail  # type: ignore[method-assign]
    with pytest.raises(InvalidParams):
        written(bench, file)
    assert file.read_text() == "older\n"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(WorkspaceError, match="cannot be written"):
        written(Bench(), tmp_path / "none" / "all.jsonl")


@pytest.mark.parametrize(
    ("text", "ago_ms"),
    [("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("3d", 259_200_000), ("1.5h", 5_400_000),
     ("250ms", 250), ("1W", 604_800_000), ("5 min", 300_000), ("0s", 0)],
)  # fmt: skip
def test_a_duration_means_so_long_ago(text: str, ago_ms: int) -> None:
    assert instant(text, NOW) == NOW - ago_ms


def test_a_time_may_be_iso_8601_in_any_zone() -> None:
    assert instant("2026-09-21T14:13:20Z", 0) == NOW
    assert instant("2026-09-21T16:13:20.000+02:00", 0) == NOW
    local = datetime.fromtimestamp(NOW / 1000, UTC).astimezone().replace(tzinfo=None)
    assert instant(local.isoformat(), 0) == NOW
    assert instant("2026-09-21", 0) == round(datetime(2026, 9, 21).timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "10", "10y", "-5m", "2026-13-01", "9" * 12 + "h"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidParams, match="give 10m, 2h or 3d"):
        instant(text, NOW)


def test_a_line_has_time_level_plugin_and_message_that_cannot_steer() -> None:
    console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
    record = {"seq": 1, "at": 0, "plugin": "demo", "level": "warn", "message": "a\x1b[2Jb"}
    show(console, [record])
    assert isinstance(console.out, io.StringIO)
    line = console.out.getvalue()
    assert line.endswith("  warn   demo          a\\x1b[2Jb\n")
