"""The live log's kernel side: what is sent, when, and what is bounded and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bkg_workbench.errors import HostGone
from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets import logs
from bkg_workbench.widgets.logs import LogTail


class Tail(LogTail):
    """A log whose messages to the page are kept."""

    def __init__(self, bench: ScriptedBench, **more: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[list[Any]]]] = []
        super().__init__(bench, **more)

    def send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self.sent.append((content, json.loads((buffers or [b"[]"])[0])))

    def hello(self, after: int = 0, token: str = "t") -> None:
        self._handle_custom_msg({"kind": "hello", "after": after, "token": token}, [])
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
    assert content == {"kind": "backlog", "token": "a", "after": 0, "dropped": 0}
    assert messages(records) == ["one", "two"]
    bench.log("three")
    bench.log("four")
    tail.step()
    [(content, records)] = tail.take()
    assert content == {"kind": "batch", "dropped": 0}
    assert records[0] == [3, bench.now_ms, "repoagent", "log", "info", "three"]
    assert messages(records) == ["three", "four"]


def test_a_page_that_comes_back_gets_only_what_it_lacks(bench: ScriptedBench, tail: Tail) -> None:
    bench.log("one", "two", "three")
    tail.hello(after=2)
    [(_, records), *_] = tail.take()
    assert messages(records) == ["three"]


def test_a_long_absence_is_said(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "BACKLOG", 10)
    bench.log(*(f"line {n}" for n in range(100)))
    tail.hello(after=20)
    [(content, records), *_] = tail.take()
    assert content["dropped"] == 70
    assert len(records) == 10


@pytest.mark.row("K14")
def test_a_flood_is_bounded_and_what_is_dropped_is_counted(
    bench: ScriptedBench, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail.hello()
    tail.take()
    monkeypatch.setattr(logs, "PENDING", 50)
    monkeypatch.setattr(logs, "BATCH", 20)
    bench.log(*(f"line {n}" for n in range(200)))
    assert tail.step()
    assert tail.step()
    assert not tail.step()
    sent = tail.take()
    assert sent[0][0]["dropped"] == 150
    assert sum(len(records) for _, records in sent) == 50
    assert messages(sent[-1][1])[-1] == "line 199"


def test_what_the_host_dropped_is_passed_on(bench: ScriptedBench, tail: Tail) -> None:
    tail.hello()
    tail.take()
    bench.send("logs.repoagent", {"from": 1, "to": 9, "dropped": 9, "records": []})
    tail.step()
    assert tail.take() == [({"kind": "batch", "dropped": 9}, [])]


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
    kinds = [content["kind"] for content, _ in tail.take()]
    assert kinds == ["resync", "batch"]


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


def test_the_page_never_parses_a_line_as_markup() -> None:
    for name in ("logs.js", "presence.js"):
        source = (logs.STATIC / name).read_text("utf-8")
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
