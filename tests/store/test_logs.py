"""store.logs: numbering, dropping, rotation, redaction, searching, and what a start finds."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store import logindex, logs, logsearch, logtext
from bkg_workbench.store.logfiles import LogFile
from bkg_workbench.store.logs import Batch, Logs

Opener = Callable[..., Logs]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens logs in the test's folder; all are closed at the end."""
    all_logs: list[Logs] = []

    def make(file_bytes: int = 10_000_000) -> Logs:
        def small(folder: Path, name: str) -> LogFile:
            return LogFile(folder, name, file_bytes=file_bytes)

        one = Logs(tmp_path / "logs", ManualClock(), files=small)
        all_logs.append(one)
        one.open()
        return one

    yield make
    for one in all_logs:
        one.close()


def say(one: Logs, *messages: str, plugin: str = "goose", level: str = "info") -> None:
    for message in messages:
        one.append(plugin, "stdout", level, message)


async def messages(one: Logs, **query: Any) -> list[str]:
    reply = await one.query(QueryLogs(**query))
    return [record["message"] for record in reply["records"]]


def stored(folder: Path, name: str = "goose") -> list[dict[str, Any]]:
    """Every record in a plug-in's files, oldest first."""
    files = sorted(folder.glob(f"{name}*.jsonl"), reverse=True)
    files.sort(key=lambda f: -int(f.name.split(".")[1]) if f.name.count(".") > 1 else 0)
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


async def test_a_line_can_be_asked_for_as_soon_as_it_is_said(opened: Opener) -> None:
    one = opened()
    one.append("goose", "stderr", "warning", "hot", at=5, timestamp="2024-01-01T00:00:00Z")
    assert await one.query(QueryLogs()) == {
        "records": [
            {
                "seq": 1,
                "at": 5,
                "plugin": "goose",
                "source": "stderr",
                "level": "warn",
                "message": "hot",
                "timestamp": "2024-01-01T00:00:00Z",
            }
        ],
        "next": 1,
    }


async def test_lines_said_before_opening_wait_and_none_is_taken_after_closing_twice(
    tmp_path: Path,
) -> None:
    one = Logs(tmp_path / "logs")
    say(one, "early")
    one.open()
    one.open()
    assert await messages(one) == ["early"]
    one.close()
    one.close()
    assert [r["message"] for r in stored(tmp_path / "logs")] == ["early"]


async def test_numbers_go_on_where_the_files_end(opened: Opener) -> None:
    one = opened()
    say(one, "a", "b")
    one.close()
    two = opened()
    say(two, "c", plugin="duck")
    reply = await two.query(QueryLogs())
    assert [(r["seq"], r["message"]) for r in reply["records"]] == [(1, "a"), (2, "b"), (3, "c")]


async def test_queries_narrow_by_each_of_their_fields(opened: Opener) -> None:
    one = opened()
    for at, (plugin, source, level, text) in enumerate(
        [
            ("goose", "stdout", "debug", "Honk one"),
            ("goose", "stderr", "error", "honk 100% _two_"),
            ("duck", "log", "warn", "quack (three)"),
            ("duck", "log", "info", "QUACK four"),
        ]
    ):
        one.append(plugin, source, level, text, at=at)
    everything = ["Honk one", "honk 100% _two_", "quack (three)", "QUACK four"]
    for query, places in [
        ({}, [0, 1, 2, 3]),
        ({"plugin": "goose"}, [0, 1]),
        ({"level": "warn"}, [1, 2]),
        ({"level": "debug"}, [0, 1, 2, 3]),
        ({"source": "log"}, [2, 3]),
        ({"text": "honk"}, [0, 1]),
        ({"text": "ack"}, [2, 3]),
        ({"text": "0% _"}, [1]),
        ({"text": "_t%"}, []),
        ({"text": "(three)"}, [2]),
        ({"text": 'quote"'}, []),
        ({"regex": r"^h.*\d+%"}, [1]),
        ({"regex": "(?i)QUACK", "text": "four"}, [3]),
        ({"since": 1, "until": 2}, [1, 2]),
        ({"limit": 2}, [2, 3]),
        ({"after": 0, "limit": 2}, [0, 1]),
        ({"after": 2}, [2, 3]),
        ({"after": 9}, []),
    ]:
        assert await messages(one, **query) == [everything[p] for p in places], query


async def test_paging_by_next_meets_every_record_once(opened: Opener) -> None:
    one = opened()
    say(one, *(f"line {n}" for n in range(25)))
    seen, after = [], 0
    while True:
        reply = await one.query(QueryLogs(after=after, limit=7))
        seen += [r["seq"] for r in reply["records"]]
        if not reply["records"]:
            break
        after = reply["next"]
    assert seen == list(range(1, 26))
    assert reply["next"] == 25


async def test_text_is_found_in_old_and_new_rows_alike(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "RECENT_ROWS", 10)
    monkeypatch.setattr(logindex, "TEXT_ROWS", 20)
    one = opened()
    say(one, *(f"number {n} {'needle' if n % 20 == 3 else 'hay'}" for n in range(200)))
    wanted = [f"number {n} needle" for n in range(3, 200, 20)]
    assert await messages(one, text="NEEDLE") == wanted
    assert await messages(one, text="needle", limit=2) == wanted[-2:]
    assert await messages(one, text="needle", limit=2, after=30) == wanted[2:4]
    assert await messages(one, text="ne", plugin="goose", limit=10) == wanted
    assert await messages(one, text="needle", plugin="duck") == []


async def test_a_regex_that_is_none_or_runs_away_is_told(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "REGEX_SECONDS", 0.2)
    one = opened()
    say(one, "ab" * 5000 + "!")
    with pytest.raises(InvalidParams, match="not a regular expression"):
        await messages(one, regex="((")
    with pytest.raises(InvalidParams, match="takes longer"):
        await messages(one, regex=r"^((ab)*|b)*(ab|a|b)*((ab)*)*$")


# Dropping and telling


@pytest.mark.row("L2")
async def test_received_is_stored_plus_dropped_and_the_gap_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 100)
    one = Logs(tmp_path / "logs")
    say(one, *(f"line {n}" for n in range(250)))  # nobody takes them yet
    one.open()
    await one.flush()
    say(one, "after")
    found = await messages(one, limit=1000)
    assert found[:100] == [f"line {n}" for n in range(100)]
    assert "150 lines dropped: more came than could be kept" in found
    counters = one.counters("goose")
    assert (counters.received, counters.dropped) == (251, 150)
    assert len(found) - 1 == counters.received - counters.dropped
    one.close()


@pytest.mark.row("L2", "B22")
async def test_lines_dropped_on_their_way_here_are_counted_and_announced(opened: Opener) -> None:
    one = opened()
    say(one, "kept")
    one.miss("goose", 40)
    one.miss("goose", 2)
    await one.flush()
    say(one, "after")
    found = await messages(one)
    told = [int(text.split()[0]) for text in found if "lines dropped" in text]
    assert sum(told) == 42
    counters = one.counters("goose")
    assert (counters.received, counters.dropped) == (44, 42)


async def test_bytes_that_wait_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "QUEUE_BYTES", 100_000)
    one = Logs(tmp_path / "logs")
    say(one, *(["x" * 1_000_000] * 50))
    assert one.counters("goose").dropped >= 40
    assert one._queued_bytes < 120_000


async def test_many_threads_lose_nothing(opened: Opener) -> None:
    one = opened()
    threads = [
        threading.Thread(target=say, args=(one, *(f"{t} {n}" for n in range(1_000))))
        for t in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reply = await one.query(QueryLogs(limit=100_000))
    assert [r["seq"] for r in reply["records"]] == list(range(1, 8_001))
    for t in range(8):
        own = [r["message"] for r in reply["records"] if r["message"].startswith(f"{t} ")]
        assert own == [f"{t} {n}" for n in range(1_000)]


async def test_records_before_a_number_are_the_newest_of_those(opened: Opener) -> None:
    one = opened()
    for n in range(20):
        say(one, f"line {n}", plugin=("goose", "duck")[n % 2])
    reply = await one.query(QueryLogs(before=11, limit=3))
    assert [r["seq"] for r in reply["records"]] == [8, 9, 10]
    reply = await one.query(QueryLogs(plugin="duck", before=11, limit=3, text="line"))
    assert [r["seq"] for r in reply["records"]] == [6, 8, 10]
    reply = await one.query(QueryLogs(before=11, after=7))
    assert [r["seq"] for r in reply["records"]] == [8, 9, 10]


async def test_listeners_get_every_record_in_batches_of_one_plug_in(opened: Opener) -> None:
    one = opened()
    batches: list[Batch] = []
    unsubscribe = one.listen(batches.append)
    for n in range(300):
        say(one, f"{n}", plugin=("goose", "duck")[n % 2])
    await one.flush()
    assert sorted(r.seq for b in batches for r in b.records) == list(range(1, 301))
    assert {(b.plugin, r.plugin) for b in batches for r in b.records} == {
        ("goose", "goose"),
        ("duck", "duck"),
    }
    wire = batches[0].to_wire()
    assert set(wire) == {"plugin", "from", "to", "dropped", "total", "records"}
    assert [b.total for b in batches if b.plugin == "goose"][-1] == 150
    assert wire["from"] == batches[0].records[0].seq
    assert wire["to"] == batches[0].records[-1].seq
    unsubscribe()
    count = len(batches)
    say(one, "unheard")
    await one.flush()
    assert len(batches) == count


async def test_a_batch_is_bounded_and_says_what_is_not_in_it(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "BATCH_RECORDS", 10)
    one = opened()
    batches: list[Batch] = []
    one.listen(batches.append)
    say(one, *(f"{n}" for n in range(1_000)))
    await one.flush()
    assert all(len(b.records) <= 10 for b in batches)
    assert sum(len(b.records) + b.dropped for b in batches) == 1_000
    assert len(await messages(one, limit=1000)) == 1_000


async def test_a_listener_that_fails_harms_nobody(opened: Opener) -> None:
    one = opened()
    heard: list[Batch] = []

    def fail(batch: Batch) -> None:
        raise ValueError("no")

    one.listen(fail)
    one.listen(heard.append)
    say(one, "a")
    assert await messages(one) == ["a"]
    assert len(heard) == 1


async def test_a_round_that_fails_is_counted_and_the_next_one_is_kept(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened()

    def fail(messages: list[str]) -> list[str]:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(logtext, "clean_all", fail)
        say(one, "a", "b")
        await one.flush()
    say(one, "c")
    await one.flush()
    say(one, "d")
    assert set(await messages(one)) == {
        "c",
        "2 lines dropped: more came than could be kept",
        "d",
    }
    counters = one.counters("goose")
    assert (counters.received, counters.dropped) == (4, 2)


# Files


@pytest.mark.row("L10")
async def test_rotation_keeps_the_sequence_whole_and_the_disk_bounded(
    opened: Opener, tmp_path: Path
) -> None:
    one = opened(file_bytes=20_000)
    for n in range(2_000):
        say(one, f"line {n} " + "x" * (n % 90))
        if n % 100 == 0:
            await one.flush()
    reply = await one.query(QueryLogs(limit=100_000))
    folder = tmp_path / "logs"
    files = list(folder.glob("goose*.jsonl"))
    assert len(files) == 5
    assert all(file.stat().st_size <= 20_000 for file in files)
    kept = [record["seq"] for record in stored(folder)]
    assert kept == list(range(kept[0], 2_001))
    assert 500 < len(kept) < 2_000
    # What rotation gave up is not found any more, and what is left is.
    assert [r["seq"] for r in reply["records"]] == kept
    assert await messages(one, text=f"line {kept[0] - 2} ") == []
    assert len(await messages(one, text="line 1999 ")) == 1


async def test_a_line_that_a_crash_left_unfinished_is_cut_off(
    opened: Opener, tmp_path: Path
) -> None:
    one = opened()
    say(one, "whole")
    one.close()
    file = tmp_path / "logs" / "goose.jsonl"
    with file.open("ab") as end:
        end.write(b'{"seq":2,"at":1,"plugin":"goo')
    two = opened()
    say(two, "next")
    assert await messages(two) == ["whole", "next"]
    assert [r["seq"] for r in stored(tmp_path / "logs")] == [1, 2]


async def test_a_damaged_line_costs_only_itself(opened: Opener, tmp_path: Path) -> None:
    one = opened()
    say(one, "a", "b", "c")
    one.close()
    file = tmp_path / "logs" / "goose.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b'{"seq":2,,,,\xff}\n' + lines[2])
    (tmp_path / "logs" / "index.db").unlink()
    assert await messages(opened()) == ["a", "c"]


@pytest.mark.parametrize("damage", ["gone", "garbage"])
async def test_the_index_is_made_anew_from_the_files(
    opened: Opener, tmp_path: Path, damage: str
) -> None:
    one = opened(file_bytes=5_000)
    say(one, *(f"line {n}" for n in range(200)))
    before = await one.query(QueryLogs())
    one.close()
    for file in (tmp_path / "logs").glob("index.db*"):
        file.unlink() if damage == "gone" else file.write_bytes(b"no index " * 1_000)
    two = opened(file_bytes=5_000)
    say(two, "one more")
    after = await two.query(QueryLogs())
    assert after["records"][:-1] == before["records"]
    assert not list((tmp_path / "logs").glob("*corrupt*"))


async def test_lines_of_a_plug_in_with_a_name_that_is_no_file_name_go_to_the_host(
    opened: Opener, tmp_path: Path
) -> None:
    one = opened()
    say(one, "evil", plugin="../../evil")
    assert await messages(one, plugin="host") == ["evil"]
    assert {file.name.split(".")[0] for file in (tmp_path / "logs").iterdir()} == {"host", "index"}


@pytest.mark.row("L11")
async def test_a_full_disk_is_outlived_and_told(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened()
    say(one, "before")
    await one.flush()
    real = logs.LogFile._append

    def full(self: LogFile, *_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logs.LogFile, "_append", full)
        say(one, "during", "during")
        assert await messages(one) == ["before", "during", "during"]  # from memory
        assert one.trouble is not None
        assert "No space left" in one.trouble
    assert logs.LogFile._append is real
    say(one, "after")
    await one.flush()
    say(one, "later")
    assert await messages(one) == [
        "before",
        "after",
        "2 lines dropped: more came than could be kept",
        "later",
    ] or await messages(one) == [
        "before",
        "after",
        "later",
        "2 lines dropped: more came than could be kept",
    ]
    counters = one.counters("goose")
    assert (counters.received, counters.dropped) == (5, 2)
    assert [r["message"] for r in stored(tmp_path / "logs")].count("during") == 0


# Cleaning


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain – text ✓", "plain – text ✓"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;aGk=\x1b\\copied", "copied"),
        ("10%\r50%\r100%", "100%"),
        ("a\x00b\x07c", "a�b�c"),
        ("tab\there", "tab\there"),
        ("first\n2024 ERROR forged", "first\\n2024 ERROR forged"),
        ("dos line\r\n", "dos line"),
        ("first\u2028forged\u2029too", "first�forged�too"),
        ("\u202eevil", "�evil"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("key bkg_0123456789ab_AbC-_9 used", "key bkg_0123456789ab_*** used"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("got bearer abcdef123456", "got bearer ***"),
        ('{"token": "s e c", "a": 1}', '{"token": ***, "a": 1}'),
        ("password=hunter2&x=1", "password=***&x=1"),
        ("PASSWORD: 'hunter 2'", "PASSWORD: ***"),
        ("api_key = abc, apiKey:def", "api_key = ***, apiKey:***"),
        ("client_secret=x", "client_secret=***"),
        ("max_tokens=512 and the monkey", "max_tokens=512 and the monkey"),
    ],
)
@pytest.mark.row("L6", "L14", "L15")
def test_a_line_is_kept_readable_on_one_line_and_without_secrets(said: str, kept: str) -> None:
    assert logtext.clean(said) == kept
    assert logtext.clean_all([said, "other"]) == [kept, "other"]


@pytest.mark.parametrize("unit", ["x", "é", "✓", "🦢"])
@pytest.mark.row("L13")
def test_a_long_line_is_cut_at_16_kib_of_utf8(unit: str) -> None:
    kept = logtext.clean(unit * 100_000)
    text, _, rest = kept.partition("…[+")
    size = len(unit.encode())
    assert 16_384 - size < len(text.encode()) <= 16_384
    assert abs(len(text.encode()) + int(rest.removesuffix(" bytes]")) - 100_000 * size) < size
    assert logtext.clean(unit * (16_384 // size)) == unit * (16_384 // size)
    assert logtext.clean(kept) == kept


@given(st.lists(st.text(max_size=40), max_size=40))
def test_cleaning_is_done_once_and_for_many_as_for_one(said: list[str]) -> None:
    kept = logtext.clean_all(said)
    assert kept == [logtext.clean(one) for one in said]
    assert all("\n" not in one and "\x1b" not in one for one in kept)
    assert [one.encode().decode() for one in kept] == kept


@pytest.mark.parametrize(
    ("given_level", "kept"),
    [("WARNING", "warn"), ("fatal", "error"), ("odd", "info"), (None, "info"), (7, "info")],
)
@pytest.mark.row("L13")
def test_levels_are_brought_to_the_four_that_there_are(given_level: Any, kept: str) -> None:
    assert logtext.level_of(given_level) == kept


@pytest.mark.row("J11", "L13")
async def test_odd_input_is_taken_as_data(opened: Opener) -> None:
    one = opened()
    for stamp in (float("nan"), float("inf"), [], {}, True, "x" * 1000, 10**400):
        one.append("goose", "nowhere", "odd", 5, timestamp=stamp)  # type: ignore[arg-type]
    found = (await one.query(QueryLogs()))["records"]
    assert [r["message"] for r in found] == ["5"] * 7
    assert {r["source"] for r in found} == {"log"}
    assert [r.get("timestamp") for r in found] == [None] * 5 + ["x" * 64, None]
