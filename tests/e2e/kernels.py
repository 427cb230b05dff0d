"""Real ipykernels for tests, and what is tried with them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin

GONE_SECONDS = 7.0
"""5 s grace and 2 s more."""

UP = "from bkg_workbench import Host\nhost = Host()\nhost.start('demo')\nprint('up')"


class Kernel:
    """One kernel and its client."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def begin(self, code: str) -> str:
        """Run a cell without waiting for its end."""
        # A cell that fails would abort the next one where it is already on its way.
        return self.client.execute(code, stop_on_error=False)

    def run(self, code: str, timeout: float = 60.0) -> str:
        """What a cell prints. Raises `AssertionError` with the cell's error."""
        return self.finish(self.begin(code), timeout)

    def finish(self, request: str, timeout: float = 60.0) -> str:
        """What a cell that was begun has printed by its end."""
        printed: list[str] = []
        while True:
            try:
                message: dict[str, Any] = self.client.get_iopub_msg(timeout=timeout)
            except Empty:
                raise AssertionError(f"the cell did not end; so far: {printed}") from None
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind == "execute_result":
                printed.append(content["data"]["text/plain"])
            elif kind == "error":
                raise AssertionError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(printed)


@contextmanager
def kernel(cwd: Path, env: dict[str, str]) -> Iterator[Kernel]:
    """A kernel whose working directory is `cwd`."""
    manager = KernelManager()
    manager.start_kernel(cwd=str(cwd), env=env)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy(linger=0)
        # jupyter_core keeps an event loop for its synchronous calls.
        ensure_event_loop().close()
        asyncio.set_event_loop(None)


def gone(workspace: Path) -> bool:
    """Whether nothing but kernels is left of the workspace."""
    return not [c for c in processes_of(workspace).values() if "ipykernel" not in c]


def interrupt_starts(workspace: Path, moments: int) -> dict[str, int]:
    """Interrupt a kernel at many moments of a Host's start; how the starts ended.

    After each the Host comes up, and is closed again.
    """
    write_plugin(workspace, autostart=True)
    ended = {"up": 0, "interrupted": 0}
    with kernel(workspace, dict(os.environ)) as made:
        made.run("from bkg_workbench import Host")
        for number in range(moments):
            starting = made.begin("host = Host(); print('is up')")
            time.sleep(0.1 * number / moments)  # the moment itself is what is tried
            made.manager.interrupt_kernel()
            ended["up" if _is_up(made, starting) else "interrupted"] += 1
            assert "up" in made.run(UP)
            made.run("host.close()")
            eventually(lambda: gone(workspace), timeout=GONE_SECONDS)
    return ended


def _is_up(made: Kernel, starting: str) -> bool:
    """Whether the cell ended well; if not, it was by the interrupt."""
    try:
        return "is up" in made.finish(starting)
    except AssertionError as error:
        if "KeyboardInterrupt" not in str(error):
            raise
        return False
