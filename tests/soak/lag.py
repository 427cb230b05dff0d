"""How late an event loop is, as a figure of what happens in it."""

from __future__ import annotations

import asyncio


class Lag:
    """How late a Host's event loop is, measured in it."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    async def measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.02)
            self.samples.append(loop.time() - before - 0.02)
