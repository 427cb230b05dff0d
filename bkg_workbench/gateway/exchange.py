"""One request and its answer, as the handlers see them.

Owns the reading of fields and body, and the sending of one whole answer. Streams are in
`gateway.streams`.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from bkg_workbench.bus.identity import Caller
from bkg_workbench.gateway.errors import TooLarge, UnsupportedMedia
from bkg_workbench.gateway.limits import Limits
from bkg_workbench.gateway.payloads import Parser
from bkg_workbench.protocol.trace import hop

_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,5})(?:$|[,;\s])")
MAX_WAIT = 3600.0
# Ids are unique, not secret: what is random about them is drawn once.
_PROCESS, _numbers = secrets.token_hex(4), itertools.count(1)
JSON = "application/json"


class Exchange:
    """A request. `caller` is set once its token is known."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, limits: Limits, parser: Parser
    ) -> None:
        self.id = f"req_{_PROCESS}{next(_numbers):08x}"
        self.request = Request(scope, receive)
        self.span = hop(
            _only(self.fields("traceparent")),
            trace_id=secrets.token_hex(16),
            span_id=secrets.token_hex(8),
        )
        """Its place in the trace that the client began, or the first of a new one."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.send = send
        self.limits, self._parser = limits, parser
        self.caller: Caller | None = None
        self.params: dict[str, str] = {}
        self.route: str | None = None
        """The path of its route, with its fields' names."""
        self.capability: str | None = None
        self.status = 0
        """Of the answer, once it has begun."""

    # -- what came ------------------------------------------------------------------------------
    def fields(self, name: str) -> list[str]:
        """Every value of a header field."""
        return self.request.headers.getlist(name)

    @property
    def traceparent(self) -> str:
        """The W3C trace context of what this request causes."""
        return str(self.span)

    @property
    def wants_events(self) -> bool:
        """Whether the client asks for a stream of events."""
        return any("text/event-stream" in value.lower() for value in self.fields("accept"))

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query's fields in their order."""
        return self.request.query_params.multi_items()

    def timeout(self, usual: float) -> float:
        """Seconds that the client waits: `Prefer: wait=120`, else the usual."""
        for value in self.fields("prefer"):
            if found := _WAIT.search(value):
                return min(max(1.0, float(found[1])), MAX_WAIT)
        return usual

    def check_body(self) -> None:
        """Raise `UnsupportedMedia` unless a body, if there is one, is plain JSON.

        A page of another origin can send a form or text without asking first, but no JSON.
        """
        if any(coding.strip().lower() != "identity" for coding in self.fields("content-encoding")):
            raise UnsupportedMedia(wanted="it is", got="compressed")
        length = self.request.headers.get("content-length")
        if self.request.headers.get("transfer-encoding") is None and length in (None, "0"):
            return
        kinds = self.fields("content-type")
        kind, _, rest = kinds[0].partition(";") if len(kinds) == 1 else ("", "", "")
        charset = rest.strip().lower().removeprefix("charset=").strip('"')
        if kind.strip().lower() != JSON or charset not in ("", "utf-8"):
            raise UnsupportedMedia(wanted=JSON, got=", ".join(kinds)[:100] or "nothing")

    async def body(self) -> bytes:
        """The whole body. Raises `TooLarge`."""
        is_admin = self.path.startswith("/admin/")
        limit = self.limits.admin_body_bytes if is_admin else self.limits.body_bytes
        length = self.request.headers.get("content-length")
        if length is not None and int(length) > limit:
            raise TooLarge(limit=limit)
        pieces, size = [], 0
        async for piece in self.request.stream():
            size += len(piece)
            if size > limit:
                raise TooLarge(limit=limit)
            pieces.append(piece)
        return b"".join(pieces)

    async def object(self) -> tuple[dict[str, Any], msgspec.Raw]:
        """The body's JSON object, decoded and not; an empty body is an empty object."""
        return await self._parser.object(await self.body())

    # -- what goes ------------------------------------------------------------------------------
    async def answer(
        self,
        body: bytes,
        *,
        status: int = 200,
        kind: str = JSON,
        headers: Mapping[str, str | int | None] | None = None,
    ) -> None:
        """Send the whole answer. `headers` by names in lower case; None is left out."""
        await self.begin(status, kind, {"content-length": len(body), **(headers or {})})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def begin(self, status: int, kind: str, headers: Mapping[str, str | int | None]) -> None:
        """Send the head of an answer."""
        self.status = status
        fields = {
            "content-type": kind,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "x-request-id": self.id,
            "traceresponse": str(self.span),
            **headers,
        }
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (name.encode(), str(value).encode("latin-1", "replace"))
                    for name, value in fields.items()
                    if value is not None
                ],
            }
        )


def _only(values: list[str]) -> str | None:
    return values[0] if len(values) == 1 else None
