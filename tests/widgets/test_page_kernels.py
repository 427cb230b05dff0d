"""The kernels of pages, with real ones: handed out, refilled, given up, ended."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from traitlets.config import Config

from bkg_workbench.widgets import page_kernels
from bkg_workbench.widgets.page_kernels import PageKernels, Ready
from bkg_workbench.widgets.pages import NativeKernels
from tests.helpers import aeventually, is_alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECONDS = 60.0


@pytest_asyncio.fixture
async def kernels(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PageKernels]:
    """One spare, a lease that is over at once, and no look at it but the test's own."""
    monkeypatch.setattr(page_kernels, "FILL_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(page_kernels, "FIRST_SECONDS", 0.0)
    config = Config()
    config.KernelManager.transport = "ipc"
    config.KernelManager.autorestart = False
    place = tempfile.mkdtemp(prefix="bkg-k-")  # a socket's path may have 107 characters
    kernels = PageKernels(
        config=config,
        connection_dir=place,
        kernel_spec_manager=NativeKernels(),
        root_dir=place,
        lease_seconds=0.0,
    )
    pids: set[int] = set()
    kernels.fill()
    await aeventually(lambda: kernels.spares, timeout=SECONDS)
    yield kernels
    filling = kernels._filling
    pids.update(pid_of(kernels, one) for one in kernels.list_kernel_ids())
    await kernels.shutdown_all()
    if filling is not None:
        await aeventually(filling.done, timeout=SECONDS)
    await aeventually(lambda: not any(is_alive(pid) for pid in pids), timeout=SECONDS)
    kernels.context.destroy(linger=0)
    shutil.rmtree(place)


def pid_of(kernels: PageKernels, kernel_id: str) -> int:
    manager: Any = kernels.get_kernel(kernel_id)
    return int(manager.provisioner.pid)


async def value(ready: Ready, expression: str) -> str:
    """What an expression is in a kernel."""
    reply = await ready.client.execute(
        "", user_expressions={"x": expression}, store_history=False, reply=True, timeout=SECONDS
    )
    return str(reply["content"]["user_expressions"]["x"]["data"]["text/plain"])


async def test_a_page_gets_the_kernel_that_waits_with_its_own_address(
    kernels: PageKernels,
) -> None:
    (waiting,) = kernels.spares
    ready = await kernels.page_kernel({"QUERY_STRING": "plugin=it's&x=\\"})
    assert ready.id == waiting
    address = await value(ready, "__import__('os').environ['QUERY_STRING']")
    assert address == repr("plugin=it's&x=\\")
    assert await value(ready, "'bkg_workbench.widgets.board' in __import__('sys').modules")
    await aeventually(lambda: kernels.spares and waiting not in kernels.spares, timeout=SECONDS)
    ready.close()


async def test_without_a_spare_a_page_gets_a_kernel_all_the_same(kernels: PageKernels) -> None:
    kernels.spare = 0
    first = await kernels.page_kernel({"QUERY_STRING": "n=1"})
    second = await kernels.page_kernel({"QUERY_STRING": "n=2"})
    for ready, address in ((first, "n=1"), (second, "n=2")):
        assert await value(ready, "__import__('os').environ['QUERY_STRING']") == repr(address)
        ready.close()
    assert not kernels.spares


async def test_only_a_kernel_whose_page_is_away_is_given_up(kernels: PageKernels) -> None:
    kernels.spare = 0
    ready = await kernels.page_kernel({})
    kernels.notify_connect(ready.id)
    await kernels.cull_kernel_if_idle(ready.id)
    assert ready.id in kernels, "its page is there"
    kernels.notify_disconnect(ready.id)
    ready.close()

    async def is_given_up() -> bool:
        if ready.id in kernels:
            await kernels.cull_kernel_if_idle(ready.id)
        return ready.id not in kernels

    await aeventually(is_given_up, timeout=SECONDS)


async def test_a_spare_is_not_given_up_and_replaced_when_it_dies(kernels: PageKernels) -> None:
    (waiting,) = kernels.spares
    await kernels.cull_kernel_if_idle(waiting)
    assert kernels.spares == (waiting,)
    os.kill(pid_of(kernels, waiting), signal.SIGKILL)

    async def is_replaced() -> bool:
        if waiting in kernels:
            await kernels.cull_kernel_if_idle(waiting)
        return bool(kernels.spares) and waiting not in kernels.spares

    await aeventually(is_replaced, timeout=SECONDS)
