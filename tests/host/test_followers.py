"""Who follows what the Host publishes: one that fails, or cannot be reached, hurts only itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bkg_workbench.bus.channel import memory_pair
from bkg_workbench.bus.clock import SystemClock
from bkg_workbench.bus.connection import Connection
from bkg_workbench.host.subscriptions import Subscriptions
from bkg_workbench.protocol.envelopes import Event, decode


def test_a_callback_that_fails_keeps_nobody_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscriptions, seen = Subscriptions(), []

    def fail(topic: str, seq: int, data: Any) -> None:
        raise ZeroDivisionError

    subscriptions.add(["state"], on_event=fail)
    subscriptions.add(["state"], on_event=lambda topic, seq, data: seen.append((seq, data)))
    subscriptions.publish("state", {"a": 1})
    subscriptions.publish("state", {"a": 2})
    assert seen == [(0, {"a": 1}), (1, {"a": 2})]
    assert "a callback for state failed" in caplog.text


async def test_an_event_that_fits_into_no_frame_leads_to_a_reset() -> None:
    host, client = memory_pair()
    connection = Connection(host, "client", clock=SystemClock(), kind="client")
    connection.start()
    subscriptions = Subscriptions()
    key = subscriptions.add(["state"], connection=connection)
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    subscriptions.publish("state", deep)
    async with asyncio.timeout(5):
        event = decode(await client.receive())
    assert isinstance(event, Event)
    assert (event.subscription, event.seq, event.topic) == (key, 0, "reset")
    await connection.close()
