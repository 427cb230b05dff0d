"""Who follows which topics.

Owns the subscriptions of attached connections and of the owner's own workbench, their numbering
(`seq` per subscription) and the rule for followers that fall behind: one `reset`, then nothing
until they subscribe again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from bkg_workbench.bus.connection import BACKLOG_BYTES, Connection
from bkg_workbench.errors import InvalidParams, ProtocolError
from bkg_workbench.protocol.envelopes import Event, raw

_log = logging.getLogger(__name__)

OnEvent = Callable[[str, int, Any], None]


@dataclass(slots=True)
class _Subscription:
    key: str
    topics: frozenset[str]
    connection: Connection | None = None
    on_event: OnEvent | None = None
    seq: int = 0
    broken: bool = False


class Subscriptions:
    """All subscriptions of one Host. Its methods belong to the Host's event loop."""

    def __init__(self) -> None:
        self._all: dict[str, _Subscription] = {}
        self._connections: set[Connection] = set()
        self._ids = itertools.count(1)

    def add(
        self,
        topics: list[str],
        *,
        connection: Connection | None = None,
        on_event: OnEvent | None = None,
    ) -> str:
        """Follow topics over a connection, or by a direct call. Raises `InvalidParams`."""
        for topic in topics:
            if topic not in ("state", "telemetry", "logs") and not topic.startswith("logs."):
                raise InvalidParams(
                    capability="host.subscribe",
                    errors={"/topics": f"{topic!r} is none of state, telemetry, logs, logs.NAME"},
                )
        key = f"s{next(self._ids)}"
        self._all[key] = _Subscription(key, frozenset(topics), connection, on_event)
        if connection is not None and connection not in self._connections:
            self._connections.add(connection)
            connection.closing.append(lambda: self._leave(connection))
        return key

    def _leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._all = {k: s for k, s in self._all.items() if s.connection is not connection}

    def remove(self, key: str, connection: Connection | None = None) -> None:
        """End a subscription of a connection's own; one that is not there is no error."""
        present = self._all.get(key)
        if present is not None and present.connection is connection:
            del self._all[key]

    def wanted(self, *topics: str) -> bool:
        """Whether anybody follows one of the topics."""
        return any(not s.topics.isdisjoint(topics) for s in self._all.values())

    def publish(self, topic: str, data: Any, *, also: str | None = None) -> None:
        """Tell the followers of `topic` (or of `also`, a wider topic).

        A follower's own failure is logged: whoever publishes has nothing to do with it.
        """
        encoded: msgspec.Raw | None = None
        plain: Any = None
        for subscription in list(self._all.values()):
            if topic not in subscription.topics and (also or topic) not in subscription.topics:
                continue
            connection = subscription.connection
            if connection is None:
                if plain is None:
                    plain = msgspec.to_builtins(data)
                seq, subscription.seq = subscription.seq, subscription.seq + 1
                if subscription.on_event is not None:
                    try:
                        subscription.on_event(topic, seq, plain)
                    except Exception:
                        _log.exception("a callback for %s failed", topic)
                continue
            if subscription.broken:
                continue
            if connection.backlog > BACKLOG_BYTES:
                subscription.broken = True
                self._post(subscription, "reset", raw({"reason": "1 MiB was not read"}))
                continue
            try:
                encoded = encoded if encoded is not None else raw(data)
                self._post(subscription, topic, encoded)
            except ProtocolError as error:
                # Too large or too deep for a frame; what comes after it would have a gap before it.
                _log.error("an event of %s could not be sent: %s", topic, error)
                subscription.broken = True
                self._post(subscription, "reset", raw({"reason": "an event could not be sent"}))

    @staticmethod
    def _post(subscription: _Subscription, topic: str, data: msgspec.Raw) -> None:
        assert subscription.connection is not None
        subscription.connection.post(
            Event(subscription=subscription.key, seq=subscription.seq, topic=topic, data=data)
        )
        subscription.seq += 1
