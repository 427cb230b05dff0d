"""What everybody sees: one immutable state of the workspace, advanced by events.

Owns `WorkbenchState` and `fold(state, event)`, used by the Host and, identically, by every attached
kernel (snapshot, then the events after it). Logs and telemetry are streams beside it, never in it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bkg_workbench.protocol.definition import Definition

StateName = Literal["stopped", "starting", "running", "degraded", "stopping", "backoff", "failed"]
Wanted = Literal["up", "down"]

STORY_LENGTH = 50
"""How many of a plug-in's latest lifecycle events its state keeps."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the values below; times are milliseconds since 1970."""


class Chapter(Frozen, frozen=True):
    """One lifecycle event of a plug-in's story: what happened, why, and the state after it."""

    at: int
    event: str
    state: StateName
    why: str = ""


class Beat(Frozen, frozen=True):
    """A health beat."""

    at: int
    status: Literal["up", "degraded", "down"]
    detail: str | None = None


class PluginState(Frozen, frozen=True):
    """One plug-in as everybody sees it."""

    name: str
    definition: Definition
    state: StateName = "stopped"
    wanted: Wanted = "down"
    reason: str | None = None
    since: int | None = None
    generation: int = 0
    pid: int | None = None
    restarts: int = 0
    last_exit: str | None = None
    preparing: str | None = None
    port: int | str | None = None
    capabilities: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    config_schema: dict[str, Any] | None = None
    config_version: int = 0
    config_errors: dict[str, str] = {}
    restart_needed: bool = False
    watched_until: int | None = None
    health: Beat | None = None
    story: tuple[Chapter, ...] = ()


class Port(Frozen, frozen=True):
    """A row of the port table."""

    name: str
    port: int
    url: str
    owner: str = ""


class Notice(Frozen, frozen=True):
    """A banner: something that the operator should know until it is cleared."""

    key: str
    text: str
    at: int
    level: Literal["info", "warn", "error"] = "warn"


class WorkbenchState(Frozen, frozen=True):
    """The whole workspace. `seq` is the number of the last event folded in."""

    instance: str
    version: str
    workspace: str
    started_at: int
    seq: int = 0
    plugins: dict[str, PluginState] = {}
    ports: tuple[Port, ...] = ()
    notices: tuple[Notice, ...] = ()


class StateEvent(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", tag=str.lower
):
    """Base of the events; `event` on the wire is the class's name in lower case."""


class Defined(StateEvent, frozen=True):
    """A definition is new or has changed."""

    plugin: str
    definition: Definition
    config_version: int


class Removed(StateEvent, frozen=True):
    """A definition has gone."""

    plugin: str


class Moved(StateEvent, frozen=True):
    """The lifecycle machine took an event (its name is in `chapter.event`)."""

    plugin: str
    chapter: Chapter
    wanted: Wanted
    generation: int
    pid: int | None = None
    restarts: int = 0
    last_exit: str | None = None


class Prepared(StateEvent, frozen=True):
    """The plug-in printed a `preparing:` line."""

    plugin: str
    line: str


class Registered(StateEvent, frozen=True):
    """The plug-in registered. `capabilities` are those routed, `conflicts` those that are not."""

    plugin: str
    port: int | str
    capabilities: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    config_schema: dict[str, Any] | None = None


class Disconnected(StateEvent, frozen=True):
    """The plug-in's connection has gone."""

    plugin: str


class Beaten(StateEvent, frozen=True):
    """The plug-in sent a health beat."""

    plugin: str
    beat: Beat


class Configured(StateEvent, frozen=True):
    """The plug-in's settings, or what is known of their validity, changed."""

    plugin: str
    settings: dict[str, Any]
    version: int
    errors: dict[str, str] = {}
    restart_needed: bool = False
    config_schema: dict[str, Any] | None = None


class Watched(StateEvent, frozen=True):
    """New settings are on probation until a time; None: they are not any more."""

    plugin: str
    until: int | None


class Ported(StateEvent, frozen=True):
    """The port table changed."""

    ports: tuple[Port, ...]


class Noticed(StateEvent, frozen=True):
    """A banner is up; one of the same key is replaced."""

    notice: Notice


class Cleared(StateEvent, frozen=True):
    """A banner is down."""

    key: str


AnyStateEvent = (
    Defined | Removed | Moved | Prepared | Registered | Disconnected | Beaten
    | Configured | Watched | Ported | Noticed | Cleared
)  # fmt: skip


def fold(state: WorkbenchState, event: AnyStateEvent) -> WorkbenchState:
    """The state after `event`. An event about a plug-in that is not there changes only `seq`."""
    seq = state.seq + 1
    replace = msgspec.structs.replace
    match event:
        case Ported(ports=ports):
            return replace(state, seq=seq, ports=ports)
        case Noticed(notice=notice):
            others = tuple(n for n in state.notices if n.key != notice.key)
            return replace(state, seq=seq, notices=(*others, notice))
        case Cleared(key=key):
            left = tuple(n for n in state.notices if n.key != key)
            return replace(state, seq=seq, notices=left)
        case Removed(plugin=name):
            left_plugins = {k: v for k, v in state.plugins.items() if k != name}
            return replace(state, seq=seq, plugins=left_plugins)
        case Defined(plugin=name, definition=definition, config_version=version):
            old = state.plugins.get(name)
            new = (
                replace(old, definition=definition, config_version=version)
                if old
                else PluginState(name=name, definition=definition, config_version=version)
            )
            plugins = dict(sorted({**state.plugins, name: new}.items()))
            return replace(state, seq=seq, plugins=plugins)
        case _:
            plugin = state.plugins.get(event.plugin)
            if plugin is None:
                return replace(state, seq=seq)
            plugins = {**state.plugins, event.plugin: fold_plugin(plugin, event)}
            return replace(state, seq=seq, plugins=plugins)


def fold_plugin(plugin: PluginState, event: AnyStateEvent) -> PluginState:
    """One plug-in's state after an event that concerns it."""
    replace = msgspec.structs.replace
    match event:
        case Moved(chapter=chapter):
            changed = chapter.state != plugin.state
            down = chapter.state in ("stopped", "failed", "backoff")
            after = replace(
                plugin,
                state=chapter.state,
                wanted=event.wanted,
                reason=chapter.why or None,
                since=chapter.at if changed else plugin.since,
                generation=event.generation,
                pid=event.pid,
                restarts=event.restarts,
                last_exit=event.last_exit,
                preparing=plugin.preparing if chapter.state == "starting" else None,
                story=(*plugin.story, chapter)[-STORY_LENGTH:],
            )
            return _gone(after) if down else after
        case Prepared(line=line):
            return replace(plugin, preparing=line)
        case Registered():
            return replace(
                plugin,
                port=event.port,
                capabilities=event.capabilities,
                conflicts=event.conflicts,
                meta=event.meta,
                config_schema=event.config_schema or plugin.config_schema,
                restart_needed=False,
            )
        case Disconnected():
            return _gone(plugin)
        case Beaten(beat=beat):
            return replace(plugin, health=beat)
        case Watched(until=until):
            return replace(plugin, watched_until=until)
        case Configured():
            return replace(
                plugin,
                definition=replace(plugin.definition, settings=event.settings),
                config_version=event.version,
                config_errors=event.errors,
                config_schema=event.config_schema or plugin.config_schema,
                restart_needed=event.restart_needed,
            )
        case _:
            return plugin


def _gone(plugin: PluginState) -> PluginState:
    return msgspec.structs.replace(plugin, port=None, capabilities=(), conflicts=(), health=None)
