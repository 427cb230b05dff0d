"""The log's account, from the Host's batches to the figures on the page, whatever happens."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from playwright.sync_api import Browser

from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets import logs
from bkg_workbench.widgets.logs import LogTail
from tests.browser.logpage import LogPage, log_page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


class World:
    """Plug-ins that say lines, a Host that drops and loses some, and a kernel that tells a page."""

    def __init__(self, log: LogPage, seed: int) -> None:
        self.log, self.random = log, random.Random(seed)
        self.bench = ScriptedBench()
        self.tail = LogTail(self.bench)
        self.tail.send = lambda content, buffers: self.wire.append((content, buffers[0]))
        self.wire: list[tuple[dict[str, Any], bytes]] = []
        self.said: dict[str, list[int | None]] = {"goose": [], "candle": [], "host": []}
        self.begins: dict[str, int] = {}
        self.heard: dict[str, int] = {}

    def say(self, plugin: str, *, lost: bool = False) -> None:
        """Some lines, some of which the Host could not number or does not put into the batch."""
        gone, lines = self.random.choice([0, 0, 3]), self.random.randint(1, 12)
        self.said[plugin] += [None] * gone
        first = len(self.bench.records) + 1
        batch = [
            {
                "seq": first + n,
                "at": 0,
                "plugin": plugin,
                "source": "log",
                "level": "info",
                "message": f"{plugin} {first + n}",
            }
            for n in range(lines)
        ]
        self.bench.records += batch
        self.said[plugin] += [record["seq"] for record in batch]
        if lost:
            return
        kept = batch[-self.random.randint(1, 12) :]
        data = {
            "plugin": plugin,
            "from": first,
            "to": first + lines - 1,
            "dropped": lines - len(kept) + gone,
            "total": len(self.said[plugin]),
            "records": kept,
        }
        self.heard.setdefault(plugin, len(self.said[plugin]) - lines - gone)
        self.bench.send(f"logs.{plugin}", data)

    def reset(self) -> None:
        """The Host ends the subscription; what is said meanwhile is not told."""
        for _, fn in list(self.bench.followers):
            fn("reset", {})
        self.say(self.random.choice(list(self.said)), lost=True)

    def carry(self) -> None:
        """What waits on the wire reaches its end, both ways."""
        for content, buffer in self.wire:
            rows = json.loads(buffer)
            was_known = self.log.page.evaluate("store().known")
            self.log.deliver(json.loads(json.dumps(content)), rows)
            if not was_known and self.log.page.evaluate("store().known"):
                for plugin, (seq, *_) in content["said"].items():
                    self.begins[plugin] = self.said[plugin].index(seq) + 1
        self.wire.clear()
        for kind in ("hello", "older"):
            for asked in self.log.asked(kind):
                self.tail._handle_custom_msg(asked, [])
        self.tail.settle()

    def check(self) -> None:
        """Each line since the page's first one is received once, and shown or dropped."""
        figures = self.log.figures()
        kept = self.log.page.evaluate("store().records")
        numbers = [record[0] for record in kept if record[0] is not None]
        assert len(numbers) == len(set(numbers)) == figures["shown"]
        gaps = [int(record[5].split()[0].replace(",", "")) for record in kept if record[0] is None]
        assert sum(gaps) == figures["dropped"]
        assert figures["received"] == figures["shown"] + figures["dropped"]
        expected = 0
        for plugin, said in self.said.items():
            # What the kernel heard of since the page was there, and of before what it was given.
            begin = self.begins.get(plugin, self.heard[plugin])
            early = [n for n in numbers if n in said[:begin]]
            expected += len(said) - begin + len(early)
        assert figures["received"] == expected


@pytest.mark.parametrize("seed", range(12))
def test_received_is_shown_and_dropped_whatever_happens_on_the_way(
    browser: Browser, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PENDING", 30), ("BATCH", 15), ("BACKLOG", 25)):
        monkeypatch.setattr(logs, name, value)
    with log_page(browser) as log:
        world = World(log, seed)
        for plugin in ("goose", "candle"):  # the third speaks when the page is there
            world.say(plugin)
        for _ in range(80):
            act = world.random.choice(["say", "say", "say", "step", "carry", "pause", "reset"])
            if act == "say":
                world.say(world.random.choice(list(world.said)))
            elif act == "step":
                world.tail.step()
            elif act == "pause":
                world.tail.pause()
            elif act == "carry":
                world.carry()
            else:
                world.reset()
            if figures := log.figures():
                assert figures["received"] == figures["shown"] + figures["dropped"]
        for _ in range(3):
            world.tail.step()
            world.carry()
        for plugin in world.said:
            world.say(plugin)
        while world.tail.step() or world.wire:
            world.carry()
        log.frame()
        world.check()
        world.tail.close()
