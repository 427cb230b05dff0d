"""The owner's way to its own engine: a direct call where attached workbenches have a channel.

Owns nothing; it turns the `Outbound` interface into calls of the engine's parts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from bkg_workbench.bus.identity import OWNER
from bkg_workbench.client.outbound import OnEvent, OnProgress, Pieces
from bkg_workbench.host.engine import Engine
from bkg_workbench.protocol.envelopes import raw, value


class Direct:
    """An `Outbound` on the engine itself. Closing it closes the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def instance(self) -> str:
        """The Host's instance id."""
        return self._engine.instance

    async def aclose(self) -> None:
        """Close the engine."""
        await self._engine.aclose()

    async def call(
        self,
        capability: str,
        payload: Any,
        *,
        timeout: float | None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """The result of a request; raises its error."""
        result = await self._engine.router.call(
            capability, raw(payload), OWNER, timeout=timeout, on_progress=on_progress
        )
        return value(result) if isinstance(result, msgspec.Raw) else msgspec.to_builtins(result)

    async def stream(
        self, capability: str, payload: Any, *, timeout: float | None
    ) -> AsyncIterator[Any]:
        """The pieces of a streamed reply, then its closing data where that is not null."""
        pieces = Pieces(capability)
        answer = self._engine.router.call(
            capability, raw(payload), OWNER, timeout=timeout, stream=True, on_chunk=pieces.add
        )
        async for piece in pieces.follow(_decoded(answer)):
            yield piece

    async def subscribe(self, topics: list[str], on_event: OnEvent) -> tuple[str, dict[str, Any]]:
        """Follow topics by direct calls."""
        key = self._engine.subscriptions.add(topics, on_event=on_event)
        return key, {
            "subscription": key,
            "seq": 0,
            "state": msgspec.to_builtins(self._engine.state),
        }

    async def unsubscribe(self, subscription: str) -> None:
        """End a subscription."""
        self._engine.subscriptions.remove(subscription)

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """The owner never loses itself."""


async def _decoded(answer: Coroutine[Any, Any, Any]) -> Any:
    return value(raw(await answer))
