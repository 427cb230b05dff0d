"""The live state of an attached (or owning) workbench.

Owns the subscription to the topic `state`: a snapshot, then every event folded in order. A gap or a
`reset` is mended by subscribing again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from bkg_workbench.client.outbound import Outbound
from bkg_workbench.errors import HostGone, WorkbenchError
from bkg_workbench.protocol.state import AnyStateEvent, WorkbenchState, fold

Unsubscribe = Callable[[], None]
log = logging.getLogger(__name__)


class Follower:
    """Follows one Host's state. All but `on_change` and `state` belong to the portal's loop."""

    def __init__(self, outbound: Outbound) -> None:
        self.state = WorkbenchState(instance="", version="", workspace="", started_at=0)
        self._outbound = outbound
        self._callbacks: dict[int, Callable[[WorkbenchState], None]] = {}
        self._keys = itertools.count()
        self._subscription: str | None = None
        self._again: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the snapshot and begin to fold."""
        early: list[tuple[str, int, Any]] = []
        due = 0
        is_current = True

        def on_event(topic: str, seq: int, data: Any) -> None:
            nonlocal due, is_current
            if self._subscription is None:
                early.append((topic, seq, data))
            elif is_current and (topic == "reset" or seq != due):
                is_current = False
                self._again = asyncio.ensure_future(self._restart())
            elif is_current:
                due += 1
                self._fold(data)

        self._subscription = None
        subscription, reply = await self._outbound.subscribe(["state"], on_event)
        self.state = msgspec.convert(reply["state"], WorkbenchState)
        self._subscription, due = subscription, int(reply["seq"])
        for event in early:
            on_event(*event)
        self.notify()

    async def _restart(self) -> None:
        for delay in itertools.chain((0.5, 1.0, 2.0, 5.0), itertools.repeat(10.0)):
            try:
                if self._subscription is not None:
                    await self._outbound.unsubscribe(self._subscription)
                await self.start()
                return
            except HostGone:
                return
            except WorkbenchError as error:
                log.warning("the state of the workspace cannot be followed: %s", error)
                await asyncio.sleep(delay)

    def _fold(self, data: Any) -> None:
        event: AnyStateEvent = msgspec.convert(data, AnyStateEvent)
        self.state = fold(self.state, event)
        self.notify()

    def on_change(self, callback: Callable[[WorkbenchState], None]) -> Unsubscribe:
        """Call back after each change; gives what ends it. May be called from any thread."""
        key = next(self._keys)
        self._callbacks[key] = callback

        def end() -> None:
            self._callbacks.pop(key, None)

        return end

    def notify(self) -> None:
        """Tell everybody. A callback that fails is logged and kept from hurting the others."""
        for callback in list(self._callbacks.values()):
            try:
                callback(self.state)
            except Exception:
                log.exception("a callback of on_change failed")

    def close(self) -> None:
        """Tell everybody a last time, so that nobody waits for ever, and forget the callbacks."""
        self.notify()
        self._callbacks.clear()
        if self._again is not None:
            self._again.cancel()
