"""Following logs gives every record once, whatever order the news of them come in."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.client import tail
from bkg_workbench.client.records import Records
from bkg_workbench.client.tail import Tail
from bkg_workbench.errors import HostGone
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.logsearch import select

PLUGINS = ("a", "b", "host")
PIECE = 3

Action = tuple[str, str]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PIECE", PIECE)
    monkeypatch.setattr(tail, "BEHIND_SECONDS", 0)


class Bench:
    """A Host's logs as a workbench sees them: said, then found, then told of, each in its time.

    `script` holds what happens before and after each question.
    """

    workspace = "here"

    def __init__(self, script: list[Action] | None = None) -> None:
        self.state = SimpleNamespace(plugins={"a": None, "b": None})
        self.connected = True
        self.script = list(script or [])
        self.count = 0
        self.said: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.untold: set[str] = set()
        self.followers: list[tuple[list[str], Callable[[str, Any], None]]] = []
        self.watchers: list[Callable[[Any], None]] = []
        self.lag = False
        self.known_at: dict[str, int] = {}
        self.queries: list[QueryLogs] = []

    # what happens
    def do(self, what: str, plugin: str = "a") -> None:
        match what:
            case "say" | "warn":
                self.count += 1
                level = "warn" if what == "warn" else "info"
                record = {"seq": self.count, "at": self.count, "plugin": plugin, "source": "log"}
                self.said[plugin].append({**record, "level": level, "message": f"{self.count}"})
            case "find" if self.said[plugin]:
                self.found[plugin].append(self.said[plugin].pop(0))
                self.untold.add(plugin)
            case "tell" if plugin in self.untold:
                self.untold.discard(plugin)
                for topics, follower in list(self.followers):
                    if "logs" in topics or f"logs.{plugin}" in topics:
                        follower(f"logs.{plugin}", {"plugin": plugin})
            case "reset":
                # The subscription is over; what is told from here on is lost to it.
                broken, self.followers = self.followers, []
                for _, follower in broken:
                    follower("reset", {"reason": "1 MiB was not read"})
            case "lag":
                self.lag = True

    def settle(self) -> None:
        for plugin in PLUGINS:
            while self.said[plugin]:
                self.do("find", plugin)
            self.do("tell", plugin)

    def step(self) -> None:
        if self.script:
            self.do(*self.script.pop(0))

    # what a workbench can do
    async def alogs(self, plugin: str | None = None, **filters: Any) -> Records:
        self.step()
        await asyncio.sleep(0)
        query = QueryLogs(plugin=plugin, **filters)
        self.queries.append(query)
        records = [r for p in PLUGINS for r in self.found[p]]
        behind, self.lag = self.lag, False
        if behind:
            records = [r for p in PLUGINS for r in self.found[p][:-1]]
        if plugin and query.limit == 1 and not behind:
            self.known_at[plugin] = len([r for r in records if r["plugin"] == plugin])
        chosen = select(iter(sorted(records, key=lambda r: r["seq"])), query)
        self.step()
        return Records(chosen, behind=behind)

    async def afollow(
        self, topics: list[str], callback: Callable[[str, Any], None]
    ) -> Callable[[], None]:
        self.step()
        one = (topics, callback)
        self.followers.append(one)

        def end() -> None:
            if one in self.followers:
                self.followers.remove(one)

        return end

    def on_change(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self.watchers.append(callback)
        return lambda: self.watchers.remove(callback)

    def lose(self) -> None:
        self.connected = False
        for watcher in list(self.watchers):
            watcher(None)


@contextlib.asynccontextmanager
async def following(bench: Bench, **options: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """Follow in a task; gives the list that the records go to. It ends with the Host."""
    got: list[dict[str, Any]] = []

    async def follow() -> None:
        one = Tail(bench, options.pop("plugin", None), **options)  # type: ignore[arg-type]
        async with contextlib.aclosing(one.batches()) as batches:
            async for records in batches:
                assert records
                got.extend(records)

    task = asyncio.create_task(follow())
    await quiet()
    try:
        yield got
    finally:
        bench.lose()
        with pytest.raises(HostGone):
            await asyncio.wait_for(task, 5)
    assert bench.followers == []
    assert bench.watchers == []


async def quiet() -> None:
    """Until whoever can go on has gone on."""
    for _ in range(40):
        await asyncio.sleep(0)


def numbers(records: list[dict[str, Any]], plugin: str | None = None) -> list[int]:
    return [r["seq"] for r in records if plugin in (None, r["plugin"])]


actions = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "warn", "find", "find", "find", "tell", "reset", "lag"]),
        st.sampled_from(PLUGINS),
    ),
    max_size=30,
)


async def followed(
    before: list[Action], meanwhile: list[Action], later: list[Action], **options: Any
) -> tuple[Bench, list[dict[str, Any]]]:
    bench = Bench()
    for action in before:
        if action[0] not in ("reset", "lag"):
            bench.do(*action)
    bench.script = list(meanwhile)
    async with following(bench, **options) as got:
        for action in later:
            bench.do(*action)
            await asyncio.sleep(0)
        while bench.script:
            bench.step()
        bench.settle()
        await quiet()
    return bench, got


@settings(max_examples=100, deadline=None)
@given(actions, actions, actions, st.sampled_from([None, "warn"]))
def test_from_a_number_on_every_record_comes_once_and_in_its_plugins_order(
    before: list[Action], meanwhile: list[Action], later: list[Action], level: str | None
) -> None:
    options = {"after": 0, "filters": {"level": level}}
    bench, got = asyncio.run(followed(before, meanwhile, later, **options))
    for plugin in PLUGINS:
        wanted = [r for r in bench.found[plugin] if level in (None, r["level"])]
        assert numbers(got, plugin) == numbers(wanted)
    assert len(got) == len({r["seq"] for r in got})


@settings(max_examples=100, deadline=None)
@given(actions, actions, actions)
def test_from_now_on_every_record_comes_once_and_none_of_before(
    before: list[Action], meanwhile: list[Action], later: list[Action]
) -> None:
    bench, got = asyncio.run(followed(before, meanwhile, later))
    for plugin in PLUGINS:
        known = bench.known_at[plugin]
        assert numbers(got, plugin) == numbers(bench.found[plugin][known:])


@settings(max_examples=100, deadline=None)
@given(actions, actions, actions, st.integers(1, 8))
def test_with_older_lines_first_nothing_comes_twice_and_nothing_new_is_lost(
    before: list[Action], meanwhile: list[Action], later: list[Action], lines: int
) -> None:
    bench, got = asyncio.run(followed(before, meanwhile, later, lines=lines))
    assert len(got) == len({r["seq"] for r in got})
    for plugin in PLUGINS:
        there, seen = numbers(bench.found[plugin]), numbers(got, plugin)
        # Without a gap: from the first that was shown on, all of them.
        assert seen == there[len(there) - len(seen) :]


@settings(max_examples=100, deadline=None)
@given(actions, actions)
def test_where_one_ended_the_next_one_goes_on(before: list[Action], later: list[Action]) -> None:
    async def run() -> None:
        bench = Bench()
        got: list[dict[str, Any]] = []
        for part in (before, later):
            bench.connected = True
            for action in part:
                if action[0] not in ("reset", "lag"):
                    bench.do(*action)
            seen = {plugin: max(numbers(got, plugin), default=0) for plugin in PLUGINS}
            async with following(bench, after=seen) as more:
                await quiet()
            got += more
        for plugin in PLUGINS:
            assert numbers(got, plugin) == numbers(bench.found[plugin])

    asyncio.run(run())


async def test_what_is_there_already_comes_in_the_order_of_its_numbers() -> None:
    bench = Bench()
    for plugin in "abbaabababbbbbaa":
        bench.do("say", plugin)
    bench.settle()
    async with following(bench, after=0) as got:
        assert numbers(got) == list(range(1, 17))
    assert all(query.limit == PIECE for query in bench.queries)


async def test_one_plugin_is_followed_alone_and_the_filters_count() -> None:
    bench = Bench()
    async with following(bench, plugin="a", filters={"level": "warn", "text": None}) as got:
        for what, plugin in (("warn", "b"), ("say", "a"), ("warn", "a")):
            bench.do(what, plugin)
        bench.settle()
        await quiet()
        assert numbers(got) == [3]
    assert {query.plugin for query in bench.queries} == {"a"}


async def test_a_plugin_that_comes_later_is_followed_from_its_first_line() -> None:
    bench = Bench()
    async with following(bench) as got:
        bench.state.plugins["host"] = None
        bench.do("say", "host")
        bench.settle()
        await quiet()
        assert numbers(got) == [1]
