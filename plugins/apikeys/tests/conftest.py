"""Fixtures of apikeys' tests: a registry on a real database, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from apikeys.logins import Door
from apikeys.registry import Registry, Rules
from apikeys.seeding import open_store
from plugins.apikeys.tests.lives import COST, PASSWORD, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "apikeys.db"


@pytest.fixture
def open_registry(database: Path, clock: Clock) -> Iterator[Callable[[], Registry]]:
    """Opens the database, as one more life of the plug-in does."""
    opened: list[Registry] = []

    def open_() -> Registry:
        for one in opened:
            one.store.close()
        store, _ = open_store(database, clock, {"ADMIN_PASSWORD": PASSWORD}, COST)
        opened.append(Registry(store, Rules(cost=COST)))
        return opened[-1]

    yield open_
    for one in opened:
        one.store.close()


@pytest.fixture
def registry(open_registry: Callable[[], Registry]) -> Registry:
    return open_registry()


@pytest.fixture
async def door(registry: Registry) -> AsyncIterator[Door]:
    made = Door(registry)
    yield made
    made.close()
