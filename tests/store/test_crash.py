"""The store under SIGKILL and under a user who may not write: in processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

KILLS = """
import asyncio, json, os, random, signal, sys, time
from pathlib import Path
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.store.configs import MIGRATIONS, Configs
from bkg_workbench.store.database import Database

root = Path(sys.argv[1])
plugins = root / "plugins"
random.seed(1)

def configs():
    database = Database(root / ".bkg" / "bkg.db", MIGRATIONS)
    return database, Configs(database, plugins, root / ".bkg")

async def save_for_ever(pipe):
    database, one = configs()
    await one.load()
    stored = await one.get("goose")
    number, version = stored.settings["n"], stored.version
    while True:
        number += 1
        version = await one.save("goose", {"n": number, "fill": "x" * 5_000}, version)
        os.write(pipe, b"%d\\n" % number)

async def look(acknowledged):
    mirrored = json.loads((plugins / "plugins.json").read_bytes())[0]["settings"]["n"]
    database, one = configs()
    loaded = await one.load()
    stored = await one.get("goose")
    assert loaded.notices == [], loaded.notices
    assert stored.settings["n"] >= max(acknowledged, mirrored), (stored.settings, acknowledged)
    again = json.loads((plugins / "plugins.json").read_bytes())[0]["settings"]
    assert again == stored.settings
    left = [p.name for p in plugins.iterdir() if p.name.startswith(".plugins.")]
    assert left == [], left
    database.close()
    return stored.settings["n"]

(plugins / "plugins.json").write_text('[{"name": "goose", "settings": {"n": 0}}]')
kept = 0
for _ in range(int(sys.argv[2])):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.run(save_for_ever(write))
    os.close(write)
    said = os.read(read, 100)  # it saves by now
    time.sleep(random.random() * 0.03)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(read, 65536):
        said += more
    os.close(read)
    kept = asyncio.run(look(int(said.split()[-1])))
print(kept)
"""

READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.protocol import schema
from bkg_workbench.store.configs import MIGRATIONS, Configs
from bkg_workbench.store.database import Database
from bkg_workbench.store.logs import Logs
from bkg_workbench.protocol.capabilities import QueryLogs

root = Path(sys.argv[1])
schema.check({})  # imports what it needs while it may
if os.geteuid() == 0:
    for path in [root, *root.rglob("*")]:
        os.chown(path, 65534, 65534)
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

async def main():
    clock = ManualClock()
    (root / "plugins" / "plugins.json").chmod(0o444)
    (root / "plugins").chmod(0o555)
    database = Database(root / ".bkg" / "bkg.db", MIGRATIONS, clock)
    configs = Configs(database, root / "plugins", root / ".bkg", clock)
    print(await configs.load() and "loaded")
    print(await configs.save("goose", {"n": 2}, 1))
    for _ in range(3):
        await clock.advance(2)
        told = await configs.rescan()
        print(told and told.notices)
    (root / "plugins").chmod(0o755)
    (root / "plugins" / "plugins.json").chmod(0o644)
    for _ in range(2):
        await clock.advance(2)
        await configs.rescan()
    print('"n": 2' in (root / "plugins" / "plugins.json").read_text())
    database.close()

    (root / "logs").write_text("a file where the folder should be")
    logs = Logs(root / "logs", clock)
    logs.open()
    logs.append("goose", "stdout", "info", "still heard")
    print([r["message"] for r in (await logs.query(QueryLogs()))["records"]], logs.trouble)
    logs.close()

asyncio.run(main())
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A workspace that another user can be given: not below a folder of pytest's own."""
    root = Path(tempfile.mkdtemp())
    (root / "plugins").mkdir()
    (root / "plugins" / "plugins.json").write_text('[{"name": "goose", "settings": {"n": 1}}]')
    yield root
    shutil.rmtree(root)


def run(script: str, root: Path, *arguments: str, timeout: float = 55) -> list[str]:
    command = [sys.executable, "-c", script, str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.row("D2", "D14")
def test_forty_kills_while_saving_lose_nothing_and_tear_nothing(root: Path) -> None:
    (kept,) = run(KILLS, root, "40")
    assert int(kept) >= 40


@pytest.mark.row("D7", "L11")
def test_a_user_who_may_not_write_the_mirror_or_the_logs_works_on(root: Path) -> None:
    said = run(READ_ONLY, root)
    assert said[:2] == ["loaded", "2"]
    told = [line for line in said[2:5] if line != "None"]
    assert len(told) == 1
    assert "plugins.json is left alone" in told[0]
    assert said[5] == "True"
    assert said[6].startswith("['still heard'] Log lines cannot be stored: Not a directory")
