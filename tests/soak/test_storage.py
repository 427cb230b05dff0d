"""Kills and damage without end to what is stored."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.errors import StoreError
from bkg_workbench.store.configs import MIGRATIONS, Configs
from bkg_workbench.store.database import Database
from tests.reliability import Record
from tests.soak.budget import Budget
from tests.store.test_crash import KILLS, root, run

__all__ = ["root"]  # a fixture
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

DEFINITION = '[{"name": "goose", "settings": {"n": %d}}]'


@pytest.mark.row("D2", "D14")
def test_a_hundred_kills_while_saving_tear_no_file(
    root: Path, budget: Budget, record: Record
) -> None:
    kills = budget.times(100)
    # It looks after each: database, mirror and what lies beside them; a torn one ends it.
    (kept,) = run(KILLS, root, str(kills), timeout=600)
    record.figure("kills during saves", kills)
    record.figure("torn files", 0)
    record.figure("saves that were kept", int(kept))
    with closing(sqlite3.connect(root / ".bkg" / "bkg.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.row("D9")
async def test_a_database_damaged_anywhere_starts_with_all_that_can_be_had(
    tmp_path: Path, budget: Budget, record: Record
) -> None:
    plugins, state = tmp_path / "plugins", tmp_path / ".bkg"
    plugins.mkdir()
    mirror, file = plugins / "plugins.json", state / "bkg.db"
    mirror.write_text(DEFINITION % 1)
    database, configs = _open(plugins, state)
    await configs.load()
    version = 1
    for n in range(2, 60):
        version = await configs.save("goose", {"n": n, "fill": "x" * 2_000}, version)
    database.close()
    sound, told = file.read_bytes(), mirror.read_bytes()
    dice, rebuilt, recovered, refused, unseen = random.Random(1), 0, 0, 0, 0
    for _ in range(budget.times(200, least=50)):
        for old in state.iterdir():
            old.unlink()
        mirror.write_bytes(told)
        file.write_bytes(_damaged(dice, sound))
        database, configs = _open(plugins, state)
        with closing(database):
            try:
                loaded = await configs.load()
            except StoreError as error:
                # The number of its layout was hit: it seems to be a later version's.
                refused += "newer" in str(error)
                continue
            stored = await configs.get("goose")
            # One other letter within a text is a text as well.
            unseen += stored.settings["n"] != 59
            assert await configs.save("goose", {"n": 60}, stored.version) == stored.version + 1
            aside = list(state.glob("bkg.db.corrupt-*"))
            assert bool(aside) == any("damaged" in notice for notice in loaded.notices)
            rebuilt, recovered = rebuilt + bool(aside), recovered + (not aside)
    damages = budget.times(200, least=50)
    assert rebuilt + recovered + refused == damages
    assert rebuilt > damages / 4
    assert unseen <= damages / 50
    record.figure("rebuilt from plugins.json", rebuilt)
    record.figure("sound in spite of it", recovered)
    record.figure("another letter that nobody can see", unseen)
    record.figure("refused as of a later version", refused)


def _open(plugins: Path, state: Path) -> tuple[Database, Configs]:
    clock = ManualClock()
    database = Database(state / "bkg.db", MIGRATIONS, clock)
    return database, Configs(database, plugins, state, clock)


def _damaged(dice: random.Random, sound: bytes) -> bytes:
    content = bytearray(sound)
    place = dice.randrange(len(content))
    match dice.randrange(4):
        case 0:
            content[place] ^= 1 << dice.randrange(8)
        case 1:
            content[place : place + 512] = os.urandom(len(content[place : place + 512]))
        case 2:
            content[place : place + 4096] = bytes(len(content[place : place + 4096]))
        case _:
            del content[place:]
    return bytes(content)
