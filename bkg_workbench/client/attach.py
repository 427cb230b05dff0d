"""Find a workspace's Host and join it.

Owns the search for the workspace, the connection file as its readers see it, and `attach`. Does not
write the connection file (`host.workspace` does).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bkg_workbench.bus.websocket import ConnectFailed, connect
from bkg_workbench.client import manners
from bkg_workbench.client.outbound import ChannelOutbound
from bkg_workbench.client.portal import Portal
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostGone, HostNotFound, Unauthenticated, WorkspaceError

MARK = Path("plugins") / "plugins.json"
CONNECTION_FILE = Path(".bkg") / "host.json"


class ConnectionFile(msgspec.Struct, kw_only=True):
    """`.bkg/host.json` (0600): how to reach the Host. `started_at` is in ms since 1970."""

    bus: str
    gateway: str | None = None
    web: str | None = None
    pid: int
    started_at: int
    instance: str
    token: str
    version: str = ""

    def __repr__(self) -> str:
        return f"<ConnectionFile {self.bus} pid {self.pid}>"


def find_workspace(path: str | os.PathLike[str] | None = None) -> Path:
    """The workspace: the argument, else `BKG_WORKSPACE`, else the nearest parent that is one.

    Raises `WorkspaceError` where there is none.
    """
    named = path if path is not None else os.environ.get("BKG_WORKSPACE") or None
    if named is not None:
        root = Path(named).expanduser().resolve()
        if (root / MARK).is_file() or (root / "plugins").is_dir():
            return root
        raise WorkspaceError(
            f"{root} is no workspace: it has no {MARK}. Make one with `bkg init {root}`.",
            path=str(root),
        )
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise WorkspaceError(
            "The current folder does not exist any more; change to a workspace, or name one in "
            "BKG_WORKSPACE.",
        ) from None
    for folder in (here, *here.parents):
        if (folder / MARK).is_file():
            return folder
    raise WorkspaceError(
        f"Neither {here} nor a folder above it is a workspace (none has {MARK}). "
        "Make one with `bkg init DIR`, or name one in BKG_WORKSPACE.",
        path=str(here),
    )


def read_connection_file(root: Path) -> ConnectionFile:
    """The workspace's connection file. Raises `HostNotFound`."""
    file = root / CONNECTION_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=ConnectionFile)
    except FileNotFoundError:
        raise HostNotFound(path=str(root)) from None
    except PermissionError:
        raise HostNotFound(
            f"{file} belongs to another user; only the user who runs the Host can attach.",
            path=str(root),
        ) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HostNotFound(
            f"{file} cannot be read ({error}); start the Host again with `bkg host`.",
            path=str(root),
        ) from None


def attach(path: str | os.PathLike[str] | None = None) -> Workbench:
    """Join the workspace's live Host. Raises `HostNotFound`, `WorkspaceError`."""
    manners.install()
    root = find_workspace(path)
    connection = read_connection_file(root)
    portal = Portal("bkg-attached")
    try:
        outbound = portal.run(_join(root, connection))
        return Workbench(portal, outbound, str(root))
    except BaseException:
        portal.close()
        raise


async def _join(root: Path, connection: ConnectionFile) -> ChannelOutbound:
    # Either nobody listens there any more, or somebody else does by now.
    try:
        channel = await connect(f"{connection.bus}/attach", token=connection.token)
    except (ConnectFailed, Unauthenticated, ValueError):  # the last: a port that is none
        raise HostNotFound(path=str(root)) from None
    outbound = ChannelOutbound(channel, str(root))
    try:
        await outbound.start()
    except HostGone:
        await outbound.aclose()
        raise HostNotFound(path=str(root)) from None
    except BaseException:
        await outbound.aclose()
        raise
    return outbound
