"""What the panels need of a workbench: the few names that they call, and nothing else.

A `Workbench` has them all; so has the small one that the tests use. Owns no behaviour.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Protocol

from bkg_workbench.protocol.envelopes import Progress
from bkg_workbench.protocol.state import WorkbenchState

Unsubscribe = Callable[[], None]


class Bench(Protocol):
    """The part of `Workbench` that panels use. Its callbacks come on a thread of its own."""

    @property
    def state(self) -> WorkbenchState:
        """The workspace as last known."""

    @property
    def lost(self) -> str | None:
        """Why the Host is out of reach, or None."""

    @property
    def connected(self) -> bool:
        """Whether the Host is there and the workbench is open."""

    def on_change(self, fn: Callable[[WorkbenchState], None], /) -> Unsubscribe:
        """Call `fn` with each new state."""

    def follow(self, topics: list[str], fn: Callable[[str, Any], None], /) -> Unsubscribe:
        """Call `fn` with topic and data of each event of `topics`; topic `reset` ends them."""

    def start(self, name: str, *, wait: bool = True) -> Any:
        """Wish a plug-in up."""

    def stop(self, name: str, *, wait: bool = True) -> Any:
        """Wish a plug-in down."""

    def restart(self, name: str, *, wait: bool = True) -> Any:
        """Wish a plug-in down and up again."""

    def info(self) -> dict[str, Any]:
        """Version, instance and uptime of the Host."""

    def logs(
        self, plugin: str | None = None, *, limit: int = 500, **filters: Any
    ) -> list[dict[str, Any]]:
        """Log records, oldest first. Filters: after, before, level, source, text."""

    def config(self, name: str) -> dict[str, Any]:
        """{settings, inherited, effective, schema, version} of a plug-in, secrets masked."""

    def save_config(
        self,
        name: str,
        settings: dict[str, Any],
        version: int,
        *,
        reason: str | None = None,
        canary_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Save settings read at `version`: {version, applied: "live" or "restart"}."""

    def config_history(self, name: str) -> list[dict[str, Any]]:
        """Versions of the settings, newest first: version, at, author, reason, diff, settings."""

    def restore_config(self, name: str, version: int) -> dict[str, Any]:
        """Make an earlier version the current one; as `save_config`."""

    def telemetry(
        self,
        plugin: str | None = None,
        *,
        after: int | None = None,
        since: int | None = None,
        limit: int = 500,
    ) -> list[dict[str, Any]]:
        """Telemetry samples, oldest first; `since` in milliseconds since 1970."""

    def events(self, plugin: str | None = None, *, limit: int = 500) -> list[dict[str, Any]]:
        """Lifecycle and config events, oldest first."""

    def calls(
        self, capability: str | None = None, *, plugin: str | None = None, limit: int = 500
    ) -> list[dict[str, Any]]:
        """Finished requests, oldest first."""

    async def acall(
        self,
        capability: str,
        payload: Any = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:
        """Ask for a capability; cancelled with the task that awaits it."""

    def astream(
        self, capability: str, payload: Any = None, *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """The pieces of a streamed reply."""


if TYPE_CHECKING:
    from bkg_workbench.client.workbench import Workbench

    def _is_one(bench: Workbench) -> Bench:
        """The type checker's proof that a `Workbench` is a `Bench`."""
        return bench
