"""WebSocket channels, server and client, on the `websockets` library.

Owns the handshake rules that hold before a WebSocket exists (path, `Host`, `Origin`, bearer token,
number and rate of connections), compression off, pings, and frames as text only. Does not own what
the frames mean.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import connect as ws_connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server as WsServer
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as ws_serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse

from bkg_workbench.bus.channel import (
    REGISTERED_LIMIT,
    UNREGISTERED_LIMIT,
    Channel,
    ChannelClosed,
    Peer,
)
from bkg_workbench.errors import Unauthenticated, WorkspaceError

PATHS = ("/", "/bus", "/attach")
PING_SECONDS, PONG_SECONDS, CLOSE_SECONDS = 10.0, 8.0, 2.0
"""Together they say when a connection whose wire went dead is given up: after 20 s at most."""
OPEN_SECONDS = 5.0
QUEUED_FRAMES = 32
"""How many received frames wait for their reader; each may have the limit's size."""
RECEIVED_BYTES = 16 * 1024
"""What the kernel holds for us of a connection. The library takes apart at once all that it reads:
with the usual buffers a flood of small frames holds up the loop four times as long."""
MAX_CONNECTIONS = 1_000
ACCEPTS_PER_SECOND, ACCEPT_BURST = 20.0, 100.0
"""Of connections that bring no token; one with a valid token is not kept waiting by strangers."""
WRONG_TOKENS, WRONG_TOKEN_SECONDS, WRONG_TOKEN_DELAY = 10, 60.0, 1.0
"""After so many wrong tokens within so many seconds each further one is answered late."""

Admit = Callable[[Peer], http.HTTPStatus | None]
"""Judges a handshake by its path and token: None to let it in, else the status to refuse with."""


class ConnectFailed(WorkspaceError):
    """The bus could not be reached, or refused the handshake."""

    code, status = "connect_failed", 503
    template = "The bus at {url} could not be reached: {reason}."


Keep = Callable[[int], Callable[[], None]]
"""Told a descriptor that forked children have to close; gives what forgets it again."""


def _keep_nothing(_: int) -> Callable[[], None]:
    return lambda: None


class WebSocketChannel(Channel):
    """A `Channel` over one WebSocket."""

    def __init__(self, connection: Connection, peer: Peer, limit: int) -> None:
        self.peer = peer
        self._connection = connection
        self.limit = limit

    @property
    def limit(self) -> int:
        return self._connection.protocol.max_message_size or REGISTERED_LIMIT

    @limit.setter
    def limit(self, size: int) -> None:
        self._connection.protocol.max_message_size = size

    async def send(self, frame: bytes) -> None:
        await self._be_fair()
        try:
            await self._connection.send(frame, text=True)
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def receive(self) -> bytes:
        await self._be_fair()
        try:
            message = await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from None
        if isinstance(message, str):
            return message.encode()
        await self.close(1003, "text frames only")
        raise ChannelClosed(1003, "text frames only")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        # A close frame carries 123 bytes of reason, and more would be an error of its own.
        fitting = reason.encode("utf-8", "replace")[:120].decode("utf-8", "ignore")
        await self._connection.close(code, fitting)

    async def ping(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await (await self._connection.ping())
        except (TimeoutError, ConnectionClosed):
            return False
        return True


def _closed(error: ConnectionClosed) -> ChannelClosed:
    frame = error.rcvd or error.sent
    return ChannelClosed(frame.code, frame.reason) if frame else ChannelClosed()


class Server:
    """A listening bus. `port` is the one that it got."""

    def __init__(self, server: WsServer) -> None:
        self._server = server
        self.port: int = next(iter(server.sockets)).getsockname()[1]

    @property
    def file_descriptors(self) -> list[int]:
        """Of the listening sockets, to be closed in forked children."""
        return [s.fileno() for s in self._server.sockets]

    async def close(self) -> None:
        """Stop listening and close every connection with 1001."""
        self._server.close()
        await self._server.wait_closed()


async def serve(
    on_channel: Callable[[Channel], Awaitable[None]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    admit: Admit,
    extra_hosts: tuple[str, ...] = (),
    keep: Keep = _keep_nothing,
) -> Server:
    """Listen on loopback and call `on_channel` for each connection that is let in.

    `extra_hosts` are further values of the `Host` header (port forwarding). `keep` is told each
    connection's descriptor, to close it in forked children, and gives what forgets it. Raises
    `OSError` where the port is taken and `WorkspaceError` for an address that others could reach.
    """
    if not _is_loopback(host):
        raise WorkspaceError(
            f"The bus listens on this machine only, not on {host!r}; forward a port to reach it "
            "from elsewhere.",
            host=host,
        )
    gate = _Gate(admit, extra_hosts)

    async def handler(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        peer = _peer(request, connection)
        limit = REGISTERED_LIMIT if peer.path == "/attach" else UNREGISTERED_LIMIT
        gate.connections += 1
        forget = keep(connection.transport.get_extra_info("socket").fileno())
        try:
            await on_channel(WebSocketChannel(connection, peer, limit))
        finally:
            forget()
            gate.connections -= 1

    server = await ws_serve(
        handler,
        sock=_listening(host, port),
        process_request=gate.judge,
        compression=None,
        max_size=UNREGISTERED_LIMIT,
        max_queue=QUEUED_FRAMES,
        open_timeout=OPEN_SECONDS,
        ping_interval=PING_SECONDS,
        ping_timeout=PONG_SECONDS,
        close_timeout=CLOSE_SECONDS,
        server_header=None,
    )
    return Server(server)


class _Gate:
    """The rules before a WebSocket exists (their order is the order of cost)."""

    def __init__(self, admit: Admit, extra_hosts: tuple[str, ...]) -> None:
        self.connections = 0
        self._admit = admit
        self._extra_hosts = extra_hosts
        self._tokens, self._refilled = ACCEPT_BURST, 0.0
        self._wrong: deque[float] = deque(maxlen=WRONG_TOKENS)

    async def judge(
        self, connection: ServerConnection, request: HttpRequest
    ) -> HttpResponse | None:
        status = self._status(connection, request)
        if status is None:
            return None
        if status == http.HTTPStatus.UNAUTHORIZED and self._many_wrong():
            await asyncio.sleep(WRONG_TOKEN_DELAY)
        return connection.respond(status, f"{status.phrase}\n")

    def _status(self, connection: ServerConnection, request: HttpRequest) -> http.HTTPStatus | None:
        if request.path.partition("?")[0] not in PATHS:
            return http.HTTPStatus.NOT_FOUND
        if request.headers.get_all("Origin"):
            return http.HTTPStatus.FORBIDDEN
        port = connection.local_address[1]
        hosts = [h.lower() for h in request.headers.get_all("Host")]
        known = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        if len(hosts) != 1 or hosts[0] not in known | set(self._extra_hosts):
            return http.HTTPStatus.FORBIDDEN
        if self.connections >= MAX_CONNECTIONS:
            return http.HTTPStatus.SERVICE_UNAVAILABLE
        peer = _peer(request, connection)
        if peer.token is None and not self._accept():
            return http.HTTPStatus.SERVICE_UNAVAILABLE
        return self._admit(peer)

    def _many_wrong(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._wrong.append(now)
        return len(self._wrong) == WRONG_TOKENS and now - self._wrong[0] < WRONG_TOKEN_SECONDS

    def _accept(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._tokens = min(ACCEPT_BURST, self._tokens + (now - self._refilled) * ACCEPTS_PER_SECOND)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _listening(host: str, port: int) -> socket.socket:
    """A bound socket whose connections take little at a time."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _peer(request: HttpRequest, connection: ServerConnection) -> Peer:
    token = None
    value = request.headers.get("Authorization", "")
    scheme, _, credentials = value.partition(" ")
    if value:
        token = credentials.strip() if scheme.lower() == "bearer" else ""
    remote = connection.remote_address
    return Peer(
        path=request.path.partition("?")[0],
        token=token,
        port=remote[1] if remote else None,
        local_port=connection.local_address[1],
    )


async def connect(url: str, *, token: str | None = None) -> Channel:
    """Open a channel to a bus.

    Raises `Unauthenticated` where the token is refused and `ConnectFailed` for anything else.
    """
    options: dict[str, Any] = {}
    if token is not None:
        options["additional_headers"] = {"Authorization": f"Bearer {token}"}
    try:
        connection = await ws_connect(
            url,
            compression=None,
            max_size=REGISTERED_LIMIT,
            max_queue=QUEUED_FRAMES,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=CLOSE_SECONDS,
            user_agent_header=None,
            proxy=None,
            **options,
        )
    except InvalidStatus as error:
        if error.response.status_code == 401:
            raise Unauthenticated(what=url) from None
        reason = f"it answered {error.response.status_code}"
        raise ConnectFailed(url=url, reason=reason) from None
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        raise ConnectFailed(url=url, reason=str(error) or type(error).__name__) from None
    return WebSocketChannel(connection, Peer(), REGISTERED_LIMIT)
