"""Other users of the machine, and limits that bind everybody but root."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import eventually, processes_of
from tests.plugins import CAPABILITIES, DEMO, write_plugin
from tests.reliability import Record
from tests.users import NOBODY, ON_PATHS, SOMEBODY, need, place_of, start_as

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OWNER = """
import sys
from bkg_workbench import Host
host = Host(sys.argv[1])
host.start("demo")
print("up", flush=True)
for line in sys.stdin:
    print(host.plugin("demo").state, flush=True)
host.close()
print("closed", flush=True)
"""

STRANGER = """
import json, os, sys
from pathlib import Path
from bkg_workbench import Host, attach, workbench
said = []
for way in (attach, Host, workbench):
    try:
        way(sys.argv[1])
        said.append("let in")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
readable = []
for file in Path(sys.argv[1], ".bkg").glob("**/*"):
    try:
        file.read_bytes()
        readable.append(str(file))
    except OSError:
        pass
for pid in os.listdir("/proc"):
    try:
        if b"BKG_PLUGIN_BUS_TOKEN" in Path("/proc", pid, "environ").read_bytes():
            readable.append(f"environment of {pid}")
    except OSError:
        pass
commands = []
for pid in os.listdir("/proc"):
    try:
        commands.append(Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace"))
    except OSError:
        pass
print(json.dumps({"said": said, "readable": readable, "commands": commands}))
"""

BOMB = """
import os, subprocess, sys
subprocess.Popen(["/bin/bash", "-c", "trap '' TERM; while :; do (trap '' TERM; sleep 1000) & done"],
                 stderr=subprocess.DEVNULL)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A workspace of another user."""
    with place_of(SOMEBODY) as made:
        (made / "plugins").mkdir()
        (made / "plugins" / "plugins.json").write_text("[]\n")
        yield made
        eventually(lambda: not processes_of(made), timeout=10)


def give(place: Path, user: int) -> None:
    """Let `user` own all of it."""
    for path in (place, *place.rglob("*")):
        os.chown(path, user, user)


@pytest.mark.row("K17", "B28", "B29")
def test_a_second_user_is_told_whose_it_is_and_sees_no_token(place: Path) -> None:
    write_plugin(place, code=ON_PATHS + DEMO, capabilities=CAPABILITIES)
    need(SOMEBODY)
    give(place, SOMEBODY)
    with start_as(SOMEBODY, OWNER, str(place)) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "up\n"
            token = json.loads((place / ".bkg" / "host.json").read_bytes())["token"]
            with start_as(NOBODY, STRANGER, str(place)) as stranger:
                out, _ = stranger.communicate(timeout=60)
            heard = json.loads(out)
            attached, became, either = heard["said"]
            assert attached.startswith("HostNotFound: ")
            assert "another user" in attached
            for said in (became, either):
                assert said.startswith(("WorkspaceError: ", "WorkspaceOwned: "))
                assert "another user" in said
            assert heard["readable"] == []
            assert not [c for c in heard["commands"] if token in c]
            assert token not in "".join(heard["said"])
        finally:
            owner.communicate(timeout=30)
        assert owner.returncode == 0


@pytest.mark.row("S30")
def test_a_fork_bomb_stays_within_its_limit_and_is_ended(place: Path, record: Record) -> None:
    need(SOMEBODY)
    write_plugin(
        place,
        code=ON_PATHS + BOMB + DEMO,
        capabilities=["demo.greet"],
        limits={"processes": 150},
        drainSeconds=0,
    )
    give(place, SOMEBODY)
    with start_as(SOMEBODY, OWNER, str(place)) as owner:
        assert owner.stdout is not None
        assert owner.stdin is not None
        assert owner.stdout.readline() == "up\n"
        most = eventually(lambda: (n := len(processes_of(place))) > 50 and n, timeout=20)
        end = time.monotonic() + 2  # the bomb goes on forking for as long as it may
        while time.monotonic() < end:
            most = max(most, len(processes_of(place)))
        owner.stdin.write("how is it?\n")
        owner.stdin.flush()
        assert owner.stdout.readline() == "running\n"
        begun = time.monotonic()
        out, _ = owner.communicate(timeout=60)
        assert out == "closed\n"
        record.figure("processes at most", most)
        record.figure("seconds to end them", time.monotonic() - begun, "s")
        assert most <= 150
        assert processes_of(place) == {}
