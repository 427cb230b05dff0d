"""One side of a connection without its connection: which requests are open, both ways.

Owns correlation, the in-flight limit, deadlines and the rule that each `requestId` gets exactly
one answer. Time is given (`now`, seconds of any clock that never goes back). Does not send, wait or
log: its methods give back the envelope to send, or say what a received one means.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bkg_workbench.errors import Overloaded, ProtocolError, WorkbenchError, from_wire
from bkg_workbench.protocol.envelopes import (
    NULL,
    Cancel,
    Chunk,
    Progress,
    Request,
    Response,
    raw,
)

MAX_IN_FLIGHT = 256
"""How many requests one side may have open at the other."""
MAX_DATA_BYTES = 16 * 1024 * 1024 - 64 * 1024
"""Of a payload or a result: a message may have 16 MiB, the rest is its envelope's."""


MAX_TIMEOUT = 366 * 86_400.0
"""Seconds; a longer time, or an endless one, is none at all: no clock and no wire can keep it."""


@dataclass(slots=True)
class Asked:
    """A request of ours that waits for its answer. `tag` is whatever the asker attached."""

    request_id: str
    capability: str
    tag: Any = None
    deadline: float | None = None
    chunks: int = 0


@dataclass(slots=True)
class Served:
    """A request of the peer's that we have yet to answer."""

    request: Request
    received: float
    chunks: int = 0
    cancelled: bool = False
    tag: Any = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The one answer to `asked`: `data`, or `error`."""

    asked: Asked
    data: msgspec.Raw = field(default_factory=lambda: NULL)
    error: WorkbenchError | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """The next chunk for `asked`."""

    asked: Asked
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Progressed:
    """`asked` is under way."""

    asked: Asked
    progress: Progress


@dataclass(frozen=True, slots=True)
class Arrived:
    """The peer asks something."""

    served: Served


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The peer does not want the answer to `served` any more; one is still owed."""

    served: Served


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to do: a late, second or unknown answer (counted in `Session.ignored`)."""

    reason: str


Outcome = Answered | Streamed | Progressed | Arrived | Withdrawn | Ignored


@dataclass
class Session:
    """The open requests of one connection, both ways.

    `prefix` begins our request ids; `who` names the peer in errors; `limit` bounds each direction.
    """

    prefix: str = ""
    who: str = "the peer"
    limit: int = MAX_IN_FLIGHT
    asked: dict[str, Asked] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    ignored: int = 0
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    # -- asking ---------------------------------------------------------------------------------
    def ask(
        self,
        capability: str,
        payload: Any = None,
        *,
        now: float,
        timeout: float | None = None,
        stream: bool = False,
        token: str | None = None,
        traceparent: str | None = None,
        tag: Any = None,
    ) -> Request:
        """Open a request and give the envelope to send.

        `timeout` is in seconds from `now`. Raises `Overloaded` beyond the limit and
        `ProtocolError` for a payload that has no JSON form or is too large.
        """
        if len(self.asked) >= self.limit:
            raise Overloaded(who=self.who, limit=self.limit)
        if timeout is not None and timeout > MAX_TIMEOUT:
            timeout = None
        body = _fitting(payload)
        request_id = f"{self.prefix}{next(self._ids)}"
        deadline = None if timeout is None else now + timeout
        self.asked[request_id] = Asked(request_id, capability, tag, deadline)
        return Request(
            request_id=request_id,
            capability=capability,
            payload=body,
            stream=stream,
            token=token,
            traceparent=traceparent,
            deadline_ms=None if timeout is None else max(0, int(timeout * 1000)),
        )

    def cancel(self, request_id: str) -> Cancel | None:
        """Give up a request of ours: the envelope to send, or None where it is not open.

        Its late answer is counted, not delivered.
        """
        if self.asked.pop(request_id, None) is None:
            return None
        return Cancel(request_id=request_id)

    def expired(self, now: float) -> list[Asked]:
        """The requests of ours whose deadline has passed. They stay open until cancelled."""
        return [a for a in self.asked.values() if a.deadline is not None and a.deadline <= now]

    # -- receiving ------------------------------------------------------------------------------
    def receive(self, envelope: object, *, now: float) -> Outcome:
        """What a received envelope means.

        Raises `ProtocolError` for a chunk out of order or a request id that is open already, and
        `Overloaded` for a request beyond the limit (answer it with the error; it is not opened).
        """
        match envelope:
            case Response():
                return self._answered(envelope)
            case Chunk():
                return self._streamed(envelope)
            case Progress(request_id=request_id):
                asked = self.asked.get(request_id)
                return Progressed(asked, envelope) if asked else self._ignore("late progress")
            case Request():
                return self._arrived(envelope, now)
            case Cancel(request_id=request_id):
                served = self.served.get(request_id)
                if served is None or served.cancelled:
                    return self._ignore("cancel of a request that is not open")
                served.cancelled = True
                return Withdrawn(served)
        raise ProtocolError(reason=f"{getattr(envelope, 'kind', envelope)} is not expected here")

    def _answered(self, envelope: Response) -> Outcome:
        asked = self.asked.pop(envelope.request_id, None)
        if asked is None:
            return self._ignore("late, second or unknown answer")
        if envelope.success:
            return Answered(asked, data=envelope.data)
        error = from_wire(envelope.error, envelope.code, envelope.detail)
        return Answered(asked, error=error)

    def _streamed(self, envelope: Chunk) -> Outcome:
        asked = self.asked.get(envelope.request_id)
        if asked is None:
            return self._ignore("late chunk")
        if envelope.seq != asked.chunks:
            raise ProtocolError(
                reason=f"chunk {envelope.seq} came where {asked.chunks} was due", field="seq"
            )
        asked.chunks += 1
        return Streamed(asked, envelope.data)

    def _arrived(self, request: Request, now: float) -> Outcome:
        if request.request_id in self.served:
            raise ProtocolError(
                reason=f"the requestId {request.request_id} is open already", field="requestId"
            )
        if len(self.served) >= self.limit:
            raise Overloaded(who=self.who, limit=self.limit)
        served = Served(request, received=now)
        self.served[request.request_id] = served
        return Arrived(served)

    def _ignore(self, reason: str) -> Ignored:
        self.ignored += 1
        return Ignored(reason)

    # -- answering ------------------------------------------------------------------------------
    def chunk(self, request_id: str, data: Any) -> Chunk | None:
        """The next piece of a streamed reply, or None where the request is not open any more."""
        served = self.served.get(request_id)
        if served is None or served.cancelled:
            return None
        chunk = Chunk(request_id=request_id, seq=served.chunks, data=_fitting(data))
        served.chunks += 1
        return chunk

    def answer(
        self, request_id: str, data: Any = None, error: WorkbenchError | None = None
    ) -> Response | None:
        """The one response to a request; None where it was answered already or never came."""
        if request_id not in self.served:
            return None
        response = respond(request_id, data, error)
        del self.served[request_id]
        return response

    # -- the end --------------------------------------------------------------------------------
    def close(self) -> tuple[list[Asked], list[Served]]:
        """The connection has gone: what will get no answer, and what is owed to nobody now."""
        asked, served = list(self.asked.values()), list(self.served.values())
        self.asked.clear()
        self.served.clear()
        return asked, served


def respond(request_id: str, data: Any = None, error: WorkbenchError | None = None) -> Response:
    """The response for a result or an error.

    Raises `ProtocolError` where `data` has no JSON form or is too large.
    """
    if error is None:
        return Response(request_id=request_id, success=True, data=_fitting(data))
    wire = error.to_wire()
    try:
        detail = msgspec.to_builtins(wire.get("detail")) if "detail" in wire else None
    except (TypeError, ValueError):
        detail = None
    return Response(
        request_id=request_id,
        success=False,
        error=wire["error"],
        code=wire["code"],
        detail=detail,
    )


def _fitting(data: Any) -> msgspec.Raw:
    body = raw(data)
    size = memoryview(body).nbytes
    if size > MAX_DATA_BYTES:
        # A larger message would cost the peer its connection.
        raise ProtocolError(reason=f"it has {size} bytes and the bus carries {MAX_DATA_BYTES}")
    return body
