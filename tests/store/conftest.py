"""Fixtures of the store's tests: a workspace on disk and its Configs, Logs and Samples."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.store.configs import MIGRATIONS, Configs, Loaded
from bkg_workbench.store.database import Database


class Bench:
    """A workspace's configs under a clock that tests move by hand; can be closed and opened."""

    def __init__(self, root: Path) -> None:
        self.plugins = root / "plugins"
        self.state = root / ".bkg"
        self.mirror = self.plugins / "plugins.json"
        self.clock = ManualClock()
        self.plugins.mkdir(parents=True)
        self.database: Database
        self.configs: Configs

    async def open(self) -> Loaded:
        self.database = Database(self.state / "bkg.db", MIGRATIONS, self.clock)
        self.configs = Configs(self.database, self.plugins, self.state, self.clock)
        return await self.configs.load()

    def close(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    async def reopen(self) -> Loaded:
        self.close()
        return await self.open()

    def write_mirror(self, *definitions: dict[str, Any], **dump: Any) -> None:
        self.mirror.write_text(json.dumps(list(definitions), **dump))

    def read_mirror(self) -> Any:
        return json.loads(self.mirror.read_bytes())

    def asides(self, what: str = "*") -> list[Path]:
        return sorted(self.plugins.glob(f"plugins.json.{what}-*"))

    async def poll(self, times: int = 1) -> Loaded | None:
        """What the Host does every 2 s; the last answer that told anything."""
        told = None
        for _ in range(times):
            await self.clock.advance(2.0)
            told = await self.configs.rescan() or told
        return told


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.close()


@pytest.fixture
def plugin_folder(bench: Bench) -> Callable[..., Path]:
    """Makes a plug-in's folder with a start.sh and, if asked, a config.json."""

    def make(name: str, config: Any = None) -> Path:
        folder = bench.plugins / name
        folder.mkdir()
        (folder / "start.sh").write_text("#!/bin/sh\nexec sleep 1\n")
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make
