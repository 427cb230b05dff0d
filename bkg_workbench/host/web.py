"""The control centre's web server: Voilà over the workspace's dashboards.

Owns its command line, its token and its place in the port table. It runs below a keeper like a
plug-in does, so it ends with the Host however that ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import urllib.request
from typing import TYPE_CHECKING

from bkg_workbench.errors import StartFailed
from bkg_workbench.host import firststart, ports
from bkg_workbench.host.settings import PageSettings
from bkg_workbench.protocol.state import Port
from bkg_workbench.supervisor.process import Exit, LaunchSpec, Process

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

START_SECONDS = 60.0


class Web:
    """One Voilà server for one Host. Its methods belong to the Host's event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process: Process | None = None
        self._ended: asyncio.Task[Exit] | None = None
        self._tail: list[str] = []
        self._url = ""
        self._starting = asyncio.Lock()

    async def start(self) -> str:
        """Start the server unless it runs, wait until it answers, and give the first page's URL.

        Raises `StartFailed` with the server's last lines; `PortTaken`.
        """
        async with self._starting:
            if self._ended is None or self._ended.done():
                await self.stop()
                await self._start()
        return self._url

    async def _start(self) -> None:
        port = ports.choose("BKG_WEB_PORT")
        token = secrets.token_urlsafe(24)
        environment = {
            **{k: v for k, v in os.environ.items() if k != firststart.VARIABLE},
            "BKG_WORKSPACE": str(self._engine.workspace.root),
            "BKG_INSTANCE": self._engine.instance,
            "BKG_WEB_TOKEN": token,
        }
        spec = LaunchSpec(
            argv=tuple(command(str(self._engine.workspace.dashboards), port, self._engine.pages)),
            cwd=self._engine.workspace.root,
            env=environment,
            grace_seconds=3.0,
        )
        self._process = await Process.spawn(spec, self._lines)
        self._ended = asyncio.create_task(self._process.wait(), name="web-end")
        base = f"http://127.0.0.1:{port}"
        self._url = f"{base}/?token={token}"
        try:
            await self._answers(base)
        except BaseException:
            # The next call must try again, not give the address of a server that never was.
            await self.stop()
            raise
        self._engine.add_port(Port(name="web", port=port, url=self._url, owner="Voilà"))

    async def _answers(self, base: str) -> None:
        ended = self._ended
        assert ended is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await asyncio.to_thread(_is_up, f"{base}/health"):
                    if ended.done():
                        raise StartFailed(
                            plugin="The web server", reason=str(ended.result()), log=self._tail
                        )
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StartFailed(
                plugin="The web server",
                reason=f"it did not answer within {START_SECONDS:g} s",
                log=self._tail,
            ) from None

    def _lines(self, stream: str, lines: list[str]) -> None:
        self._tail = [*self._tail, *lines][-20:]
        for line in lines:
            self._engine.logs.append("web", stream, "info", line)

    async def stop(self) -> None:
        """End the server; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()


def command(dashboards: str, port: int, settings: PageSettings) -> list[str]:
    """The pages' command line; their token comes by `BKG_WEB_TOKEN`, never by an argument."""
    return [
        sys.executable, "-m", "bkg_workbench.widgets.pages", f"--port={port}",
        f"--PageKernels.spare={settings.spare_kernels}",
        f"--PageKernels.lease_seconds={settings.lease_seconds}",
        dashboards,
    ]  # fmt: skip


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
