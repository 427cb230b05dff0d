"""store.samples: samples, events and calls, and how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bkg_workbench.bus.calls import Finished
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.protocol.capabilities import QueryCalls, QueryEvents, QuerySamples
from bkg_workbench.store import samples
from bkg_workbench.store.samples import Samples

NOW = 10_000_000_000
NAN = float("nan")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Samples]:
    one = Samples(tmp_path / "samples.db", ManualClock(NOW / 1000))
    one.open()
    yield one
    one.close()


def call(capability: str, outcome: str = "ok") -> Finished:
    return Finished(NOW, capability, "goose", "ann", outcome, 1.5)


async def test_samples_come_back_with_their_further_numbers(kept: Samples) -> None:
    kept.add_sample("goose", NOW, 12.5, 1e6, {"users": 3, "rate": 0.5})
    kept.add_sample("duck", NOW, None, None)
    assert await kept.query_samples(QuerySamples(plugin="goose")) == {
        "records": [
            {"seq": 1, "at": NOW, "plugin": "goose", "cpu": 12.5, "mem_bytes": 1e6,
             "users": 3, "rate": 0.5}
        ],
        "next": 1,
    }  # fmt: skip


async def test_what_is_no_finite_number_is_left_out(kept: Samples) -> None:
    odd = {"nan": NAN, "text": "x", "truth": True, "fine": -1, "plugin": 7}
    kept.add_sample("goose", NOW, NAN, float("inf"), odd)  # type: ignore[arg-type]
    (record,) = (await kept.query_samples(QuerySamples()))["records"]
    assert record == {
        "seq": 1, "at": NOW, "plugin": "goose", "cpu": None, "mem_bytes": None, "fine": -1,
    }  # fmt: skip


async def test_queries_give_the_newest_or_what_comes_after_oldest_first(kept: Samples) -> None:
    for n in range(10):
        kept.add_event("goose", f"Event{n}", "running", "why", NOW + n)
    newest = await kept.query_events(QueryEvents(limit=3))
    assert [r["event"] for r in newest["records"]] == ["Event7", "Event8", "Event9"]
    page = await kept.query_events(QueryEvents(after=2, limit=3))
    assert [r["seq"] for r in page["records"]] == [3, 4, 5]
    assert page["next"] == 5
    assert await kept.query_events(QueryEvents(after=10)) == {"records": [], "next": 10}
    assert (await kept.query_events(QueryEvents(plugin="duck")))["records"] == []


async def test_calls_are_found_by_capability_plug_in_and_outcome(kept: Samples) -> None:
    for one in (call("a.b"), call("a.c", "request_timeout"), call("a.b", "overloaded")):
        kept.add_call(one)

    async def found(**query: str) -> list[int]:
        return [r["seq"] for r in (await kept.query_calls(QueryCalls(**query)))["records"]]

    assert await found() == [1, 2, 3]
    assert await found(capability="a.b") == [1, 3]
    assert await found(outcome="request_timeout") == [2]
    assert await found(plugin="duck") == []
    assert await found(capability="a.b", outcome="overloaded", plugin="goose") == [3]


async def test_numbers_go_on_after_a_restart_and_nothing_added_is_lost(kept: Samples) -> None:
    for _ in range(5):
        kept.add_call(call("a.b"))
    kept.close()
    kept.close()
    kept.add_call(call("between"))
    kept.open()
    records = (await kept.query_calls(QueryCalls()))["records"]
    assert [r["seq"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["capability"] == "between"


async def test_old_rows_and_rows_over_the_bound_are_given_up(
    kept: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PRUNE_EVERY", 1)
    monkeypatch.setitem(samples.KEPT, "samples", (10, 1_000))
    for n in range(5):
        kept.add_sample("old", NOW - 5_000 + n, 1, 1)
    kept.add_sample("goose", NOW, 1, 1)
    assert [r["plugin"] for r in (await kept.query_samples(QuerySamples()))["records"]] == ["goose"]
    for _ in range(30):
        kept.add_sample("goose", NOW, 1, 1)
    assert len((await kept.query_samples(QuerySamples()))["records"]) == 10


async def test_what_waits_is_bounded_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "WAITING_ROWS", 10)
    one = Samples(tmp_path / "samples.db")
    for _ in range(15):
        one.add_call(call("a.b"))
    assert one.dropped == 5


async def test_a_disk_that_fails_is_told_and_counted_never_raised(
    kept: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise samples.sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Samples, "_insert", fail)
        kept.add_call(call("a.b"))
        assert (await kept.query_calls(QueryCalls()))["records"] == []
    assert kept.dropped == 1
    assert kept.trouble is not None
    kept.add_call(call("a.c"))
    assert len((await kept.query_calls(QueryCalls()))["records"]) == 1
    assert kept.trouble is None
