"""`Host`, the Workbench that owns a workspace, and `workbench()`, which attaches or becomes it.

Owns what a Host needs of the process that it lives in: exit, forks, and the kernel's switch
interval. What a Host does is the engine's.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import Literal

from bkg_workbench.client.attach import attach, find_workspace
from bkg_workbench.client.portal import Portal
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostNotFound, WorkspaceError, WorkspaceOwned
from bkg_workbench.host.direct import Direct
from bkg_workbench.host.engine import Engine
from bkg_workbench.host.web import Web
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.supervisor.process import close_in_forked_children, spawn_detached

SWITCH_INTERVAL = 0.0005
"""Seconds; in a computing kernel the Host's p99 falls from 26 to 2 ms with it."""

_hosts: dict[str, Host] = {}


class Host(Workbench):
    """A workspace's Host: runs its plug-ins and serves everybody else.

    `path` is the workspace (as `find_workspace`). A second `Host()` of the same workspace in the
    same process is the first one. Raises `WorkspaceOwned` where another process is the Host,
    `WorkspaceError`, `StoreError`. End it with `close()` or as a context manager.
    """

    def __new__(cls, path: str | os.PathLike[str] | None = None, **_: object) -> Host:
        """The Host of this process for the workspace, if there is one, else a new one."""
        present = _hosts.get(str(find_workspace(path)))
        if present is not None and present.connected and present._portal.is_open:
            return present
        return super().__new__(cls)

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, autostart: bool = True
    ) -> None:
        root = find_workspace(path)
        if _hosts.get(str(root)) is self:
            return
        disk = Workspace(root)
        disk.prepare()
        lock = disk.lock()
        self._disk = disk
        self._kept = [close_in_forked_children(lock)]
        self._interval = sys.getswitchinterval()
        try:
            portal = Portal("bkg-host")
            try:
                self._engine = portal.run(_start(disk, autostart))
                for descriptor in self._engine.file_descriptors:
                    self._kept.append(close_in_forked_children(descriptor))
                if _in_kernel():
                    sys.setswitchinterval(min(self._interval, SWITCH_INTERVAL))
                super().__init__(portal, Direct(self._engine), str(root))
            except BaseException:
                portal.close()
                raise
        except BaseException:
            self._let_go()
            raise
        _hosts[str(root)] = self
        self._web: Web | None = None
        atexit.register(self.abandon)

    def serve_web(self) -> str:
        """Serve the workspace's dashboards with Voilà and give their URL.

        Raises `StartFailed` with the server's last lines.
        """
        if self._web is None:
            self._web = Web(self._engine)
        return self._portal.run(self._web.start())

    def wait_until_stopped(self) -> None:
        """Return when somebody asked this Host to stop (`host.stop`)."""
        self._portal.run(self._engine.wait_until_stopping())

    def close(self) -> None:
        """Stop every plug-in, close the bus and let go; a second call does nothing."""
        if _hosts.get(self.workspace) is not self:
            return
        try:
            if self._web is not None and self._portal.is_open:
                self._portal.run(self._web.stop())
            super().close()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for keep in self._kept:
            keep()
        sys.setswitchinterval(self._interval)
        self._disk.unlock()
        if _hosts.get(str(self._disk.root)) is self:
            del _hosts[str(self._disk.root)]
            atexit.unregister(self.abandon)

    def abandon(self) -> None:
        """Let go of every plug-in at once, without waiting: their keepers end them.

        For a process that ends now; whoever has time calls `close`.
        """
        # A dying kernel has milliseconds.
        if os.getpid() == self._pid:
            self._engine.abandon()

    @property
    def _pid(self) -> int:
        return self._portal.pid


async def _start(disk: Workspace, autostart: bool) -> Engine:
    engine = Engine(disk)
    try:
        await engine.start(autostart=autostart)
    except BaseException:
        await engine.aclose()
        raise
    return engine


def _in_kernel() -> bool:
    return "ipykernel" in sys.modules


def workbench(
    path: str | os.PathLike[str] | None = None,
    *,
    host: Literal["here", "process"] = "here",
    timeout: float = 60.0,
) -> Workbench:
    """Attach to the workspace's live Host, or become it.

    With `host="process"` a Host is started in a process of its own instead (a computing cell then
    costs nothing, and a kernel restart ends no plug-in); `timeout` in seconds bounds its start.
    """
    root = find_workspace(path)
    present = _hosts.get(str(root))
    if present is not None and present.connected:
        return present
    try:
        return attach(root)
    except HostNotFound:
        if host == "process":
            return _beside(root, timeout)
    try:
        return Host(root)
    except WorkspaceOwned:
        # Somebody else was quicker; its connection file follows within moments.
        return _attach_within(root, timeout)


def _beside(root: Path, timeout: float) -> Workbench:
    disk = Workspace(root)
    disk.prepare()
    log = disk.logs / "host.out"
    command = [sys.executable, "-m", "bkg_workbench", "--workspace", str(root), "host"]
    portal = Portal("bkg-spawn")
    try:
        portal.run(spawn_detached(command, root, dict(os.environ), log))
    finally:
        portal.close()
    return _attach_within(root, timeout, log)


def _attach_within(root: Path, timeout: float, log: Path | None = None) -> Workbench:
    end = time.monotonic() + timeout
    while True:
        try:
            return attach(root)
        except HostNotFound:
            if time.monotonic() > end:
                tail = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
                raise WorkspaceError(
                    f"The Host of {root} did not come up within {timeout:g} s. {tail}".strip(),
                    path=str(root),
                ) from None
            time.sleep(0.05)
