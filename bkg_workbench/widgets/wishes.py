"""Lifecycle wishes: what was asked of a plug-in, and the sentence when it became fact, or did not.

Pure functions of the plug-in's state. Posting a wish and showing the sentence is the board's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bkg_workbench.protocol.state import Chapter, PluginState

Verb = Literal["start", "stop", "restart"]
VERBS: tuple[Verb, ...] = ("start", "stop", "restart")

_PAST: dict[Verb, str] = {"start": "started", "stop": "stopped", "restart": "restarted"}


@dataclass(frozen=True)
class Wish:
    """A wish, and how the plug-in stood when it was made."""

    verb: Verb
    plugin: str
    generation: int
    chapter: Chapter | None


@dataclass(frozen=True)
class Outcome:
    """What became of a wish: a sentence and its tone. Without a sentence nobody need be told."""

    text: str = ""
    tone: Literal["ok", "warn", "bad"] = "ok"


def wish(verb: Verb, plugin: PluginState) -> Wish:
    """The wish `verb` for `plugin` as it stands now."""
    last = plugin.story[-1] if plugin.story else None
    return Wish(verb, plugin.name, plugin.generation, last)


def outcome(wish: Wish, plugin: PluginState | None) -> Outcome | None:
    """What became of `wish`, now that `plugin` stands so; None while it is on its way."""
    if plugin is None:
        return Outcome()
    name, why = plugin.name, (plugin.reason or "the reason is in its log").rstrip(".")
    happened = bool(plugin.story) and plugin.story[-1] != wish.chapter
    if plugin.state == "failed" and happened:
        return Outcome(f"{name} could not be {_PAST[wish.verb]}: {why}.", "bad")
    if wish.verb == "stop":
        return _stopped(plugin, happened)
    if plugin.state == "backoff" and happened:
        return Outcome(f"{name} could not be {_PAST[wish.verb]}: {why}. It tries again.", "warn")
    if plugin.state == "stopped" and happened:
        return Outcome()  # somebody else stopped it meanwhile
    if wish.verb == "restart" and plugin.generation <= wish.generation:
        return None
    if plugin.state == "running":
        return Outcome(f"{name} is running{' again' if wish.verb == 'restart' else ''}.")
    if plugin.state == "degraded":
        detail = (plugin.health and plugin.health.detail) or why
        return Outcome(f"{name} is up, but degraded: {detail}.", "warn")
    return None


def _stopped(plugin: PluginState, happened: bool) -> Outcome | None:
    if plugin.state == "stopped":
        return Outcome(f"{plugin.name} has stopped.")
    return Outcome() if happened and plugin.wanted == "up" else None  # somebody else started it
