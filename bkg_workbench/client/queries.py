"""The verbs of `Workbench` that ask for records: logs, telemetry, events, calls.

Owns their parameters and what they give; how a request travels is `client.workbench`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

from bkg_workbench.client import tail
from bkg_workbench.client.records import Records
from bkg_workbench.client.tail import After

if TYPE_CHECKING:
    from bkg_workbench.client.portal import Portal
    from bkg_workbench.client.workbench import Workbench


class Queries:
    """A part of `Workbench`; everything in it can be asked again without harm."""

    _portal: Portal

    if TYPE_CHECKING:

        async def acall(self, capability: str, payload: Any = None) -> Any:
            """The workbench's own."""

    async def _query(self, capability: str, filters: dict[str, Any]) -> Records:
        payload = {key: value for key, value in filters.items() if value is not None}
        reply = await self.acall(capability, payload)
        return Records(
            reply["records"],
            int(reply["next"]),
            kind=capability.split(".")[1],
            behind=bool(reply.get("behind")),
        )

    async def alogs(self, plugin: str | None = None, **filters: Any) -> Records:
        """Async twin of `logs`."""
        return await self._query("host.logs.query", {"plugin": plugin, **filters})

    def logs(self, plugin: str | None = None, **filters: Any) -> Records:
        """Log records. Filters: level, source, text, regex, since, until, after, before, limit."""
        return self._portal.run(self.alogs(plugin, **filters))

    def follow_logs(
        self, plugin: str | None = None, *, after: After = None, lines: int = 0, **filters: Any
    ) -> Iterator[dict[str, Any]]:
        """Log records as they come, without a gap and none twice; ends with `HostGone`.

        `after` is the seq that was seen last, for all plug-ins or as {plugin: seq}; without it the
        newest `lines` that match come first. Filters: level, source, text, regex, since, until.
        """
        return tail.follow(
            cast("Workbench", self), plugin, after=after, lines=lines, filters=filters
        )

    def afollow_logs(
        self, plugin: str | None = None, *, after: After = None, lines: int = 0, **filters: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Async twin of `follow_logs`."""
        return tail.afollow(
            cast("Workbench", self), plugin, after=after, lines=lines, filters=filters
        )

    async def atelemetry(self, plugin: str | None = None, **filters: Any) -> Records:
        """Async twin of `telemetry`."""
        return await self._query("host.telemetry.query", {"plugin": plugin, **filters})

    def telemetry(self, plugin: str | None = None, **filters: Any) -> Records:
        """CPU (percent of one core), memory (bytes) and more. Filters: since, after, limit."""
        return self._portal.run(self.atelemetry(plugin, **filters))

    async def aevents(self, plugin: str | None = None, **filters: Any) -> Records:
        """Async twin of `events`."""
        return await self._query("host.events.query", {"plugin": plugin, **filters})

    def events(self, plugin: str | None = None, **filters: Any) -> Records:
        """Lifecycle and config events. Filters: after, limit."""
        return self._portal.run(self.aevents(plugin, **filters))

    async def acalls(self, capability: str | None = None, **filters: Any) -> Records:
        """Async twin of `calls`."""
        return await self._query("host.calls.query", {"capability": capability, **filters})

    def calls(self, capability: str | None = None, **filters: Any) -> Records:
        """Finished requests and their traces. Filters: plugin, outcome, trace, after, limit."""
        return self._portal.run(self.acalls(capability, **filters))

    async def ametrics(self) -> dict[str, Any]:
        """Async twin of `metrics`."""
        return dict(await self.acall("host.metrics"))

    def metrics(self) -> dict[str, Any]:
        """What the Host counts: requests, their durations (s), plug-ins, log lines, lag (s)."""
        return self._portal.run(self.ametrics())
