"""Which ports the Host takes.

Owns the rule of the three variables (`BKG_PLUGIN_BUS_PORT` 43121, `BKG_API_PORT` 43119,
`BKG_WEB_PORT` 43117): set, that port or an error that names who holds it; not set, the default
where it is free, else any free one.
"""

from __future__ import annotations

import os
import socket

import psutil

from bkg_workbench.bus.hub import Hub
from bkg_workbench.bus.websocket import Server, serve
from bkg_workbench.errors import WorkspaceError
from bkg_workbench.supervisor.process import close_in_forked_children

DEFAULTS = {"BKG_PLUGIN_BUS_PORT": 43121, "BKG_API_PORT": 43119, "BKG_WEB_PORT": 43117}


class PortTaken(WorkspaceError):
    """A port that was asked for is held by another process. Facts `variable`, `port`, `owner`."""

    code, status = "port_taken", 409
    template = "Port {port} ({variable}) is held by {owner}; free it or choose another."


def wanted(variable: str) -> tuple[int, bool]:
    """(port, fixed): the port that a variable asks for, or its default.

    Raises `WorkspaceError` for a value that is no port.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return DEFAULTS[variable], False
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise WorkspaceError(
            f"{variable} is {text!r}, which is no port; give a number from 0 to 65535.",
            variable=variable,
        )
    return int(text), int(text) != 0


def owner_of(port: int) -> str:
    """Who listens on a loopback port, as far as this user may see."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                name = psutil.Process(connection.pid).name()
                return f"process {connection.pid} ({name})"
    except psutil.Error:
        return "another user's process"
    return "another process"


def is_free(port: int) -> bool:
    """Whether a loopback port can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(variable: str) -> int:
    """A port for a server that binds it itself. Raises `PortTaken`."""
    port, fixed = wanted(variable)
    if is_free(port):
        if port:
            return port
    elif fixed:
        raise PortTaken(variable=variable, port=port, owner=owner_of(port))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listen_bus(hub: Hub) -> tuple[Server, int]:
    """Open the bus. Raises `PortTaken` where the port that was asked for is held."""
    port, fixed = wanted("BKG_PLUGIN_BUS_PORT")
    extra = allowed_hosts()
    try:
        server = await serve(
            hub.accept, port=port, admit=hub.admit, extra_hosts=extra, keep=close_in_forked_children
        )
    except OSError:
        if fixed:
            owner = owner_of(port)
            raise PortTaken(variable="BKG_PLUGIN_BUS_PORT", port=port, owner=owner) from None
        server = await serve(
            hub.accept, port=0, admit=hub.admit, extra_hosts=extra, keep=close_in_forked_children
        )
    return server, server.port


def bind(variable: str) -> socket.socket:
    """A listening socket on loopback. Raises `PortTaken` where the port asked for is held.

    What connects before anybody accepts waits in its backlog.
    """
    port, fixed = wanted(variable)
    try:
        return socket.create_server(("127.0.0.1", port), backlog=256)
    except OSError:
        if fixed:
            raise PortTaken(variable=variable, port=port, owner=owner_of(port)) from None
        return socket.create_server(("127.0.0.1", 0), backlog=256)


def allowed_hosts() -> tuple[str, ...]:
    """Further values of the `Host` header, from `BKG_ALLOWED_HOSTS` (comma-separated)."""
    listed = os.environ.get("BKG_ALLOWED_HOSTS", "").split(",")
    return tuple(name.strip().lower() for name in listed if name.strip())
