"""One state for everybody: a snapshot and the events after it give the owner's state."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.envelopes import raw, value
from bkg_workbench.protocol.state import (
    STORY_LENGTH,
    AnyStateEvent,
    Beat,
    Beaten,
    Chapter,
    Cleared,
    Configured,
    Defined,
    Disconnected,
    Moved,
    Notice,
    Noticed,
    Port,
    Ported,
    Prepared,
    Registered,
    Removed,
    Watched,
    WorkbenchState,
    fold,
)

EMPTY = WorkbenchState(instance="i", version="1", workspace="/w", started_at=1)
KINDS = get_args(AnyStateEvent)

words = st.sampled_from(["", "one", "two", "<b>", "ä😀"])
plugins = st.sampled_from(["a", "b", "c"])
times = st.integers(0, 2**53)
small = st.dictionaries(words, st.integers() | words | st.lists(st.none(), max_size=1), max_size=2)
errors = st.dictionaries(st.sampled_from(["", "/x"]), words, max_size=2)
names = st.lists(st.sampled_from(["a.x", "b.y"]), max_size=2).map(tuple)
definitions = st.builds(Definition, name=plugins, description=words, settings=small)
chapters = st.builds(
    Chapter,
    at=times,
    event=st.sampled_from(["Spawned", "Registered", "Exited"]),
    state=st.sampled_from(["stopped", "starting", "running", "stopping", "backoff", "failed"]),
    why=words,
)
beats = st.builds(Beat, at=times, status=st.sampled_from(["up", "degraded"]), detail=words)
EVENTS: dict[type, st.SearchStrategy[Any]] = {
    Defined: st.builds(Defined, plugin=plugins, definition=definitions, config_version=times),
    Removed: st.builds(Removed, plugin=plugins),
    Moved: st.builds(
        Moved,
        plugin=plugins,
        chapter=chapters,
        wanted=st.sampled_from(["up", "down"]),
        generation=times,
        pid=st.none() | times,
        restarts=times,
        last_exit=st.none() | words,
    ),
    Prepared: st.builds(Prepared, plugin=plugins, line=words),
    Registered: st.builds(
        Registered,
        plugin=plugins,
        port=st.just("internal") | st.integers(0, 65_535),
        capabilities=names,
        conflicts=names,
        meta=small,
        config_schema=st.none() | small,
    ),
    Disconnected: st.builds(Disconnected, plugin=plugins),
    Beaten: st.builds(Beaten, plugin=plugins, beat=beats),
    Configured: st.builds(
        Configured,
        plugin=plugins,
        settings=small,
        version=times,
        errors=errors,
        restart_needed=st.booleans(),
        config_schema=st.none() | small,
    ),
    Watched: st.builds(Watched, plugin=plugins, until=st.none() | times),
    Ported: st.builds(
        Ported,
        ports=st.lists(st.builds(Port, name=words, port=times, url=words), max_size=2).map(tuple),
    ),
    Noticed: st.builds(
        Noticed, notice=st.builds(Notice, key=st.sampled_from("kl"), text=words, at=times)
    ),
    Cleared: st.builds(Cleared, key=st.sampled_from("klm")),
}
events = st.one_of(*EVENTS.values())
histories = st.lists(events, max_size=30)


def folded(state: WorkbenchState, history: list[AnyStateEvent]) -> WorkbenchState:
    for event in history:
        state = fold(state, event)
    return state


def over_the_wire(data: Any, kind: Any) -> Any:
    """As an attached workbench gets it: through JSON and plain values."""
    return msgspec.convert(value(raw(data)), kind)


def defined(name: str = "a") -> Defined:
    return Defined(plugin=name, definition=Definition(name=name), config_version=0)


def moved(state: str, number: int = 0, **more: Any) -> Moved:
    chapter = Chapter(at=number, event="Spawned", state=state, why=more.pop("why", ""))  # type: ignore[arg-type]
    return Moved(plugin="a", chapter=chapter, wanted="up", generation=1, **more)


# -- for any history ------------------------------------------------------------------------------
def test_every_event_has_a_strategy_here() -> None:
    assert set(EVENTS) == set(KINDS)


@settings(deadline=None, max_examples=60)
@given(histories, st.data())
def test_a_snapshot_and_the_events_after_it_give_the_owners_state(
    history: list[AnyStateEvent], data: Any
) -> None:
    owner = folded(EMPTY, history)
    joined = data.draw(st.integers(0, len(history)))
    state = over_the_wire(folded(EMPTY, history[:joined]), WorkbenchState)
    for event in history[joined:]:
        state = fold(state, over_the_wire(event, AnyStateEvent))
    assert state == owner
    assert state.seq == len(history)
    assert list(state.plugins) == list(owner.plugins)


@settings(deadline=None, max_examples=60)
@given(histories, events)
def test_folding_changes_nothing_that_was_there(
    history: list[AnyStateEvent], event: AnyStateEvent
) -> None:
    state = folded(EMPTY, history)
    before = msgspec.json.encode(state)
    fold(state, event)
    assert msgspec.json.encode(state) == before


@settings(deadline=None, max_examples=60)
@given(histories, events.filter(lambda e: hasattr(e, "plugin") and not isinstance(e, Defined)))
def test_an_event_of_an_unknown_plugin_changes_the_number_alone(
    history: list[AnyStateEvent], event: Any
) -> None:
    state = folded(EMPTY, history)
    stranger = msgspec.structs.replace(event, plugin="stranger")
    after = fold(state, stranger)
    assert after == msgspec.structs.replace(state, seq=state.seq + 1)


@settings(deadline=None, max_examples=60)
@given(events)
def test_each_event_is_the_same_after_json(event: AnyStateEvent) -> None:
    assert over_the_wire(event, AnyStateEvent) == event
    assert value(raw(event))["event"] == type(event).__name__.lower()


@settings(deadline=None, max_examples=40)
@given(histories)
def test_plugins_are_sorted_and_keyed_by_their_name(history: list[AnyStateEvent]) -> None:
    state = folded(EMPTY, history)
    assert list(state.plugins) == sorted(state.plugins)
    assert all(key == plugin.name for key, plugin in state.plugins.items())
    keys = [notice.key for notice in state.notices]
    assert len(set(keys)) == len(keys)


# -- one by one -----------------------------------------------------------------------------------
def test_a_story_keeps_its_latest_chapters_only() -> None:
    history = [defined(), *(moved("running", n) for n in range(200))]
    story = folded(EMPTY, history).plugins["a"].story  # type: ignore[arg-type]
    assert [chapter.at for chapter in story] == list(range(200 - STORY_LENGTH, 200))


def test_since_is_when_the_state_last_changed() -> None:
    state = folded(EMPTY, [defined(), moved("starting", 1), moved("running", 2)])
    assert fold(state, moved("running", 9)).plugins["a"].since == 2
    assert fold(state, moved("stopping", 9)).plugins["a"].since == 9


@pytest.mark.parametrize("down", ["stopped", "failed", "backoff"])
def test_a_plugin_that_is_down_serves_nothing(down: str) -> None:
    up = Registered(plugin="a", port=5, capabilities=("a.x",), conflicts=("b.y",), meta={"v": 1})
    beat = Beaten(plugin="a", beat=Beat(at=1, status="up"))
    state = folded(EMPTY, [defined(), moved("starting"), up, moved("running"), beat])
    plugin = fold(state, moved(down, why="it ended")).plugins["a"]
    assert (plugin.port, plugin.capabilities, plugin.conflicts) == (None, (), ())
    assert plugin.health is None
    # What it is stays known.
    assert plugin.meta == {"v": 1}
    assert plugin.reason == "it ended"
    assert fold(state, Disconnected(plugin="a")).plugins["a"].capabilities == ()


def test_a_preparing_line_is_shown_while_it_starts() -> None:
    line = Prepared(plugin="a", line="preparing: wheels")
    state = folded(EMPTY, [defined(), moved("starting"), line, moved("starting")])
    assert state.plugins["a"].preparing == "preparing: wheels"
    assert fold(state, moved("running")).plugins["a"].preparing is None


def test_a_schema_once_known_is_not_forgotten() -> None:
    known = Registered(plugin="a", port=5, config_schema={"type": "object"})
    state = folded(EMPTY, [defined(), known, Registered(plugin="a", port=5)])
    state = fold(state, Configured(plugin="a", settings={"x": 1}, version=3, errors={"/x": "no"}))
    plugin = state.plugins["a"]
    assert plugin.config_schema == {"type": "object"}
    assert (plugin.definition.settings, plugin.config_version) == ({"x": 1}, 3)
    assert plugin.config_errors == {"/x": "no"}


def test_a_changed_definition_keeps_what_the_plugin_is_doing() -> None:
    state = folded(EMPTY, [defined(), moved("running", pid=7)])
    new = Definition(name="a", description="new")
    state = fold(state, Defined(plugin="a", definition=new, config_version=2))
    plugin = state.plugins["a"]
    assert (plugin.state, plugin.pid, plugin.definition.description) == ("running", 7, "new")
    assert fold(state, Removed(plugin="a")).plugins == {}


def test_a_notice_of_the_same_key_is_replaced_and_cleared() -> None:
    notices = [Notice(key="k", text=text, at=1) for text in ("one", "two")]
    state = folded(EMPTY, [Noticed(notice=notice) for notice in notices])
    assert state.notices == (notices[1],)
    assert fold(state, Cleared(key="other")).notices == (notices[1],)
    assert fold(state, Cleared(key="k")).notices == ()
