"""The bus: lets peers in, learns who they are, and reads what they send.

Owns the handshake (`register`, /attach), one live connection per plug-in name, and the limits on
what peers send. Routing is the router's, identity is `Tokens`', lifecycle is the supervisor's: the
hub tells a `Listener` what it sees.
"""

from __future__ import annotations

import asyncio
import http
from collections import deque
from typing import Any, Protocol

from bkg_workbench.bus.calls import Entry, Finished
from bkg_workbench.bus.channel import REGISTERED_LIMIT, Channel, ChannelClosed, Peer
from bkg_workbench.bus.clock import Clock
from bkg_workbench.bus.complaints import Complaints
from bkg_workbench.bus.connection import Connection
from bkg_workbench.bus.desk import Desk
from bkg_workbench.bus.identity import Tokens
from bkg_workbench.bus.router import Router
from bkg_workbench.errors import (
    AlreadyRegistered,
    Forbidden,
    PluginNotFound,
    ProtocolError,
    Unauthenticated,
    WorkbenchError,
)
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.envelopes import (
    PROTOCOL,
    AnyEnvelope,
    Cancel,
    Chunk,
    Error,
    Health,
    Log,
    Progress,
    Register,
    Request,
    Response,
    Telemetry,
    UnknownType,
    Welcome,
    decode,
    encode,
    raw,
)
from bkg_workbench.protocol.routing import conflicts

HEARTBEAT_SECONDS = 10.0
REGISTER_SECONDS = 5.0
MAX_UNREGISTERED = 16
OFF_LOOP_BYTES = 64 * 1024
SWEEP_SECONDS = 0.1

BAD_ENVELOPE, NO_TOKEN, WRONG_NAME, NO_REGISTER, NAME_LIVE = 4400, 4401, 4403, 4408, 4409


class Listener(Protocol):
    """Who is told what the hub sees. The methods return at once and never raise."""

    def registered(
        self,
        connection: Connection,
        register: Register,
        routed: tuple[str, ...],
        refused: tuple[str, ...],
    ) -> None:
        """A plug-in is connected and may be asked."""

    def disconnected(self, connection: Connection, why: str) -> None:
        """A plug-in's connection has gone."""

    def beat(self, connection: Connection, beat: Health) -> None:
        """A health beat."""

    def logged(self, connection: Connection, log: Log) -> None:
        """A log line."""

    def sampled(self, connection: Connection, telemetry: Telemetry) -> None:
        """A telemetry sample."""

    def flooded(self, connection: Connection, lines: int) -> None:
        """So many further log lines of the plug-in were dropped, being too many."""

    def finished(self, record: Finished) -> None:
        """A request has its answer."""

    def refused(self, code: str, text: str) -> None:
        """A peer was turned away, or struck for a bad message."""

    def settings(self, plugin: str) -> dict[str, Any] | None:
        """The effective settings, for `welcome`."""


class Hub:
    """One Host's bus. Its methods belong to the Host's event loop."""

    def __init__(
        self, *, clock: Clock, listener: Listener, tokens: Tokens, router: Router, instance: str
    ) -> None:
        self.router, self.tokens = router, tokens
        self.clients: set[Connection] = set()
        self._clock, self._listener, self._instance = clock, listener, instance
        self.unregistered = 0
        self._strangers = 0
        self._complaints = Complaints(clock, listener.refused)
        self._counter = 0
        self.mismatches = 0
        self._refusals: deque[float] = deque(maxlen=10)
        self._sweeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._desk = Desk(router, clock, listener.refused)

    def start(self) -> None:
        """Begin to sweep deadlines and peers that do not read."""
        self._sweeper = asyncio.create_task(self._sweep(), name="bus-sweeper")

    async def close(self) -> None:
        """Close every connection and end every task; a second call does nothing."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        plugins = [e.connection for e in self.router.entries.values() if e.connection]
        closing = [c.close(1001, "the Host stops") for c in [*plugins, *self.clients]]
        await asyncio.gather(*closing, return_exceptions=True)
        await self._desk.close()
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def admit(self, peer: Peer) -> http.HTTPStatus | None:
        """Judge a handshake by path and token, before a WebSocket exists."""
        if peer.path == "/attach":
            known = peer.token is not None and self.tokens.client_of(peer.token) is not None
        else:
            known = peer.token is None or self.tokens.plugin_of(peer.token) is not None
            # Each kind has its own room: strangers that say nothing keep no plug-in out.
            strangers = self._strangers
            waiting = strangers if peer.token is None else self.unregistered - strangers
            if waiting >= MAX_UNREGISTERED:
                return http.HTTPStatus.SERVICE_UNAVAILABLE
        if known:
            return None
        self._refused("unauthenticated", f"a connection to {peer.path} had no valid token")
        return http.HTTPStatus.UNAUTHORIZED

    async def accept(self, channel: Channel) -> None:
        """Serve one connection until it ends."""
        try:
            if channel.peer.path == "/attach":
                await self._serve_client(channel)
            else:
                await self._serve_plugin(channel)
        except ChannelClosed:
            pass

    # -- plug-ins -------------------------------------------------------------------------------
    async def _serve_plugin(self, channel: Channel) -> None:
        is_stranger = channel.peer.token is None
        self.unregistered += 1
        self._strangers += is_stranger
        try:
            connection, register = await self._introduce(channel)
        except _Refused as refused:
            await self._refuse(channel, refused.code, refused.error)
            return
        finally:
            self.unregistered -= 1
            self._strangers -= is_stranger
        why = "connection lost"
        try:
            self._connect(connection, register)
            await self._read(connection)
        except ChannelClosed as closed:
            why = closed.reason or why
        finally:
            self._leave(connection)
            self.router.disconnected(connection)
            self._tell_flood(connection)
            if not connection.fenced:
                self._listener.disconnected(connection, why)
            await connection.close(flush=False)

    async def _introduce(self, channel: Channel) -> tuple[Connection, Register]:
        """The first message: who is it, and may it be that?"""
        if channel.peer.token is not None:
            channel.limit = REGISTERED_LIMIT
        try:
            async with asyncio.timeout(REGISTER_SECONDS):
                frame = await channel.receive()
        except TimeoutError:
            raise _Refused(NO_REGISTER, ProtocolError(reason="no register came")) from None
        try:
            register = decode(frame)
        except ProtocolError as error:
            raise _Refused(BAD_ENVELOPE, error) from None
        if not isinstance(register, Register):
            other = ProtocolError(reason="the first message must be a register")
            raise _Refused(BAD_ENVELOPE, other)
        name, generation = self._identify(channel.peer, register)
        _check(register)
        # Of several that come for one dead connection, the first to be here is the next one to ask.
        while (old := self._entry(name).connection) is not None:
            await self._fence(old, generation)
        self._counter += 1
        connection = Connection(
            channel,
            name,
            clock=self._clock,
            generation=generation,
            protocol=register.protocol,
            prefix=f"h{self._counter}-",
        )
        channel.limit = REGISTERED_LIMIT
        return connection, register

    def _entry(self, name: str) -> Entry:
        entry = self.router.entries.get(name)
        if entry is None:
            missing = PluginNotFound(plugin=name, known=sorted(self.router.entries))
            raise _Refused(WRONG_NAME, missing)
        return entry

    def _identify(self, peer: Peer, register: Register) -> tuple[str, int]:
        token = peer.token if peer.token is not None else register.token
        known = (
            self.tokens.plugin_of(token)
            if token is not None
            else self.tokens.plugin_at(peer.port, peer.local_port)
        )
        if known is None:
            raise _Refused(NO_TOKEN, Unauthenticated(what="the bus"))
        if known[0] != register.plugin:
            error = Forbidden(
                f"The token is that of {known[0]}; it cannot register as {register.plugin}.",
                who=known[0],
            )
            raise _Refused(WRONG_NAME, error)
        return known

    async def _fence(self, old: Connection, generation: int) -> None:
        """Keep a live connection of the same name; shut out one that does not answer."""
        alive = old.generation >= generation and await old.channel.ping(1.0)
        if alive:
            raise _Refused(NAME_LIVE, AlreadyRegistered(plugin=old.name))
        if old.fenced:
            return
        old.fenced = True
        self.router.disconnected(old)
        self._close(old, 1001, "replaced")

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        closing = asyncio.create_task(connection.close(code, reason, flush=False))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _connect(self, connection: Connection, register: Register) -> None:
        name = connection.name
        routed, refused = conflicts(name, register.capabilities, self.router.entries[name].declared)
        connection.start()
        if connection.protocol >= 1:
            connection.post(
                Welcome(
                    protocol=PROTOCOL,
                    heartbeat_seconds=HEARTBEAT_SECONDS,
                    settings=self._listener.settings(name),
                )
            )
        self.router.connected(connection, tuple(register.capabilities), _schemas(register))
        self._listener.registered(connection, register, routed, refused)

    async def _refuse(self, channel: Channel, code: int, error: WorkbenchError) -> None:
        self._refused(error.code, str(error))
        many = len(self._refusals) == self._refusals.maxlen
        if many and self._clock.monotonic() - self._refusals[0] < 60:
            await self._clock.sleep(1.0)
        wire = error.to_wire()
        await channel.send(encode(Error(code=wire["code"], error=wire["error"])))
        await channel.close(code, str(error))

    def _refused(self, code: str, text: str) -> None:
        self._refusals.append(self._clock.monotonic())
        self._complaints.add(code, text)

    # -- attached clients -----------------------------------------------------------------------
    async def _serve_client(self, channel: Channel) -> None:
        token = channel.peer.token
        name = self.tokens.client_of(token) if token is not None else None
        if name is None:
            await self._refuse(channel, NO_TOKEN, Unauthenticated(what="/attach"))
            return
        self._counter += 1
        connection = Connection(
            channel, f"{name}-{self._counter}", clock=self._clock, kind="client",
            prefix=f"h{self._counter}-", limit=4096,
        )  # fmt: skip
        channel.limit = REGISTERED_LIMIT
        connection.start()
        connection.post(
            Welcome(protocol=PROTOCOL, heartbeat_seconds=HEARTBEAT_SECONDS, instance=self._instance)
        )
        self.clients.add(connection)
        try:
            await self._read(connection)
        finally:
            self.clients.discard(connection)
            self._leave(connection)
            connection.session.close()
            await connection.close(flush=False)

    def _leave(self, connection: Connection) -> None:
        for task in connection.tasks.values():
            task.cancel()
        for closing in connection.closing:
            closing()

    # -- reading --------------------------------------------------------------------------------
    async def _read(self, connection: Connection) -> None:
        """Read messages until the channel closes. One bad message never ends the reader."""
        receive = connection.channel.receive
        while True:
            frame = await receive()
            try:
                if len(frame) > OFF_LOOP_BYTES:
                    envelope = await asyncio.to_thread(decode, frame)
                else:
                    envelope = decode(frame)
                self._handle(connection, envelope)
            except UnknownType as error:
                text = f"{connection.name}: {error}"
                self._complaints.add("unknown_type", text, connection.name)
            except ProtocolError as error:
                if self._strike(connection, error):
                    await connection.close(BAD_ENVELOPE, "too many bad messages")
                    return

    def _strike(self, connection: Connection, error: ProtocolError) -> bool:
        self._complaints.add(error.code, f"{connection.name}: {error}", connection.name)
        if connection.protocol >= 1:
            wire = error.to_wire()
            connection.post(
                Error(code=wire["code"], error=wire["error"], detail=wire.get("detail"))
            )
        return connection.strike()

    def _handle(self, connection: Connection, envelope: AnyEnvelope) -> None:
        match envelope:
            case Response() | Chunk() | Progress():
                now = self._clock.monotonic()
                self.router.deliver(connection.session.receive(envelope, now=now))
            case Request() | Cancel():
                self._desk.handle(connection, envelope)
            case Log() | Telemetry() | Health() if connection.kind == "plugin":
                if envelope.plugin != connection.name:
                    self.mismatches += 1
                if isinstance(envelope, Health):
                    self.router.healthy(connection.name, envelope.status == "up")
                    self._listener.beat(connection, envelope)
                elif connection.takes_flood():
                    if isinstance(envelope, Log):
                        self._listener.logged(connection, envelope)
                    else:
                        self._listener.sampled(connection, envelope)
                elif isinstance(envelope, Log):
                    connection.lines_dropped += 1
            case _:
                raise ProtocolError(reason=f"{envelope.kind} is not expected here")

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.router.sweep()
            self._complaints.sweep()
            plugins = [e.connection for e in self.router.entries.values() if e.connection]
            for connection in [*plugins, *self.clients]:
                self._tell_flood(connection)
                if connection.is_stuck:
                    self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """Give up a peer that does not read. Its close may take seconds; its askers hear now."""
        self._refused("slow_reader", f"{connection.name} does not read; dropped")
        if connection.kind == "plugin":
            connection.fenced = True
            self.router.disconnected(connection)
            self._listener.disconnected(connection, "it does not read")
        self._close(connection, 1008, "does not read")

    def _tell_flood(self, connection: Connection) -> None:
        if lines := connection.lines_dropped:
            connection.lines_dropped = 0
            self._listener.flooded(connection, lines)


class _Refused(Exception):
    """A connection that is turned away: its close code and the error that says why."""

    def __init__(self, code: int, error: WorkbenchError) -> None:
        self.code, self.error = code, error
        super().__init__(str(error))


def _check(register: Register) -> None:
    """Refuse what no attached client could be told of. Raises `_Refused`."""
    bad = [c for c in register.capabilities if not is_name(c)]
    if bad:
        misnamed = ProtocolError(reason=f"{bad[0]!r} is not a capability's name")
        raise _Refused(BAD_ENVELOPE, misnamed)
    try:
        # The state, of which it becomes a part, has to fit into a frame with it.
        raw({"state": {"plugins": {"name": [register.config_schema, register.meta]}}})
    except ProtocolError as error:
        raise _Refused(BAD_ENVELOPE, error) from None


def _schemas(register: Register) -> dict[str, dict[str, Any]]:
    found = (register.meta or {}).get("schemas")
    if not isinstance(found, dict):
        return {}
    return {name: schema for name, schema in found.items() if isinstance(schema, dict)}
