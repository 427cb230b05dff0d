"""The gateway's way to its Host: requests in somebody's name.

Owns the interface alone; `host.gateway` has the Host's side of it. A request through the door is
made as a caller with the scopes of its token, and the router checks them again at every hop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bkg_workbench.bus.identity import Caller
from bkg_workbench.client.outbound import OnEvent, OnProgress
from bkg_workbench.protocol.envelopes import value
from bkg_workbench.protocol.state import WorkbenchState

OnChunk = Callable[[msgspec.Raw], None]


class Door(Protocol):
    """What the gateway may do with its Host; on the Host's event loop."""

    @property
    def state(self) -> WorkbenchState:
        """What everybody sees."""

    async def call(
        self,
        capability: str,
        payload: msgspec.Raw,
        caller: Caller,
        *,
        timeout: float | None,
        on_chunk: OnChunk | None = None,
        on_progress: OnProgress | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """The result of a request (undecoded from plug-ins, what msgspec can encode from `host.*`).

        With `on_chunk` the pieces of a stream go there, and the result is what they do not hold.
        Raises the request's own error; cancelling it cancels the work.
        """

    def follow(self, topics: list[str], on_event: OnEvent) -> Callable[[], None]:
        """Be told of topics' events from now on; gives what ends it."""

    def note(self, level: str, text: str) -> None:
        """A line in the Host's own log."""


def encoded(result: Any) -> bytes:
    """A request's result as JSON."""
    return bytes(result) if isinstance(result, msgspec.Raw) else msgspec.json.encode(result)


def plain(result: Any) -> Any:
    """A request's result as plain Python values."""
    return value(result) if isinstance(result, msgspec.Raw) else msgspec.to_builtins(result)


def is_streamed(state: WorkbenchState, capability: str) -> bool:
    """Whether a plug-in that is there answers the capability in pieces."""
    return bool((schema_of(state, capability) or {}).get("stream"))


def schema_of(state: WorkbenchState, capability: str) -> dict[str, Any] | None:
    """What a plug-in that is there says of the capability (`meta.schemas`)."""
    for plugin in state.plugins.values():
        if capability in plugin.capabilities:
            schemas = plugin.meta.get("schemas")
            found = schemas.get(capability) if isinstance(schemas, dict) else None
            if isinstance(found, dict):
                return found
    return None
