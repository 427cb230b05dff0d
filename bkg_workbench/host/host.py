"""`Host`, the Workbench that owns a workspace, and `workbench()`, which attaches or becomes it.

Owns what a Host needs of the process that it lives in: exit, forks, and the kernel's switch
interval. What a Host does is the engine's.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from bkg_workbench.client import manners
from bkg_workbench.client.attach import attach, find_workspace
from bkg_workbench.client.portal import Portal
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostGone, HostNotFound, WorkspaceError, WorkspaceOwned
from bkg_workbench.host.direct import Direct
from bkg_workbench.host.engine import Engine
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.supervisor.process import close_in_forked_children, spawn_detached

SWITCH_INTERVAL = 0.0005
"""Seconds; in a computing kernel the Host's p99 falls from 26 to 2 ms with it."""

_hosts: dict[str, Host] = {}
_making = threading.RLock()
_interval_before: float | None = None


class _OnePerWorkspace(type):
    """Makes `Host(path)` the Host that this process has for the workspace already, if any."""

    def __call__(
        cls, path: str | os.PathLike[str] | None = None, *, autostart: bool = True
    ) -> Host:
        root = find_workspace(path)
        with _making:
            host: Host = _present(root) or super().__call__(root, autostart=autostart)
            return host


class Host(Workbench, metaclass=_OnePerWorkspace):
    """A workspace's Host: runs its plug-ins and serves everybody else.

    `path` is the workspace (as `find_workspace`). A second `Host()` of the same workspace in the
    same process is the first one. Raises `WorkspaceOwned` where another process is the Host,
    `WorkspaceError`, `StoreError`. End it with `close()` or as a context manager.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, autostart: bool = True
    ) -> None:
        manners.install()
        root = find_workspace(path)
        disk = Workspace(root)
        disk.prepare()
        lock = disk.lock()
        self._disk = disk
        self._kept = [close_in_forked_children(lock)]
        self._ending = threading.RLock()
        self._engine: Engine | None = None
        try:
            portal = Portal("bkg-host")
            try:
                engine = portal.run(self._start(autostart))
                for descriptor in engine.file_descriptors:
                    self._kept.append(close_in_forked_children(descriptor))
                super().__init__(portal, Direct(engine), str(root))
            except BaseException:
                self._give_up(portal)
                raise
        except BaseException:
            self._let_go()
            raise
        _hosts[str(root)] = self
        _switch_often()
        atexit.register(self.abandon)
        portal.start(self._close_when_asked())

    async def _start(self, autostart: bool) -> Engine:
        # Known before it starts anything, so that an interrupt at any moment finds what to end.
        self._engine = Engine(self._disk)
        await self._engine.start(autostart=autostart)
        return self._engine

    def _give_up(self, portal: Portal) -> None:
        """End what a start that failed or was interrupted has begun."""
        try:
            if self._engine is not None:
                self._engine.abandon()
                portal.run(self._engine.aclose())
        finally:
            portal.close()

    @property
    def engine(self) -> Engine:
        """The Host's inside; its methods belong to its own thread."""
        assert self._engine is not None
        return self._engine

    def serve_web(self) -> str:
        """Serve the workspace's dashboards with Voilà and give their URL.

        Raises `StartFailed` with the server's last lines.
        """
        return self._portal.run(self.engine.web.start())

    def wait_until_stopped(self) -> None:
        """Return when somebody asked this Host to stop (`host.stop`)."""
        self._portal.run(self.engine.wait_until_stopping())

    async def _close_when_asked(self) -> None:
        await self.engine.wait_until_stopping()
        if not self._closed:
            threading.Thread(target=self.close, name="bkg-host-stop", daemon=True).start()

    def close(self) -> None:
        """Stop every plug-in, close the bus and let go; a second call waits until that is done.

        An interrupt meanwhile lets go of the plug-ins at once; their keepers end them.
        """
        if os.getpid() != self._pid:
            return
        if self._portal.is_current:
            super().close()  # says what to do instead
        with self._ending:
            if self._closed:
                return
            try:
                super().close()
            except BaseException:
                self.abandon()
                raise
            finally:
                self._let_go()

    async def _shut(self) -> None:
        try:
            await self.engine.web.stop()
        finally:
            await super()._shut()

    def _let_go(self) -> None:
        for keep in self._kept:
            keep()
        self._disk.unlock()
        if _hosts.get(str(self._disk.root)) is self:
            del _hosts[str(self._disk.root)]
            atexit.unregister(self.abandon)
        _switch_as_before()

    def abandon(self) -> None:
        """Let go of every plug-in at once, without waiting: their keepers end them.

        For a process that ends now; whoever has time calls `close`.
        """
        # A dying kernel has milliseconds.
        if os.getpid() == self._pid:
            self.engine.abandon()

    @property
    def _pid(self) -> int:
        return self._portal.pid


def _present(root: Path) -> Host | None:
    """This process's own Host of the workspace."""
    host = _hosts.get(str(root))
    return host if host is not None and host.connected and host._portal.is_open else None


def _switch_often() -> None:
    """Let the Host's thread have its turn sooner, in a kernel."""
    global _interval_before
    if _interval_before is None and _in_kernel():
        _interval_before = sys.getswitchinterval()
        sys.setswitchinterval(min(_interval_before, SWITCH_INTERVAL))


def _switch_as_before() -> None:
    """Put the switch interval back once no Host is left."""
    global _interval_before
    if _interval_before is not None and not _hosts:
        sys.setswitchinterval(_interval_before)
        _interval_before = None


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
    manners.install()
    root, end = find_workspace(path), time.monotonic() + timeout
    while True:
        if (present := _present(root)) is not None:
            return present
        try:
            return attach(root)
        except (HostNotFound, HostGone):
            pass
        try:
            return _beside(root, end - time.monotonic()) if host == "process" else Host(root)
        except WorkspaceOwned:
            # Its owner is just starting, or about to end: soon one of the two ways is open.
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _beside(root: Path, timeout: float) -> Workbench:
    disk = Workspace(root)
    disk.prepare()
    disk.lock()
    disk.unlock()
    log = disk.logs / "host.out"
    command = [sys.executable, "-m", "bkg_workbench", "--workspace", str(root), "host"]
    portal = Portal("bkg-spawn")
    try:
        portal.run(spawn_detached(command, root, dict(os.environ), log))
    finally:
        portal.close()
    return _attach_within(root, timeout, log)


def _attach_within(root: Path, timeout: float, log: Path) -> Workbench:
    end = time.monotonic() + timeout
    while True:
        try:
            return attach(root)
        except (HostNotFound, HostGone):
            if time.monotonic() > end:
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise WorkspaceError(
                    f"The Host of {root} did not come up within {timeout:g} s. {tail}".strip(),
                    path=str(root),
                ) from None
            time.sleep(0.05)
