"""The kernels of the dashboards: one a page, some ready ahead, none that outlives its page.

Owns the spare kernels (started and with everything imported, so that a page has only to attach) and
the lease (a page's websocket; a kernel that nobody has been connected to for so long is ended,
whatever it does). What runs in a kernel is the dashboard's; the spares know no Host before a page
takes them.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Float, Integer

PREPARE = "__import__('bkg_workbench.widgets.dashboards', fromlist=['prepare']).prepare()"
START_SECONDS = 60.0
FILL_DELAY_SECONDS = 2.0
"""A new spare waits so long after the last one was taken: the page needs the processor first."""
FILL_TRIES = 3
FIRST_SECONDS = 120.0
"""A page that loads on a busy machine is at least given so long to connect for the first time."""


class KernelFailed(Exception):
    """A kernel could not be started, or did not answer. Its text is for the operator."""


@dataclass(frozen=True)
class Ready:
    """A kernel that answers, and the client that speaks with it."""

    id: str
    client: Any
    manager: Any

    def close(self) -> None:
        """End the client; the kernel stays."""
        self.client.stop_channels()


class PageKernels(AsyncMappingKernelManager):  # partly untyped: what it gives is Any here
    """Starts, hands out and ends kernels. Its methods belong to the server's loop."""

    spare = Integer(1, min=0, help="How many kernels wait for a page.").tag(config=True)
    lease_seconds = Float(
        60.0, help="A kernel that no page is connected to for so long is ended."
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._spares: list[Ready] = []
        self._filling: asyncio.Task[None] | None = None
        self._heard: dict[str, float] = {}
        self._met: set[str] = set()

    @property
    def spares(self) -> tuple[str, ...]:
        """The ids of the kernels that wait for a page."""
        return tuple(spare.id for spare in self._spares)

    # -- spares ---------------------------------------------------------------------------------
    def fill(self, delay: float = 0.0) -> None:
        """Begin to start what is missing of the spares, unless that is going on."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(delay), name="bkg-spare-kernels")

    async def _fill(self, delay: float) -> None:
        await asyncio.sleep(delay)
        failures = 0
        while len(self._spares) < self.spare and failures < FILL_TRIES:
            try:
                self._spares.append(await self._ready(str(uuid.uuid4()), {}))
            except KernelFailed as error:
                # Without spares a page starts its own kernel, and tells its reader if it cannot.
                failures += 1
                self.log.warning("No kernel could be started ahead: %s", error)

    async def _take(self) -> Ready | None:
        while self._spares:
            ready = self._spares.pop(0)
            if ready.id in self and await ready.manager.is_alive():
                return ready
            ready.close()
            await self.discard(ready.id)
        return None

    # -- a page's kernel ------------------------------------------------------------------------
    async def page_kernel(self, environment: Mapping[str, str]) -> Ready:
        """A kernel for one page, with `environment` in its `os.environ`.

        Raises `KernelFailed`.
        """
        ready = await self._take()
        if ready is not None:
            try:
                self._heard[ready.id] = time.monotonic()
                code = f"__import__('os').environ.update({dict(environment)!r})"
                await _run(ready.client, code)
            except KernelFailed as error:
                self.log.warning("A waiting kernel was of no use: %s", error)
                ready.close()
                await self.discard(ready.id)
                ready = None
        if ready is None:
            ready = await self._ready(str(uuid.uuid4()), environment)
        self._heard[ready.id] = time.monotonic()
        self.fill(FILL_DELAY_SECONDS)
        return ready

    async def _ready(self, kernel_id: str, environment: Mapping[str, str]) -> Ready:
        """A kernel of a new process that has imported what pages need."""
        client = None
        try:
            start: Any = self.start_kernel
            await start(kernel_id=kernel_id, kernel_name="python3", path="",
                        env={**os.environ, **environment})  # fmt: skip
            manager: Any = self.get_kernel(kernel_id)
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=START_SECONDS)
            await _run(client, PREPARE)
            self._heard[kernel_id] = time.monotonic()
            return Ready(kernel_id, client, manager)
        except BaseException as error:
            if client is not None:
                client.stop_channels()
            await self.discard(kernel_id)
            if isinstance(error, (KernelFailed, asyncio.CancelledError)):
                raise
            raise KernelFailed(str(error) or type(error).__name__) from error

    async def _end(self, kernel_id: str, *, now: bool = False) -> None:
        shutdown: Any = self.shutdown_kernel
        await shutdown(kernel_id, now=now)

    async def discard(self, kernel_id: str) -> None:
        """End a kernel that nobody will use, if it is still there."""
        if kernel_id in self:
            with suppress(Exception):  # it is ended or dead; either way it is not used
                await self._end(kernel_id, now=True)

    # -- the end --------------------------------------------------------------------------------
    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """End a kernel that has died, or whose page has not been connected for the lease."""
        kernel: Any = self.get_kernel(kernel_id)
        now = time.monotonic()
        if kernel_id not in self._heard:
            return  # it is just starting
        if not await kernel.is_alive():
            self.log.warning("Kernel %s has died", kernel_id)
            await self.discard(kernel_id)
            self.fill()
        elif kernel_id in self.spares or self._kernel_connections.get(kernel_id, 0):
            self._heard[kernel_id] = now
        elif now - self._heard[kernel_id] > self._allowed(kernel_id):
            self.log.info("The page of kernel %s has gone", kernel_id)
            await self._end(kernel_id)

    def _allowed(self, kernel_id: str) -> float:
        """How many seconds its page may be away."""
        lease = float(self.lease_seconds)
        return lease if kernel_id in self._met else max(lease, FIRST_SECONDS)

    def notify_connect(self, kernel_id: str) -> None:
        """A page has connected."""
        super().notify_connect(kernel_id)  # type: ignore[no-untyped-call]
        self._met.add(kernel_id)

    def notify_disconnect(self, kernel_id: str) -> None:
        """A page has let go, for a moment or for good."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call]
        if kernel_id in self._heard:
            self._heard[kernel_id] = time.monotonic()

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel that has ended."""
        self._heard.pop(kernel_id, None)
        self._met.discard(kernel_id)
        for ready in [one for one in self._spares if one.id == kernel_id]:
            self._spares.remove(ready)
            ready.close()
        return super().remove_kernel(kernel_id)

    async def shutdown_all(self, now: bool = False) -> Any:  # type: ignore[override]
        """End every kernel, those that wait and those that are just starting too."""
        filling, self._filling = self._filling, None
        if filling is not None:
            filling.cancel()  # not waited for: the server's loop has ended by now
        self.spare = 0
        for ready in self._spares:
            ready.close()
        self._spares.clear()
        every: Any = super().shutdown_all
        return await every(now=True)  # a page keeps nothing that it could save


async def _run(client: Any, code: str) -> None:
    """Run code that leaves no trace in the kernel's history. Raises `KernelFailed`."""
    try:
        reply = await client.execute(
            code, silent=True, store_history=False, allow_stdin=False, reply=True,
            timeout=START_SECONDS,
        )  # fmt: skip
    except (TimeoutError, RuntimeError) as error:
        raise KernelFailed(f"the kernel did not answer: {error}") from error
    content = reply["content"]
    if content["status"] != "ok":
        what = f"{content.get('ename', '')}: {content.get('evalue', '')}".strip(": ")
        raise KernelFailed(what or "the kernel gave up")
