"""Real ipykernels for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager


class Kernel:
    """One kernel and its client."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def begin(self, code: str) -> str:
        """Run a cell without waiting for its end."""
        return self.client.execute(code)

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
