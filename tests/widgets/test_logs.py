"""The live log's kernel side: what is sent, when, and what is bounded and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bkg_workbench.errors import HostGone
from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets import logreader, logs
from bkg_workbench.widgets.live import text
from bkg_workbench.widgets.logs import LogTail


class Tail(LogTail):
    """A log whose messages to the page are kept."""

    def __init__(self, bench: ScriptedBench, **more: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[list[Any]]]] = []
        super().__init__(bench, **more)

    def send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self.sent.append((content, json.loads((buffers or [b"[]"])[0])))

    def ask(self, **content: Any) -> None:
        """A message of a page's."""
        self._handle_custom_msg(content, [])

    def hello(self, after: dict[str, int] | None = None, floor: int = 0, token: str = "t") -> None:
        self.ask(kind="hello", after=after or {}, floor=floor, token=token)
        self.step()

    def take(self) -> list[tuple[dict[str, Any], list[list[Any]]]]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def bench() -> ScriptedBench:
    return ScriptedBench()


@pytest.fixture
def tail(bench: ScriptedBench) -> Iterator[Tail]:
    tail = Tail(bench)
    yield tail
    tail.close()


def messages(records: list[list[Any]]) -> list[str]:
    return [record[5] for record in records]


def test_nothing_is_sent_before_a_page_says_hello(bench: ScriptedBench, tail: Tail) -> None:
    bench.log("one")
    tail.step()
    assert tail.take() == []


def test_hello_is_answered_with_what_came_before_and_batches_follow(
    bench: ScriptedBench, tail: Tail
) -> None:
    bench.log("one", "two")
    tail.step()
    tail.hello(token="a")
    [(content, records)] = tail.take()
    said = {"repoagent": (2, 2, 1)}
    assert content == {"kind": "backlog", "token": "a", "said": said, "whole": True}
    assert messages(records) == ["one", "two"]
    bench.log("three")
    bench.log("four")
    tail.step()
    [(content, records)] = tail.take()
    assert content == {"kind": "batch", "said": {"repoagent": (4, 4, 1)}}
    assert records[0] == [3, bench.now_ms, "repoagent", "log", "info", "three"]
    assert messages(records) == ["three", "four"]


def test_a_page_that_comes_back_gets_only_what_it_lacks(bench: ScriptedBench, tail: Tail) -> None:
    bench.log("one", "two", "three")
    tail.hello(after={"repoagent": 2})
    [(_, records), *_] = tail.take()
    assert messages(records) == ["three"]


def test_a_long_absence_is_told_as_what_was_said_meanwhile(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "BACKLOG", 10)
    bench.log(*(f"line {n}" for n in range(100)))
    tail.hello(after={"repoagent": 20}, floor=20)
    [(content, records), *_] = tail.take()
    assert content["said"] == {"repoagent": (100, 100, 1)}
    assert not content["whole"]
    assert len(records) == 10


def test_a_page_that_asks_twice_is_answered_once(bench: ScriptedBench, tail: Tail) -> None:
    bench.log("one")
    tail.ask(kind="hello", after={}, token="t")
    tail.ask(kind="hello", after={}, token="t")
    tail.step()
    assert len(tail.take()) == 1


@pytest.mark.row("K14")
def test_a_flood_is_bounded_and_what_is_dropped_is_counted(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail.hello()
    tail.take()
    monkeypatch.setattr(logs, "PENDING", 50)
    monkeypatch.setattr(logs, "BATCH", 20)
    for n in range(0, 200, 10):
        bench.log(*(f"line {m}" for m in range(n, n + 10)))
    assert tail.step()
    assert tail.step()
    assert not tail.step()
    sent = tail.take()
    assert sum(len(records) for _, records in sent) == 50
    assert messages(sent[-1][1])[-1] == "line 199"
    assert sent[-1][0]["said"] == {"repoagent": (200, 200, 1)}


def test_what_the_host_dropped_is_passed_on(bench: ScriptedBench, tail: Tail) -> None:
    tail.hello()
    tail.take()
    lost = {"plugin": "repoagent", "from": 1, "to": 9, "dropped": 9, "total": 9, "records": []}
    bench.send("logs.repoagent", lost)
    tail.step()
    assert tail.take() == [({"kind": "batch", "said": {"repoagent": (9, 9, 1)}}, [])]


def test_after_a_pause_each_page_is_asked_to_say_hello_again(
    bench: ScriptedBench, tail: Tail
) -> None:
    tail.hello()
    tail.take()
    tail.pause()
    bench.log("while nobody looked")
    tail.pause()
    bench.log("later")
    tail.step()
    sent = tail.take()
    assert [content["kind"] for content, _ in sent] == ["resync", "batch"]
    assert sent[-1][0]["said"] == {"repoagent": (2, 2, 1)}


def test_a_reset_begins_the_subscription_anew(bench: ScriptedBench, tail: Tail) -> None:
    tail.hello()
    tail.take()
    bench.send("logs.x", {})  # nothing special
    for _, fn in list(bench.followers):
        fn("reset", {"reason": "1 MiB was not read"})
    tail.step()
    assert len(bench.followers) == 1
    bench.log("on we go")
    tail.step()
    sent = tail.take()
    assert sent[0][0]["kind"] == "resync"
    assert messages(sent[-1][1]) == ["on we go"]


def test_a_host_out_of_reach_leaves_the_page_as_it_is(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise HostGone(path="/srv/w")

    monkeypatch.setattr(bench, "logs", gone)
    tail.hello()
    assert [records for _, records in tail.take()] == [[]]


def test_lines_travel_as_data_whatever_they_hold(bench: ScriptedBench, tail: Tail) -> None:
    hostile = "</script><img src=x onerror=alert(1)>\u2028\x1b[31mred\x00"
    bench.log(hostile)
    tail.hello()
    [(_, records), *_] = tail.take()
    assert messages(records) == [hostile]


@pytest.mark.row("G18")
def test_the_page_never_parses_a_line_as_markup() -> None:
    for name in (*logs.SCRIPTS, "presence.js"):
        source = text(name)
        assert "innerHTML" not in source
        assert "insertAdjacentHTML" not in source
        assert "http://" not in source
        assert "https://" not in source


def test_a_log_of_one_plugin_follows_only_that(bench: ScriptedBench) -> None:
    tail = Tail(bench, plugin="candle")
    tail.hello()
    tail.take()
    bench.log("not for me", plugin="repoagent")
    bench.log("for me", plugin="candle")
    tail.step()
    assert [messages(records) for _, records in tail.take()] == [["for me"]]
    tail.close()
    assert bench.followers == []


def pieces(bench: ScriptedBench, tail: Tail, **filters: str) -> list[dict[str, Any]]:
    """All that a download gives: the chain of questions, as a page asks them."""
    found: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"after": 0}
    while True:
        tail.ask(kind="piece", token="f", filters=filters, **asked)
        tail.settle()
        [(content, records)] = tail.take()
        found += records
        bench.log("said while the file is made")
        if content["done"]:
            return found
        asked = {"after": content["next"], "until": content["until"], "first": content["first"]}


def test_a_download_has_every_record_up_to_its_beginning(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logreader, "PIECE", 7)
    for n in range(50):
        bench.log(
            f"line {n}", plugin=("goose", "candle")[n % 2], level=("info", "error")[n % 5 == 0]
        )
    assert [r["message"] for r in pieces(bench, tail)] == [f"line {n}" for n in range(50)]
    bench.records.clear()
    for n in range(50):
        bench.log(
            f"line {n}", plugin=("goose", "candle")[n % 2], level=("info", "error")[n % 5 == 0]
        )
    found = pieces(bench, tail, plugin="candle", level="error")
    assert [r["message"] for r in found] == [f"line {n}" for n in range(5, 50, 10)]
    assert found[0]["seq"] == 6


def test_older_records_come_before_the_page_s_first(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logreader, "OLDER", 10)
    bench.log(*(f"line {n}" for n in range(25)))
    tail.ask(kind="older", before=21, token="o")
    tail.ask(kind="older", before=6, token="p")
    tail.settle()
    [(first, newer), (second, oldest)] = tail.take()
    assert messages(newer) == [f"line {n}" for n in range(10, 20)]
    assert first == {"kind": "older", "token": "o", "whole": False}
    assert messages(oldest) == [f"line {n}" for n in range(5)]
    assert second["whole"]


@pytest.mark.parametrize(
    "question",
    [
        {"kind": "older"},
        {"kind": "older", "before": "x"},
        {"kind": "piece", "after": None},
        {"kind": "piece", "after": 0, "filters": [1]},
        {"kind": "piece", "after": 0, "filters": {"level": "loud"}},
    ],
    ids=lambda question: "-".join(map(str, question)),
)
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(
    tail: Tail, question: dict[str, Any]
) -> None:
    tail.ask(token="q", **question)
    tail.settle()
    [(content, _)] = tail.take()
    assert content["token"] == "q"
    assert content.get("error", "").endswith(".") or question.get("filters") == {"level": "loud"}


def test_a_host_out_of_reach_ends_a_download_with_a_sentence(
    tail: Tail, bench: ScriptedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise HostGone(path="/srv/w")

    monkeypatch.setattr(bench, "logs", gone)
    tail.ask(kind="piece", after=0, token="q")
    tail.settle()
    [(content, _)] = tail.take()
    assert "/srv/w" in content["error"]


def test_many_questions_at_once_are_refused_and_the_thread_ends(
    bench: ScriptedBench, tail: Tail
) -> None:
    for n in range(200):
        tail.ask(kind="older", before=1, token=str(n))
    tail.settle()
    sent = tail.take()
    assert len(sent) == 200
    assert {content["token"] for content, _ in sent} == {str(n) for n in range(200)}
    tail.end()
    tail.ask(kind="older", before=1, token="late")
    assert tail.take() == []
