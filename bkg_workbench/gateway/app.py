"""The gateway as an ASGI application: one door for every request, and one place for its errors.

Owns the order of the checks (path, `Host`, `Origin`, route, body's kind, token, scope), the id of
each request, and what an error looks like. What is answered is `gateway.answers`'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
from starlette.types import Receive, Scope, Send

from bkg_workbench.bus.identity import Caller
from bkg_workbench.errors import Unauthenticated, WorkbenchError
from bkg_workbench.gateway import auth, errors
from bkg_workbench.gateway.answers import NOT_HERE, Answers, Handler
from bkg_workbench.gateway.door import Door
from bkg_workbench.gateway.exchange import Exchange
from bkg_workbench.gateway.limits import Limits
from bkg_workbench.gateway.openapi import Description
from bkg_workbench.gateway.payloads import Parser
from bkg_workbench.gateway.routes import OWN, OWN_NAME, Routes, Served, check_path, derived
from bkg_workbench.protocol.trace import Span


@dataclass(frozen=True)
class Done:
    """A request that has its answer. `route` is the path with its fields' names; None for none."""

    method: str
    route: str | None
    capability: str | None
    status: int
    code: str
    seconds: float
    span: Span


class App:
    """Serves requests. `hosts` are the values of `Host` that are this server."""

    def __init__(self, door: Door, hosts: Iterable[str], limits: Limits) -> None:
        self._door, self._limits = door, limits
        self._parser = Parser(limits.off_loop_bytes)
        self.hosts = {host.lower() for host in hosts}
        self.answers = Answers(door, limits)
        self.routes = Routes([*OWN, *derived()])
        self.answers.handlers["openapi"] = self._describe
        self.observers: list[Callable[[Done], None]] = []
        missing = {one.view for one in self.routes.all} - set(self.answers.handlers)
        if missing:
            raise ValueError(f"no handler for {sorted(missing)}")

    def add(self, served: Served, handler: Handler) -> None:
        """One more route, with a handler of its own. Raises `ValueError` as `Routes.add`."""
        self.routes.add(served)
        self.answers.handlers[served.view] = handler

    def close(self) -> None:
        """End what it holds; after the last request."""
        self._parser.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        started = time.perf_counter()
        connection = scope["state"]["connection"]
        connection.task = asyncio.current_task()
        exchange = Exchange(scope, receive, send, self._limits, self._parser)
        code = "ok"
        try:
            code = await self._answer(exchange, scope)
        except asyncio.CancelledError:
            code = "request_cancelled"
            if not (connection.is_gone or connection.is_refused):
                raise
        finally:
            seconds = time.perf_counter() - started
            self._tell(
                Done(
                    exchange.method,
                    exchange.route,
                    exchange.capability,
                    exchange.status,
                    code,
                    seconds,
                    exchange.span,
                )
            )

    async def _answer(self, exchange: Exchange, scope: Scope) -> str:
        """Answer, with an error if need be; gives the error's code, or "ok"."""
        try:
            route, exchange.params = self._admit(exchange, scope)
            exchange.route = route.path
            await self._authorize(exchange, route)
            await self.answers.handlers[route.view](exchange, route)
            return "ok"
        except WorkbenchError as error:
            if error.code == "internal_error":
                self._note(exchange, str(error))
            await self._refuse(exchange, error)
            return error.code
        except Exception as error:
            # Whatever it was, its text may hold what is nobody's business: it goes to the log.
            self._note(exchange, f"{type(error).__name__}: {error}")
            await self._refuse(exchange, WorkbenchError())
            return "internal_error"

    def _note(self, exchange: Exchange, text: str) -> None:
        self._door.note("error", f"{exchange.id} {exchange.method} {exchange.path}: {text}")

    async def _describe(self, exchange: Exchange, _: Served) -> None:
        description = Description(self.routes.all, self._door.state, NOT_HERE)
        await exchange.answer(msgspec.json.encode(await asyncio.to_thread(description.document)))

    def _tell(self, done: Done) -> None:
        self.answers.meter.answered(done.method, done.route or "none", done.status)
        for observer in self.observers:
            observer(done)

    # -- the checks -----------------------------------------------------------------------------
    def _admit(self, exchange: Exchange, scope: Scope) -> tuple[Served, dict[str, str]]:
        check_path(scope)
        hosts = exchange.fields("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            raise errors.Misdirected(host=", ".join(hosts)[:100])
        if origins := exchange.fields("origin"):
            raise errors.ForeignOrigin(origin=origins[0][:100])
        found = self.routes.find(exchange.method, exchange.path)
        exchange.check_body()
        return found

    async def _authorize(self, exchange: Exchange, route: Served) -> None:
        if route.scope is None:
            if route.view == "health" and exchange.fields("authorization"):
                await self._recognize(exchange)
            return
        scope = exchange.params["capability"] if route.scope == OWN_NAME else route.scope
        exchange.caller = await self._caller(exchange, scope)
        auth.require(exchange.caller, scope)

    async def _recognize(self, exchange: Exchange) -> None:
        """On an open route a token is welcome, and a wrong one is no error."""
        try:
            exchange.caller = await self._caller(exchange, None)
        except WorkbenchError:
            return

    async def _caller(self, exchange: Exchange, scope: str | None) -> Caller:
        return await auth.validate(
            self._door,
            auth.bearer(exchange.fields("authorization")),
            exchange.method,
            exchange.path,
            scope,
            timeout=self._limits.auth_seconds,
            traceparent=exchange.traceparent,
        )

    async def _refuse(self, exchange: Exchange, error: WorkbenchError) -> None:
        if exchange.status:
            # The answer has begun, so nothing can be said any more but that it is not whole.
            exchange.request.scope["state"]["connection"].transport.abort()
            return
        is_openai = exchange.path.startswith("/v1/")
        is_unknown = isinstance(error, Unauthenticated)
        is_wrong_method = isinstance(error, errors.MethodNotAllowed)
        await exchange.answer(
            errors.body_of(error, exchange.id, openai=is_openai),
            status=errors.status_of(error, openai=is_openai),
            headers={
                "retry-after": errors.retry_after(error),
                "www-authenticate": "Bearer" if is_unknown else None,
                "allow": str(error.facts["allow"]) if is_wrong_method else None,
            },
        )
