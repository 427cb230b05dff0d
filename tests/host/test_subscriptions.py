"""Who follows which topics: numbered without gaps, and one reset for who falls behind."""

from __future__ import annotations

from typing import Any

import pytest

from bkg_workbench.bus.channel import memory_pair
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.bus.connection import BACKLOG_BYTES, Connection
from bkg_workbench.errors import InvalidParams
from bkg_workbench.host.subscriptions import Subscriptions
from bkg_workbench.protocol.envelopes import Event, decode, value


class Follower(Connection):
    """A connection that is never started, so that what is posted can be looked at."""

    def __init__(self) -> None:
        channel, _ = memory_pair()
        super().__init__(channel, "client-1", clock=ManualClock(), kind="client")

    @property
    def events(self) -> list[tuple[str, int, str, Any]]:
        envelopes = [decode(frame) for frame in self._frames]
        return [
            (e.subscription, e.seq, e.topic, value(e.data))
            for e in envelopes
            if isinstance(e, Event)
        ]

    def read(self) -> None:
        self._frames.clear()
        self.backlog = 0


async def test_each_subscription_is_numbered_for_itself_without_gaps() -> None:
    subscriptions, connection = Subscriptions(), Follower()
    one = subscriptions.add(["state"], connection=connection)
    subscriptions.publish("state", 1)
    two = subscriptions.add(["state", "telemetry"], connection=connection)
    subscriptions.publish("telemetry", 2)
    subscriptions.publish("logs.a", 3)
    subscriptions.publish("state", 4)
    assert connection.events == [
        (one, 0, "state", 1),
        (two, 0, "telemetry", 2),
        (one, 1, "state", 4),
        (two, 1, "state", 4),
    ]


async def test_a_wider_topic_hears_of_the_narrower_once() -> None:
    subscriptions, connection = Subscriptions(), Follower()
    every = subscriptions.add(["logs"], connection=connection)
    one = subscriptions.add(["logs.a", "logs"], connection=connection)
    other = subscriptions.add(["logs.b"], connection=connection)
    subscriptions.publish("logs.a", "x", also="logs")
    assert [(key, topic) for key, _, topic, _ in connection.events] == [
        (every, "logs.a"),
        (one, "logs.a"),
    ]
    subscriptions.remove(every, connection)
    subscriptions.remove(one, connection)
    assert subscriptions.wanted("logs.b", "logs")
    assert not subscriptions.wanted("logs.a", "logs")
    subscriptions.remove(other, connection)
    subscriptions.remove(other, connection)
    assert not subscriptions.wanted("logs.b")


async def test_the_owner_is_called_with_plain_values() -> None:
    subscriptions, seen = Subscriptions(), []
    subscriptions.add(["state"], on_event=lambda *event: seen.append(event))
    for number in range(3):
        subscriptions.publish("state", {"n": number})
    assert seen == [("state", n, {"n": n}) for n in range(3)]


async def test_a_follower_that_fell_behind_gets_one_reset_and_then_nothing() -> None:
    subscriptions, slow, quick = Subscriptions(), Follower(), Follower()
    key = subscriptions.add(["logs"], connection=slow)
    subscriptions.add(["logs"], connection=quick)
    piece, count = "x" * 100_000, 0
    while slow.backlog <= BACKLOG_BYTES:
        subscriptions.publish("logs", piece)
        quick.read()
        count += 1
    for _ in range(20):
        subscriptions.publish("logs", piece)
        quick.read()
    subscriptions.publish("logs", "last")
    events = slow.events
    assert len(events) == count + 1
    assert events[-1][:3] == (key, count, "reset")
    assert [seq for _, seq, _, _ in events] == list(range(count + 1))
    # Others are not held up by it.
    assert quick.events[-1][1:] == (count + 20, "logs", "last")
    # It stays cut off, though it reads again, until it subscribes anew.
    slow.read()
    subscriptions.publish("logs", "more")
    assert slow.events == []
    again = subscriptions.add(["logs"], connection=slow)
    subscriptions.publish("logs", "more")
    assert slow.events == [(again, 0, "logs", "more")]


async def test_what_a_connection_follows_ends_with_it() -> None:
    subscriptions, connection, other = Subscriptions(), Follower(), Follower()
    subscriptions.add(["state"], connection=connection)
    subscriptions.add(["logs"], connection=connection)
    subscriptions.add(["telemetry"], connection=other)
    for closing in connection.closing:
        closing()
    assert not subscriptions.wanted("state", "logs")
    assert subscriptions.wanted("telemetry")


async def test_following_and_leaving_again_and_again_leaves_nothing() -> None:
    subscriptions, connection = Subscriptions(), Follower()
    for _ in range(100):
        subscriptions.remove(subscriptions.add(["logs"], connection=connection))
    assert len(connection.closing) == 1
    subscriptions.add(["logs"], connection=connection)
    connection.closing[0]()
    assert not subscriptions.wanted("logs")
    assert not subscriptions._connections


@pytest.mark.parametrize("topic", ["", "states", "log.a", "telemetry.a", "__proto__", "state "])
async def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    subscriptions = Subscriptions()
    with pytest.raises(InvalidParams, match="none of state, telemetry, logs") as caught:
        subscriptions.add(["state", topic], connection=Follower())
    assert "/topics" in caught.value.facts["errors"]
    assert not subscriptions.wanted("state")
