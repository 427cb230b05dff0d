"""The inventory as plain data: `fold` turns a moment of the workspace into what the page says.

Owns which words, colours and buttons a state gives. Knows neither widgets nor HTML, keeps nothing,
and reads no clock. Times are milliseconds since 1970; the page turns them into ages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bkg_workbench.protocol.state import Chapter, PluginState, StateName, WorkbenchState
from bkg_workbench.widgets import words
from bkg_workbench.widgets.panel import Moment
from bkg_workbench.widgets.wishes import VERBS, Verb

Tone = Literal["ok", "warn", "bad", "busy", "idle"]

TONES: Mapping[StateName, Tone] = {
    "running": "ok",
    "degraded": "warn",
    "starting": "busy",
    "stopping": "busy",
    "backoff": "warn",
    "failed": "bad",
    "stopped": "idle",
}
STARTABLE = frozenset({"stopped", "failed", "backoff"})
STOPPABLE = frozenset({"starting", "running", "degraded", "backoff"})
RESTARTABLE = frozenset({"running", "degraded"})
UP = frozenset({"running", "degraded"})

LATE_BEAT_SECONDS = 25.0
"""Two beats and a half: an older health beat is shown as late."""
POINTS = 60
"""How many samples a sparkline shows."""
MEBIBYTE = 2**20
MAX_TEXT = 1000
"""Characters of a foreign sentence that a page shows; the rest is in the log."""

_ABLE: Mapping[Verb, frozenset[str]] = {
    "start": STARTABLE,
    "stop": STOPPABLE,
    "restart": RESTARTABLE,
}


@dataclass(frozen=True)
class Badge:
    """A coloured word; `hint` is its tooltip."""

    text: str
    tone: Tone
    hint: str | None = None


@dataclass(frozen=True)
class Beat:
    """The last health beat: when it came, and how it reads."""

    at: int
    tone: Tone
    hint: str


@dataclass(frozen=True)
class Row:
    """One plug-in of the inventory. `note` is the line below it, if there is a need for one.

    `cpu` and `memory` are the latest numbers as text; `samples` the latest numbers by the time they
    were taken: percent of one core and MiB. `can` are the wishes that make sense now, `asks` those
    of them that hurt, so that the page asks first. `asked` is the wish that the Host has not
    answered yet.
    """

    name: str
    description: str
    badge: Badge
    note: Badge | None = None
    up_since: int | None = None
    restarts: int = 0
    last_exit: str | None = None
    cpu: str | None = None
    memory: str | None = None
    samples: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    beat: Beat | None = None
    capabilities: tuple[Badge, ...] = ()
    can: tuple[Verb, ...] = ()
    asks: tuple[Verb, ...] = ()
    asked: Verb | None = None


@dataclass(frozen=True)
class Banner:
    """A sentence across the page."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class Fact:
    """A small fact of the header: a value, or how long something has lasted."""

    label: str
    value: str | None = None
    since: int | None = None


@dataclass(frozen=True)
class Header:
    """The page's first line: the workspace's name, its full path, facts, and how it stands."""

    workspace: str
    path: str
    facts: tuple[Fact, ...]
    status: Badge


@dataclass(frozen=True)
class PortRow:
    """One row of the port table. `shown` is the address without what may be secret in it."""

    name: str
    port: int
    shown: str
    owner: str
    url: str | None = None


@dataclass(frozen=True)
class View:
    """Everything that the inventory says at one moment; `rows` are in the order of their names."""

    header: Header
    banners: tuple[Banner, ...]
    rows: Mapping[str, Row]
    stale: bool = False


def fold(moment: Moment) -> View:
    """What the inventory says at a moment."""
    state = moment.state
    return View(
        header=_header(moment),
        banners=tuple(_banners(moment)),
        rows={name: _row(plugin, moment) for name, plugin in state.plugins.items()},
        stale=moment.stale,
    )


def ports(state: WorkbenchState) -> tuple[PortRow, ...]:
    """The port table, by name."""
    return tuple(
        PortRow(
            name=p.name,
            port=p.port,
            shown=p.url.partition("?")[0],  # a token is followed, not shown
            owner=p.owner,
            url=p.url if p.url.startswith(("http://", "https://")) else None,
        )
        for p in sorted(state.ports, key=lambda p: (p.name, p.port))
    )


def _header(moment: Moment) -> Header:
    state = moment.state
    facts = [Fact("Host", f"pid {moment.host['pid']}")] if moment.host.get("pid") else []
    if not moment.stale:
        facts.append(Fact("up", since=state.started_at))
    facts += [Fact("instance", state.instance[:8]), Fact("version", state.version)]
    name = state.workspace.rstrip("/").rpartition("/")[2] or state.workspace
    return Header(name, state.workspace, tuple(facts), _status(moment))


def _status(moment: Moment) -> Badge:
    if moment.lost is not None:
        return Badge("Host gone", "bad", moment.lost)
    if moment.closed:
        return Badge("closed", "idle")
    states = [p.state for p in moment.state.plugins.values()]
    up = sum(s in UP for s in states)
    text = f"{up} of {words.count(len(states), 'plug-in')} up" if states else "no plug-ins yet"
    if failed := states.count("failed"):
        return Badge(f"{text}, {failed} failed", "bad")
    if any(s in ("degraded", "backoff") for s in states):
        return Badge(text, "warn", "A plug-in is degraded or waits before it starts again")
    if any(s in ("starting", "stopping") for s in states):
        return Badge(text, "busy", "A plug-in is on its way")
    return Badge(text, "ok" if up else "idle")


def _banners(moment: Moment) -> list[Banner]:
    banners = []
    if moment.lost is not None:
        banners.append(
            Banner(
                f"The Host has gone: {moment.lost.rstrip('.')}. What is shown is the last that was "
                "known; start a Host with `bkg host`, then open this page again.",
                "bad",
            )
        )
    elif moment.closed:
        text = "This workbench is closed; what is shown is the last that was known."
        banners.append(Banner(text, "idle"))
    tones: dict[str, Tone] = {"info": "busy", "warn": "warn", "error": "bad"}
    banners += [Banner(cut(n.text), tones[n.level]) for n in moment.state.notices]
    return banners


def _row(plugin: PluginState, moment: Moment) -> Row:
    asked = moment.asked.get(plugin.name)
    samples = moment.samples.get(plugin.name, ())
    known = samples if plugin.state in UP or plugin.state in ("starting", "stopping") else ()
    points = _points(known)
    cpu, memory = points[max(points, key=int)] if points else (None, None)
    free = asked is None and not moment.stale
    can = tuple(v for v in VERBS if free and plugin.state in _ABLE[v])
    return Row(
        name=plugin.name,
        description=cut(plugin.definition.description),
        badge=Badge(plugin.state, TONES[plugin.state], plugin.reason and cut(plugin.reason)),
        note=_note(plugin, asked),
        up_since=None if moment.stale or plugin.state not in UP else _up_since(plugin),
        restarts=plugin.restarts,
        last_exit=plugin.last_exit,
        cpu=None if cpu is None else words.percent(cpu),
        memory=None if memory is None else words.size(memory * MEBIBYTE),
        samples=points,
        beat=None if moment.stale else _beat(plugin, moment.now_ms),
        capabilities=_capabilities(plugin),
        can=can,
        asks=tuple(v for v in can if v != "start" and plugin.state in UP),
        asked=asked,
    )


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """`text` within `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def up_since(story: Sequence[Chapter]) -> int | None:
    """When the present run of `running` and `degraded` began, as far as the story tells."""
    since = None
    for chapter in reversed(story):
        if chapter.state not in UP:
            break
        since = chapter.at
    return since


def _up_since(plugin: PluginState) -> int | None:
    return up_since(plugin.story) or plugin.since


def _note(plugin: PluginState, asked: Verb | None) -> Badge | None:
    note = _own_note(plugin)
    if asked is not None:
        return Badge(f"asked to {asked} …", "busy")
    return note and Badge(cut(note.text), note.tone)


def _own_note(plugin: PluginState) -> Badge | None:
    if plugin.state == "starting" and plugin.preparing:
        line = plugin.preparing.removeprefix("preparing:").strip()
        return Badge(f"preparing: {line}", "busy")
    if plugin.state in ("failed", "backoff") and plugin.reason:
        return Badge(plugin.reason, TONES[plugin.state])
    if plugin.state == "degraded":
        detail = plugin.health.detail if plugin.health else None
        return Badge(detail or plugin.reason or "it says that it is degraded", "warn")
    if plugin.config_errors:
        where, what = next(iter(plugin.config_errors.items()))
        return Badge(f"settings not valid: {where or '/'}: {what}", "bad")
    if plugin.conflicts:
        return Badge(f"not routed: {', '.join(plugin.conflicts)}", "warn")
    if plugin.restart_needed:
        return Badge("saved settings apply after a restart", "busy")
    return None


def _beat(plugin: PluginState, now_ms: int) -> Beat | None:
    health = plugin.health
    if health is None:
        return None
    tones: dict[str, Tone] = {"up": "ok", "degraded": "warn", "down": "bad"}
    tone = tones[health.status]
    if now_ms - health.at > LATE_BEAT_SECONDS * 1000 and tone == "ok":
        tone = "warn"
    hint = f"last health beat: {health.status}"
    return Beat(health.at, tone, cut(f"{hint}, {health.detail}" if health.detail else hint))


def _points(samples: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """The latest samples, keyed by their times, so that a patch holds only the new and the old."""
    latest = [s for s in samples if _is_number(s.get("cpu")) and _is_number(s.get("mem_bytes"))]
    return {
        str(int(s.get("at") or 0)): (
            round(float(s["cpu"]), 1),
            round(s["mem_bytes"] / MEBIBYTE, 1),
        )
        for s in latest[-POINTS:]
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _capabilities(plugin: PluginState) -> tuple[Badge, ...]:
    served = set(plugin.capabilities)
    declared = [*plugin.definition.capabilities]
    names = declared + [c for c in plugin.capabilities if c not in declared]
    badges = [
        Badge(name, "ok", "served") if name in served else Badge(name, "idle", "not served now")
        for name in names
    ]
    badges += [
        Badge(name, "warn", "registered, but not declared in plugins.json: not routed")
        for name in plugin.conflicts
        if name not in names
    ]
    return tuple(badges)
