"""Requests that peers send to the Host: from plug-ins to each other, and from attached clients.

Owns one task per open request and its one response. Who may ask what is decided here from the
connection and the request's token; the router does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from bkg_workbench.bus.clock import Clock
from bkg_workbench.bus.connection import BACKLOG_BYTES, Connection
from bkg_workbench.bus.identity import Caller
from bkg_workbench.bus.router import DEFAULT_TIMEOUT, Router
from bkg_workbench.errors import (
    Overloaded,
    ProtocolError,
    RequestCancelled,
    RequestError,
    Unauthenticated,
    WorkbenchError,
)
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.envelopes import Cancel, Progress, Request, Response
from bkg_workbench.protocol.session import Arrived, Served, Withdrawn, respond


class Desk:
    """Serves the requests of all peers of one hub. `told` hears of what went wrong inside."""

    def __init__(self, router: Router, clock: Clock, told: Callable[[str, str], None]) -> None:
        self._router, self._clock, self._told = router, clock, told
        self._serving: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End every task."""
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def handle(self, connection: Connection, envelope: Request | Cancel) -> None:
        """Begin to serve a request, or end the serving of one that is cancelled."""
        try:
            outcome = connection.session.receive(envelope, now=self._clock.monotonic())
        except Overloaded as error:
            connection.post(respond(envelope.request_id, error=error))
            return
        if isinstance(outcome, Withdrawn):
            task = connection.tasks.get(envelope.request_id)
            if task is not None:
                task.cancel()
        elif isinstance(outcome, Arrived):
            task = asyncio.create_task(
                self._serve(connection, outcome.served), name=f"bus-serve-{connection.name}"
            )
            connection.tasks[envelope.request_id] = task
            self._serving.add(task)
            task.add_done_callback(lambda _: self._ended(task, connection, outcome.served.request))

    def _ended(self, task: asyncio.Task[None], connection: Connection, request: Request) -> None:
        self._serving.discard(task)
        if connection.tasks.get(request.request_id) is task:
            # It was cancelled before its first step, so it could not answer by itself.
            del connection.tasks[request.request_id]
            error = RequestCancelled(capability=request.capability)
            response = connection.session.answer(request.request_id, error=error)
            if response is not None:
                connection.post(response)

    async def _serve(self, connection: Connection, served: Served) -> None:
        """Answer one request of a peer: exactly one response, whatever happens."""
        request, session = served.request, connection.session
        response: Response | None
        try:
            data = await self._ask_for(connection, request)
            response = session.answer(request.request_id, data)
        except asyncio.CancelledError:
            error = RequestCancelled(capability=request.capability)
            response = session.answer(request.request_id, error=error)
        except WorkbenchError as error:
            response = session.answer(request.request_id, error=error)
        except Exception as error:
            self._told("internal_error", f"{request.capability}: {error!r}")
            response = session.answer(
                request.request_id, error=WorkbenchError(capability=request.capability)
            )
        finally:
            connection.tasks.pop(request.request_id, None)
        if response is not None:
            try:
                connection.post(response)
            except ProtocolError as error:
                connection.post(respond(request.request_id, error=error))

    async def _ask_for(self, connection: Connection, request: Request) -> Any:
        if not is_name(request.capability):
            raise RequestError(
                f"{request.capability[:80]!r} is not a capability's name.",
                capability=request.capability[:80],
            )
        caller = self._caller(connection, request)
        streams = request.stream and connection.protocol >= 1

        def on_chunk(data: msgspec.Raw) -> None:
            if connection.backlog > BACKLOG_BYTES:
                raise Overloaded(
                    f"The stream of {request.capability} ended: more than 1 MiB of it was not "
                    "read.",
                    capability=request.capability,
                )
            chunk = connection.session.chunk(request.request_id, data)
            if chunk is not None:
                connection.post(chunk)

        def on_progress(progress: Progress) -> None:
            if connection.backlog > BACKLOG_BYTES:
                return  # the next one says more than this one
            connection.post(msgspec.structs.replace(progress, request_id=request.request_id))

        milliseconds = request.deadline_ms
        # An attached workbench says its time; a plug-in that says none has the usual.
        usual = None if connection.kind == "client" else DEFAULT_TIMEOUT
        return await self._router.call(
            request.capability,
            request.payload,
            caller,
            timeout=usual if milliseconds is None else milliseconds / 1000,
            stream=streams,
            on_chunk=on_chunk if streams else None,
            on_progress=on_progress if connection.protocol >= 1 else None,
            traceparent=request.traceparent,
        )

    def _caller(self, connection: Connection, request: Request) -> Caller:
        if connection.kind == "client":
            return Caller(connection.name, ("*",), sink=connection)
        entry = self._router.entries.get(connection.name)
        # Its definition may have gone while it runs its last requests: it may ask nothing then.
        calls = entry.calls if entry is not None else ()
        if request.token is None:
            return Caller(connection.name, calls)
        caller = self._router.tokens.get(request.token)
        if caller is None:
            raise Unauthenticated(
                f"The token that {connection.name} sent with {request.capability} is not that of "
                "an open request.",
                what=request.capability,
            )
        return caller.within(calls)
