"""What happened to a plug-in, and what it was asked: its story, its conflicts, its calls.

Owns the panel of these. Chapters come with the state, older ones and finished requests are asked
for on another thread.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bkg_workbench.protocol.state import Chapter, Notice, PluginState
from bkg_workbench.widgets import tables
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.live import Data, plain, script, style
from bkg_workbench.widgets.panel import Moment, Panel
from bkg_workbench.widgets.view import TONES, cut

CALLS = 200
"""Finished requests that are shown."""
EARLIER = 500
"""Chapters that "Earlier" asks for."""
CALLS_EVERY_MS = 5_000
"""How often the calls are asked for while somebody looks."""


def chapters(story: Sequence[Chapter], earlier: Sequence[Mapping[str, Any]] = ()) -> list[Data]:
    """The story, newest first; `until` is when the next chapter began, absent for the present one.

    `earlier` are records of `bench.events`, oldest first; those that the story has are left out.
    """
    begun = story[0].at if story else float("inf")
    known = {(c.at, c.event, c.state) for c in story}
    told = [
        {key: record[key] for key in ("at", "event", "state", "why")}
        for record in earlier
        if record["at"] <= begun and (record["at"], record["event"], record["state"]) not in known
    ]
    told += [{"at": c.at, "event": c.event, "state": c.state, "why": c.why} for c in story]
    for one, following in itertools.pairwise(told):
        one["until"] = following["at"]
    for one in told:
        one["tone"] = TONES.get(one["state"], "idle")
        one["why"] = cut(one["why"])
    return told[::-1]


def remarks(plugin: PluginState, notices: Sequence[Notice]) -> list[Data]:
    """What is amiss with `plugin`: conflicts, settings that are not valid, notices about it."""
    about = [n for n in notices if is_about(n, plugin.name)]
    said = " ".join(n.text for n in about)
    found: list[Data] = [
        {
            "tone": "warn",
            "text": f"{name} is registered, but not listed in the definition's `capabilities`: "
            "it is not routed.",
        }
        for name in plugin.conflicts
        if name not in said
    ]
    found += [
        {"tone": "bad", "text": cut(f"Settings not valid: {where or '/'} {what}")}
        for where, what in plugin.config_errors.items()
    ]
    tones = {"info": "busy", "warn": "warn", "error": "bad"}
    found += [{"tone": tones[n.level], "text": cut(n.text), "at": n.at} for n in about]
    return found


def is_about(notice: Notice, plugin: str) -> bool:
    """Whether a notice names the plug-in, in its key or as a word of its text."""
    word = rf"(?<![\w-]){re.escape(plugin)}(?![\w-])"
    return re.search(word, notice.key) is not None or re.search(word, notice.text) is not None


class StoryPanel(Panel):
    """The story of `plugin` and its latest requests.

    Intents: `earlier`; `calls`, which asks again; `export {table: "story" or "calls"}`.
    """

    _esm = script("story.js")
    _css = style("story.css")

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self._earlier: list[dict[str, Any]] | None = None
        self._calls: list[dict[str, Any]] | None = None
        self._asked_at: int | None = None
        self._asking = False
        super().__init__()

    def fold(self, moment: Moment) -> Data:
        """Chapters, remarks and calls, as the page shows them."""
        plugin = moment.state.plugins.get(self.plugin)
        if plugin is None:
            return {}
        told = chapters(plugin.story, self._earlier or ())
        data: Data = {
            "chapters": told,
            "remarks": remarks(plugin, moment.state.notices),
            "earlier": self._earlier is None and not moment.stale,
            "stale": moment.stale,
        }
        if self._calls is not None:
            data["calls"] = plain(self._calls[::-1])
        return data

    def step(self, moment: Moment) -> None:
        """Redraw; ask for the calls where they may have changed."""
        due = self._asked_at is None or moment.now_ms - self._asked_at >= CALLS_EVERY_MS
        if due and not self._asking and not moment.stale:
            self._asked_at = moment.now_ms
            self.ask_calls()
        super().step(moment)

    def ask_calls(self) -> None:
        """Look for finished requests again, on another thread."""
        if not self._asking and self.board is not None:
            self._asking = True
            self.work(self._read_calls, f"Calls of {self.plugin}")

    def on_intent(self, intent: Data) -> None:
        """Hand over to another thread at once."""
        if intent["verb"] == "earlier":
            self.work(self._read_earlier, f"Story of {self.plugin}")
        elif intent["verb"] == "calls":
            self.ask_calls()
        elif self.board is not None and tables.wanted(intent, "calls"):
            found = list(self._calls or ())
            tables.export(self, intent, lambda: found, kind="calls")
        elif self.board is not None and tables.wanted(intent, "story"):
            bench = self.board.bench
            tables.export(
                self, intent, lambda: bench.events(self.plugin, limit=EARLIER), kind="events"
            )

    def _read_calls(self, bench: Bench) -> None:
        try:
            self._calls = [
                {key: value for key, value in record.items() if key != "plugin"}
                for record in bench.calls(plugin=self.plugin, limit=CALLS)
            ]
        finally:
            self._asking = False

    def _read_earlier(self, bench: Bench) -> None:
        self._earlier = list(bench.events(self.plugin, limit=EARLIER))
