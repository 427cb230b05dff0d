"""The gateway's server: one listening socket, its connections, and their end.

Owns the socket from `start` on. It runs in the loop that it is started on, the Host's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from email.utils import formatdate

from uvicorn.config import Config
from uvicorn.server import ServerState

from bkg_workbench.gateway.app import App
from bkg_workbench.gateway.door import Door
from bkg_workbench.gateway.limits import Limits
from bkg_workbench.gateway.wire import Crowd, Keep, Wire, keep_nothing

DATE_SECONDS = 1.0
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Gateway:
    """One gateway. `listener` is bound to loopback; `extra_hosts` are further values of `Host`.

    `keep` is told each connection's descriptor, to close it in forked children.
    """

    def __init__(
        self,
        door: Door,
        listener: socket.socket,
        *,
        extra_hosts: Iterable[str] = (),
        limits: Limits | None = None,
        keep: Keep = keep_nothing,
    ) -> None:
        self.limits = limits or Limits()
        self.port = int(listener.getsockname()[1])
        hosts = [*(f"{name}:{self.port}" for name in LOOPBACK), *extra_hosts]
        self.app = App(door, hosts, self.limits)
        self.crowd = Crowd(self.limits, keep)
        self._listener = listener
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        config = Config(
            self.app,
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            # What a client says of its own address and scheme is believed by nobody.
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        self._set_date(loop)
        self._server = await loop.create_server(
            lambda: Wire(config, self._state, self.crowd), sock=self._listener, backlog=256
        )

    def _set_date(self, loop: asyncio.AbstractEventLoop) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._clock = loop.call_later(DATE_SECONDS, self._set_date, loop)

    async def aclose(self) -> None:
        """Take nothing new, let what is under way end for `drain_seconds`, then end it."""
        if self._clock is not None:
            self._clock.cancel()
        if self._server is None:
            self._listener.close()
            return
        self._server.close()
        self.app.answers.closing.set()
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain_seconds):
                while self._state.tasks:
                    await asyncio.wait(set(self._state.tasks))
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        await self._server.wait_closed()
        self.app.close()
