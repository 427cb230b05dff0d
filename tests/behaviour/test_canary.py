"""Settings on probation: kept when they hold, taken back by themselves when they do harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.errors import PluginFailure
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

CODE = """
from typing import Any
from bkg_workbench.sdk import Plugin, Settings

class MoodSettings(Settings):
    mood: str = "good"

plugin = Plugin("demo", settings=MoodSettings)

@plugin.on_config
def apply(new: Any, old: Any) -> bool:
    return new.mood != "needs restart" and new.mood != "crash"

@plugin.on_start
async def begin() -> None:
    if plugin.settings.mood == "crash":
        raise SystemExit(3)

@plugin.capability("demo.work")
async def work(payload: dict) -> dict:
    if plugin.settings.mood == "bad":
        raise ValueError("bad mood")
    return {}

plugin.run()
"""


@pytest.fixture
def host(workspace: Path) -> Iterator[Host]:
    write_plugin(workspace, code=CODE, capabilities=["demo.work"])
    with Host(workspace) as made:
        made.start("demo")
        yield made


def mood(host: Host) -> str:
    return str(host.config("demo")["effective"]["mood"])


def save(host: Host, new: str, seconds: float) -> int:
    version = host.config("demo")["version"]
    saved = host.save_config("demo", {"mood": new}, version, canary_seconds=seconds)
    return int(saved["version"])


def test_settings_that_hold_are_kept(host: Host) -> None:
    save(host, "fine", 0.3)
    assert host.plugin("demo").watched_until is not None
    eventually(lambda: host.plugin("demo").watched_until is None)
    assert mood(host) == "fine"
    assert any(e["event"] == "confirmed" for e in eventually(lambda: host.events("demo")))


def test_a_jump_of_the_error_rate_takes_them_back(host: Host) -> None:
    for _ in range(20):
        host.call("demo.work")
    save(host, "bad", 60)
    for _ in range(10):
        with pytest.raises(PluginFailure):
            host.call("demo.work")
    (notice,) = eventually(lambda: host.state.notices)
    assert mood(host) == "good"
    host.call("demo.work")
    assert "10 of 10 requests failed" in notice.text
    newest = max(host.config_history("demo"), key=lambda one: one["version"])
    assert newest["author"] == "canary"


def test_a_plugin_that_does_not_come_up_with_them_gets_the_old_ones_back(host: Host) -> None:
    save(host, "crash", 60)
    eventually(lambda: mood(host) == "good", timeout=20)
    eventually(lambda: host.plugin("demo").state == "running", timeout=20)
    host.call("demo.work")


def test_saving_again_ends_the_watch_of_what_was_saved_before(host: Host) -> None:
    save(host, "fine", 60)
    save(host, "finer", 0.2)
    eventually(lambda: host.plugin("demo").watched_until is None)
    assert mood(host) == "finer"


def test_a_watch_outlives_its_host(workspace: Path) -> None:
    write_plugin(workspace, code=CODE, capabilities=["demo.work"], autostart=True)
    with Host(workspace) as first:
        first.start("demo")
        save(first, "bad", 60)
    with Host(workspace) as second:
        second.start("demo")
        assert second.plugin("demo").watched_until is not None
        for _ in range(10):
            with pytest.raises(PluginFailure):
                second.call("demo.work")
        eventually(lambda: mood(second) == "good")
