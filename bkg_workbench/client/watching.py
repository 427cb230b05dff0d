"""Waiting for the workspace, in a cell that lets the notebook live meanwhile.

Owns `watch`, a part of `Workbench`. What the state is, and who tells of it, is `client.state`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bkg_workbench.client.state import Unsubscribe
from bkg_workbench.errors import HostGone, RequestTimeout, WorkbenchError
from bkg_workbench.protocol.state import WorkbenchState


class Watching:
    """A part of `Workbench`."""

    workspace: str
    lost: str | None

    if TYPE_CHECKING:

        @property
        def state(self) -> WorkbenchState:
            """The workbench's own."""

        @property
        def connected(self) -> bool:
            """The workbench's own."""

        def on_change(self, callback: Callable[[WorkbenchState], None]) -> Unsubscribe:
            """The workbench's own."""

    async def watch(
        self,
        until: Callable[[WorkbenchState], Any] | None = None,
        *,
        timeout: float | None = None,
        seconds: float | None = None,
    ) -> WorkbenchState:
        """Wait until `until(state)` is true, and give that state; or simply for `seconds`.

            await bench.watch(lambda state: state.plugins["goose"].state == "running", timeout=60)
            await bench.watch(seconds=30)

        A cell that awaits it leaves the kernel free, so buttons and panels go on. Every state that
        comes is looked at, in the caller's own thread. Raises `RequestTimeout` after `timeout`
        seconds, `HostGone` where the Host goes meanwhile, and what `until` raises.
        """
        if (until is None) == (seconds is None):
            raise WorkbenchError("Give watch() either a condition or seconds, and not both.")
        condition = until or _never
        loop = asyncio.get_running_loop()
        states: asyncio.Queue[WorkbenchState] = asyncio.Queue()

        def tell(state: WorkbenchState) -> None:
            loop.call_soon_threadsafe(states.put_nowait, state)

        end = self.on_change(tell)
        try:
            async with asyncio.timeout(timeout if seconds is None else seconds):
                state = self.state
                while not condition(state):
                    self._check_there()
                    state = await states.get()
                return state
        except TimeoutError:
            if seconds is not None:
                return self.state
            raise RequestTimeout(
                f"What was watched for did not happen within {timeout:g} s.", seconds=timeout
            ) from None
        finally:
            end()

    def _check_there(self) -> None:
        if not self.connected:
            if self.lost is not None:
                raise HostGone(path=self.workspace, reason=self.lost)
            raise WorkbenchError("This workbench was closed while it was watched.")


def _never(_: WorkbenchState) -> bool:
    return False
