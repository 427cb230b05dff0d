"""Requests of the plug-in's own: to the Host, and through it to other plug-ins.

Owns their errors, cancellation and the decoding of answers. Does not own correlation (`Session`) or
the connection (`Link`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.errors import HostGone, RequestError, RequestTimeout
from bkg_workbench.protocol.envelopes import value
from bkg_workbench.protocol.session import Answered, Outcome, Progressed, Streamed
from bkg_workbench.sdk.context import Ask, OnProgress, Stream, too_slow

if TYPE_CHECKING:
    from bkg_workbench.sdk.link import Link


class Asker:
    """What a link asks."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def call(
        self,
        capability: str,
        payload: Any,
        *,
        timeout: float | None,
        token: str | None = None,
        traceparent: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """Ask the Host; see `Context.call`."""
        ask = Ask(on_progress)
        request_id = await self._ask(ask, capability, payload, timeout, token, traceparent, False)
        try:
            data = await ask.answer
        finally:
            self.give_up(request_id)
        if result_type is None:
            return value(data)
        try:
            return msgspec.json.decode(data, type=result_type)
        except msgspec.ValidationError as error:
            raise RequestError(
                f"{capability} answered something else than expected: {error}.",
                capability=capability,
            ) from None

    def stream(
        self,
        capability: str,
        payload: Any,
        *,
        timeout: float | None,
        token: str | None = None,
        traceparent: str | None = None,
    ) -> Stream:
        """Ask the Host for a streamed reply; see `Stream`."""

        async def open_() -> tuple[str, Ask]:
            ask = Ask()
            request = await self._ask(ask, capability, payload, timeout, token, traceparent, True)
            return request, ask

        return Stream(self, capability, open_)

    def give_up(self, request_id: str) -> None:
        """Cancel a request of ours, if it is open."""
        cancel = self._link.session.cancel(request_id)
        if cancel is not None and not self._link.is_closed:
            self._link.spawn(self._link.send(cancel))

    async def _ask(
        self,
        ask: Ask,
        capability: str,
        payload: Any,
        timeout: float | None,
        token: str | None,
        traceparent: str | None,
        stream: bool,
    ) -> str:
        if self._link.is_closed:
            raise lost(capability)
        request = self._link.session.ask(
            capability,
            payload,
            now=self._link.clock.monotonic(),
            timeout=timeout,
            stream=stream,
            token=token,
            traceparent=traceparent,
            tag=ask,
        )
        self._link.watch(timeout)
        try:
            await self._link.send(request)
        except ChannelClosed:
            self._link.session.cancel(request.request_id)
            raise lost(capability) from None
        except BaseException:
            self.give_up(request.request_id)
            raise
        return request.request_id

    def sweep(self, now: float) -> None:
        """End the requests whose time is over."""
        for asked in self._link.session.expired(now):
            self.give_up(asked.request_id)
            asked.tag.fail(_too_late(asked.capability))

    def deliver(self, outcome: Outcome) -> None:
        """Hand an answer, a chunk or progress to whoever waits for it."""
        match outcome:
            case Answered(asked=asked, data=data, error=None):
                asked.tag.succeed(data)
            case Answered(asked=asked, error=error) if error is not None:
                asked.tag.fail(error)
            case Streamed(asked=asked, data=data):
                if not asked.tag.add(data):
                    self.give_up(asked.request_id)
                    asked.tag.fail(too_slow(asked.capability))
            case Progressed(asked=asked, progress=progress):
                if asked.tag.on_progress is not None:
                    asked.tag.on_progress(progress)


def lost(capability: str) -> HostGone:
    """The error of a call without a connection."""
    return HostGone(
        f"{capability} cannot be asked: there is no connection to the Host; it is tried again.",
        capability=capability,
    )


def _too_late(capability: str) -> RequestTimeout:
    return RequestTimeout(
        f"No answer from {capability} in time; give it a longer timeout.", capability=capability
    )
