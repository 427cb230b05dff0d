"""The control centre as plain data: `fold` turns the workspace's state into what a page says.

Owns which words, colours and buttons a state gives. Knows neither widgets nor HTML, keeps nothing,
and reads no clock: the present is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bkg_workbench.protocol.state import Chapter, PluginState, StateName, WorkbenchState
from bkg_workbench.widgets import words
from bkg_workbench.widgets.panel import Samples
from bkg_workbench.widgets.wishes import Verb

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


@dataclass(frozen=True)
class Badge:
    """A coloured word; `hint` is its tooltip."""

    text: str
    tone: Tone
    hint: str = ""


@dataclass(frozen=True)
class Gauge:
    """A number as text and its latest values, oldest first, for a sparkline."""

    text: str
    points: tuple[float, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Action:
    """A lifecycle button."""

    verb: Verb
    enabled: bool
    hint: str


@dataclass(frozen=True)
class Row:
    """One plug-in of the inventory. `note` is the line below its name, if there is a need for one.

    `asked` is the wish that was sent and not yet answered.
    """

    name: str
    description: str
    badge: Badge
    note: Badge | None
    uptime: str
    restarts: str
    last_exit: str | None
    cpu: Gauge
    memory: Gauge
    beat: Badge
    capabilities: tuple[Badge, ...]
    actions: tuple[Action, ...]
    asked: Verb | None = None


@dataclass(frozen=True)
class Banner:
    """A sentence across the page."""

    text: str
    tone: Tone


@dataclass(frozen=True)
class Header:
    """The page's first line: the workspace's name, its full path, facts, and how it stands."""

    workspace: str
    path: str
    facts: tuple[tuple[str, str], ...]
    status: Badge


@dataclass(frozen=True)
class PortRow:
    """One row of the port table."""

    name: str
    port: str
    url: str
    owner: str


@dataclass(frozen=True)
class View:
    """Everything that the control centre says at one moment."""

    header: Header
    banners: tuple[Banner, ...]
    rows: tuple[Row, ...]
    ports: tuple[PortRow, ...]
    stale: bool = False


def fold(
    state: WorkbenchState,
    *,
    now_ms: int,
    samples: Samples | None = None,
    asked: Mapping[str, Verb] | None = None,
    problems: Iterable[Banner] = (),
    host: Mapping[str, Any] | None = None,
    lost: str | None = None,
    closed: bool = False,
) -> View:
    """The view of `state` at `now_ms` (milliseconds since 1970).

    Parameters: `samples`: per plug-in, telemetry samples oldest first; `asked`: wishes under way;
    `problems`: banners of the page's own; `host`: the Host's `info`; `lost`: why it is out of
    reach, if it is; `closed`: the workbench was closed by its owner.
    """
    samples, asked = samples or {}, asked or {}
    stale = closed or lost is not None
    rows = tuple(
        _row(plugin, now_ms, samples.get(name, ()), asked.get(name), stale)
        for name, plugin in state.plugins.items()
    )
    return View(
        header=_header(state, now_ms, host or {}, stale, lost),
        banners=(*_banners(state, lost, closed), *problems),
        rows=rows,
        ports=tuple(
            PortRow(p.name, str(p.port), p.url, p.owner)
            for p in sorted(state.ports, key=lambda p: (p.name, p.port))
        ),
        stale=stale,
    )


def _header(
    state: WorkbenchState, now_ms: int, host: Mapping[str, Any], stale: bool, lost: str | None
) -> Header:
    facts = [("Host", f"pid {host['pid']}")] if host.get("pid") else []
    if not stale:
        facts.append(("up", words.duration((now_ms - state.started_at) / 1000)))
    facts += [("instance", state.instance[:8]), ("version", state.version)]
    name = state.workspace.rstrip("/").rpartition("/")[2] or state.workspace
    return Header(name, state.workspace, tuple(facts), _status(state, stale, lost))


def _status(state: WorkbenchState, stale: bool, lost: str | None) -> Badge:
    if stale:
        return Badge("closed", "idle") if lost is None else Badge("Host gone", "bad", lost)
    states = [p.state for p in state.plugins.values()]
    up = sum(s in UP for s in states)
    text = f"{up} of {words.count(len(states), 'plug-in')} up" if states else "no plug-ins yet"
    if failed := states.count("failed"):
        return Badge(f"{text}, {failed} failed", "bad")
    if any(s in ("degraded", "backoff") for s in states):
        return Badge(text, "warn", "A plug-in is degraded or waits before it starts again")
    if any(s in ("starting", "stopping") for s in states):
        return Badge(text, "busy", "A plug-in is on its way")
    return Badge(text, "ok" if up else "idle")


def _banners(state: WorkbenchState, lost: str | None, closed: bool) -> list[Banner]:
    banners = []
    if closed:
        text = "This workbench is closed; what is shown is the last that was known."
        banners.append(Banner(text, "idle"))
    elif lost is not None:
        banners.append(
            Banner(
                f"The Host has gone: {lost.rstrip('.')}. What is shown is the last that was known; "
                "start a Host with `bkg host`, then open this page again.",
                "bad",
            )
        )
    tones: dict[str, Tone] = {"info": "busy", "warn": "warn", "error": "bad"}
    banners += [Banner(n.text, tones[n.level]) for n in state.notices]
    return banners


def _row(
    plugin: PluginState,
    now_ms: int,
    samples: Sequence[Mapping[str, Any]],
    asked: Verb | None,
    stale: bool,
) -> Row:
    up = plugin.state in UP
    since = up_since(plugin.story) or plugin.since if up else None
    cpu, memory = _gauges(samples if up or plugin.state in ("starting", "stopping") else ())
    return Row(
        name=plugin.name,
        description=plugin.definition.description,
        badge=Badge(plugin.state, TONES[plugin.state], plugin.reason or ""),
        note=_note(plugin),
        uptime=words.DASH if since is None or stale else words.duration((now_ms - since) / 1000),
        restarts=str(plugin.restarts),
        last_exit=plugin.last_exit,
        cpu=cpu,
        memory=memory,
        beat=_beat(plugin, now_ms) if not stale else Badge(words.DASH, "idle"),
        capabilities=_capabilities(plugin),
        actions=_actions(plugin, asked, stale),
        asked=asked,
    )


def up_since(story: Sequence[Chapter]) -> int | None:
    """When the present run of `running` and `degraded` began, as far as the story tells."""
    since = None
    for chapter in reversed(story):
        if chapter.state not in UP:
            break
        since = chapter.at
    return since


def _note(plugin: PluginState) -> Badge | None:
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


def _beat(plugin: PluginState, now_ms: int) -> Badge:
    if plugin.health is None:
        return Badge(words.DASH, "idle", "no health beat yet" if plugin.state in UP else "")
    seconds = (now_ms - plugin.health.at) / 1000
    tones: dict[str, Tone] = {"up": "ok", "degraded": "warn", "down": "bad"}
    tone = tones[plugin.health.status]
    if seconds > LATE_BEAT_SECONDS and tone == "ok":
        tone = "warn"
    hint = f"last health beat: {plugin.health.status}"
    if plugin.health.detail:
        hint += f", {plugin.health.detail}"
    return Badge(words.age(seconds), tone, hint)


def _gauges(samples: Sequence[Mapping[str, Any]]) -> tuple[Gauge, Gauge]:
    latest = samples[-POINTS:]
    cpu = [float(s["cpu"]) for s in latest if _is_number(s.get("cpu"))]
    memory = [float(s["mem_bytes"]) for s in latest if _is_number(s.get("mem_bytes"))]
    return (
        Gauge(words.percent(cpu[-1]) if cpu else words.DASH, tuple(cpu), "percent of one core"),
        Gauge(words.size(memory[-1]) if memory else words.DASH, tuple(memory), "resident memory"),
    )


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


def _actions(plugin: PluginState, asked: Verb | None, stale: bool) -> tuple[Action, ...]:
    free = asked is None and not stale
    able: tuple[tuple[Verb, frozenset[str], str], ...] = (
        ("start", STARTABLE, f"Start {plugin.name}"),
        ("stop", STOPPABLE, f"Stop {plugin.name}"),
        ("restart", RESTARTABLE, f"Restart {plugin.name}; no request is lost"),
    )
    return tuple(Action(verb, free and plugin.state in states, hint) for verb, states, hint in able)
