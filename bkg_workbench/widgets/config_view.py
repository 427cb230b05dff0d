"""What the page of a plug-in's settings shows, as pure functions.

Owns the words and the data of the config section: changes, versions, banners; and bringing together
two people's edits. Holds no form and asks nobody: `config_panel` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bkg_workbench.protocol.schema import MASK, Change, Schema, diff, is_same, masked_diff, pointer
from bkg_workbench.protocol.state import PluginState, WorkbenchState
from bkg_workbench.widgets.live import Data

MAX_SHOWN = 400
"""Characters of a value that a list of changes shows."""
MAX_CHANGES = 200
UP = ("running", "degraded", "starting")

_ABSENT: Any = object()


@dataclass(frozen=True)
class Loaded:
    """Settings as the Host gave them, secrets masked. `inherited` is what counts below them."""

    settings: dict[str, Any]
    version: int
    schema: Schema | None = None
    inherited: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a save or a restore; `tone` is ok, warn or bad."""

    text: str
    tone: str = "ok"
    restart: bool = False


def combined(base: Any, mine: Any, theirs: Any, at: str = "") -> tuple[Any, list[str]]:
    """`mine` and `theirs`, both made from `base`, brought together; pointers of what clashes.

    Objects are brought together key by key, anything else whole. Where both changed the same thing,
    in two ways, mine counts.
    """
    if _same(mine, theirs) or _same(base, theirs):
        return mine, []
    if _same(base, mine):
        return theirs, []
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return mine, [at]
    known = base if isinstance(base, dict) else {}
    together: dict[str, Any] = {}
    clashes: list[str] = []
    for key in dict.fromkeys((*theirs, *mine)):
        one, two, three = (side.get(key, _ABSENT) for side in (known, mine, theirs))
        value, found = combined(one, two, three, at + pointer(key))
        clashes += found
        if value is not _ABSENT:
            together[key] = value
    return together, clashes


def _same(one: Any, other: Any) -> bool:
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return is_same(one, other)


def changes_between(schema: Schema | None, before: Any, after: Any) -> list[Data]:
    """What leads from `before` to `after`, for people: no secret is shown."""
    found = masked_diff(schema, before, after) if schema else diff(before, after)
    return shown_changes(found)


def shown_changes(changes: Iterable[Change | Mapping[str, Any]]) -> list[Data]:
    """Changes for the page: `path`, `op`, and `before` and `after` as short JSON."""
    found: list[Data] = []
    for change in changes:
        op, path, before, after = _parts(change)
        entry: Data = {"op": op, "path": path or "/"}
        if op != "add":
            entry["before"] = _brief(before)
        if op != "remove":
            entry["after"] = _brief(after)
        if op == "replace" and before == MASK and after == MASK:
            entry["secret"] = True
        found.append(entry)
    return found[:MAX_CHANGES]


def _parts(change: Change | Mapping[str, Any]) -> tuple[str, str, Any, Any]:
    if isinstance(change, Change):
        return change.op, change.path, change.before, change.after
    return change["op"], change["path"], change.get("before"), change.get("after")


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def notice_without_schema(plugin: PluginState) -> str:
    """Why there is no form, and what to do."""
    if plugin.state in UP and plugin.port is not None:
        return (
            f"{plugin.name} registered without a configSchema, so its settings cannot be checked: "
            "edit them as JSON."
        )
    return (
        f"{plugin.name} has not registered yet, so nobody knows its settings' schema: edit them as "
        "JSON, or start it once to get a form."
    )


def banners_of(state: WorkbenchState, plugin: PluginState) -> Data:
    """What the workspace's state says about a plug-in's settings."""
    taken_back = [n for n in state.notices if n.key == f"canary:{plugin.name}"]
    banners: Data = {"isUp": plugin.wanted == "up", "state": plugin.state}
    if plugin.restart_needed and plugin.state in UP:
        banners["restartNeeded"] = True
    if plugin.watched_until is not None:
        banners["watchedUntil"] = plugin.watched_until
    if taken_back:
        banners["takenBack"] = {"text": taken_back[-1].text, "at": taken_back[-1].at}
    return banners


def saved_sentence(version: int, applied: str, plugin: PluginState | None, canary: bool) -> Outcome:
    """What became of settings that were saved as `version`."""
    is_up = plugin is not None and plugin.state in UP
    what = f"Saved as version {version}"
    if applied == "live":
        return Outcome(f"{what} and applied.")
    if not is_up:
        return Outcome(f"{what}. They count from the next start on.")
    if canary:
        return Outcome(f"{what}. It restarts with them now.")
    return Outcome(f"{what}. They count once the plug-in is restarted.", "warn", restart=True)


def versions_of(versions: Sequence[Mapping[str, Any]], current: int) -> list[Data]:
    """The rows of the version history, newest first."""
    return [
        {
            "version": one["version"],
            "at": one["at"],
            "author": one["author"] or "unknown",
            "count": len(one["diff"]),
            "isCurrent": one["version"] == current,
            "canRestore": one["version"] != current and one.get("settings") is not None,
            **({"reason": one["reason"]} if one.get("reason") else {}),
        }
        for one in versions
    ]


def version_of(versions: Sequence[Mapping[str, Any]], number: int, loaded: Loaded) -> Data | None:
    """One version in full: what it changed, and what a restore of it would change."""
    for one in versions:
        if one["version"] != number:
            continue
        own = shown_changes(one["diff"])
        for change in own:
            change["path"] = change["path"].removeprefix("/settings") or "/"
        return {
            "version": number,
            "diff": own,
            "restore": changes_between(loaded.schema, loaded.settings, one.get("settings") or {}),
        }
    return None
