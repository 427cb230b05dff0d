"""How late an event loop is, as a figure of what happens in it."""

from __future__ import annotations

import asyncio
import gc


class Lag:
    """How late a Host's event loop is, measured in it.

    As a context manager it keeps the collector away from what pytest holds: a Host in a process of
    its own has no such heap, and walking through it takes half a second.
    """

    def __init__(self) -> None:
        self.samples: list[float] = []

    def __enter__(self) -> Lag:
        gc.collect()
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()

    async def measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.02)
            self.samples.append(loop.time() - before - 0.02)
