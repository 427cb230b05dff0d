"""`bkg logs -f` shows every record that matches once, whatever order the news of them come in."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from bkg_workbench.cli import logs
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.logs import Tail, show
from bkg_workbench.client.records import Records
from bkg_workbench.errors import HostGone
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.logindex import select
from tests.helpers import eventually


class Bench:
    """The part of a workbench that following needs, over records in memory."""

    workspace = "here"

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.followers: list[Callable[[str, Any], None]] = []
        self.watchers: list[Callable[[Any], None]] = []
        self.connected = True
        self.state = SimpleNamespace(plugins={"a": None, "b": None})
        self.on_query: list[Callable[[], None]] = []
        self.queries = 0

    def say(self, plugin: str, seq: int, message: str = "", level: str = "info") -> None:
        record = {"seq": seq, "at": seq, "plugin": plugin, "source": "log", "level": level}
        self.records.append({**record, "message": message or f"{plugin}{seq}"})

    def tell(self, plugin: str) -> None:
        for follower in list(self.followers):
            follower(f"logs.{plugin}", {"plugin": plugin})

    def logs(self, plugin: str | None = None, **filters: Any) -> Records:
        query = QueryLogs(plugin=plugin, **filters)
        self.queries += 1
        found = select(iter(sorted(self.records, key=lambda r: r["seq"])), query)
        for hook in self.on_query[:1]:
            self.on_query.remove(hook)
            hook()
        return Records(found)

    def follow(self, topics: list[str], callback: Callable[[str, Any], None]) -> Callable[[], None]:
        self.followers.append(callback)
        return lambda: self.followers.remove(callback)

    def on_change(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self.watchers.append(callback)
        return lambda: self.watchers.remove(callback)

    def lose(self) -> None:
        self.connected = False
        for watcher in list(self.watchers):
            watcher(None)


@contextmanager
def following(
    bench: Bench, lines: int = 10, name: str | None = None, **filters: Any
) -> Iterator[Callable[[], list[int]]]:
    """Follow in a thread; gives what tells the numbers shown so far. It ends with the Host."""
    console = Console(is_json=True, out=io.StringIO(), err=io.StringIO())
    tail = Tail(bench, name, filters, console)  # type: ignore[arg-type]
    ended: list[BaseException] = []

    def run() -> None:
        try:
            tail.run(lines)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def shown() -> list[int]:
        assert isinstance(console.out, io.StringIO)
        return [json.loads(line)["seq"] for line in console.out.getvalue().splitlines()]

    try:
        eventually(lambda: bench.queries and bench.followers)
        yield shown
    finally:
        bench.lose()
        thread.join(5)
    assert [type(error) for error in ended] == [HostGone]
    assert bench.followers == []
    assert bench.watchers == []


def test_what_comes_is_shown_once_after_the_newest_lines() -> None:
    bench = Bench()
    for seq in range(1, 6):
        bench.say("a", seq)
    with following(bench, lines=2) as shown:
        eventually(lambda: shown() == [4, 5])
        bench.say("a", 6)
        bench.tell("a")
        bench.tell("a")
        eventually(lambda: shown() == [4, 5, 6])


def test_what_is_said_between_subscribing_and_asking_is_shown_once() -> None:
    bench = Bench()
    bench.say("a", 1)
    bench.on_query.append(lambda: (bench.say("a", 2), bench.tell("a"))[0])
    with following(bench) as shown:
        eventually(lambda: shown() == [1, 2])


def test_a_record_that_lands_after_one_with_a_higher_number_is_not_lost() -> None:
    bench = Bench()
    bench.say("a", 3)
    bench.on_query.append(lambda: (bench.say("b", 2), bench.tell("b"))[0])
    with following(bench) as shown:
        eventually(lambda: shown() == [3, 2])


def test_after_a_reset_what_no_batch_told_of_is_shown() -> None:
    bench = Bench()
    with following(bench) as shown:
        for plugin, seq in (("a", 1), ("b", 2), ("host", 3)):
            bench.say(plugin, seq)
        bench.followers[0]("reset", {"reason": "1 MiB was not read"})
        eventually(lambda: sorted(shown()) == [1, 2, 3])
        bench.say("b", 4)
        bench.tell("b")
        eventually(lambda: shown()[-1] == 4)


def test_more_records_than_one_answer_holds_all_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PIECE", 10)
    bench = Bench()
    with following(bench) as shown:
        for seq in range(1, 36):
            bench.say("a", seq)
        bench.tell("a")
        eventually(lambda: shown() == list(range(1, 36)))


def test_the_filters_count_for_what_comes_too() -> None:
    bench = Bench()
    with following(bench, level="warn", text="disk", regex="full$") as shown:
        bench.say("a", 1, "disk full")
        bench.say("a", 2, "Disk is full", "error")
        bench.say("a", 3, "disk full of it", "error")
        bench.tell("a")
        eventually(lambda: shown() == [2])


def test_with_no_lines_only_what_comes_is_shown() -> None:
    bench = Bench()
    bench.say("a", 1)
    bench.say("b", 2)
    with following(bench, lines=0) as shown:
        bench.say("a", 3)
        bench.tell("a")
        bench.tell("b")
        eventually(lambda: shown() == [3])


def test_one_plugin_is_followed_alone() -> None:
    bench = Bench()
    bench.say("b", 1)
    with following(bench, name="a") as shown:
        bench.say("a", 2)
        bench.tell("a")
        eventually(lambda: shown() == [2])


def test_a_line_has_time_level_plugin_and_message_that_cannot_steer() -> None:
    console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
    record = {"seq": 1, "at": 0, "plugin": "demo", "level": "warn", "message": "a\x1b[2Jb"}
    show(console, [record])
    assert isinstance(console.out, io.StringIO)
    line = console.out.getvalue()
    assert line.endswith("  warn   demo          a\\x1b[2Jb\n")
