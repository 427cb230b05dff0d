"""What the `host.*` capabilities answer with, as types: the table's column `result`.

Owns the forms alone; `host.services` gives them. The gateway's description (OpenAPI) is made from
them, and a test holds every answer against its own. Times are milliseconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bkg_workbench.protocol.state import PluginState, Port
from bkg_workbench.protocol.values import Change


class Result(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the answers that have a form of their own."""


class Info(Result):
    """The Host."""

    version: str
    instance: str
    workspace: str
    pid: int
    started_at: int
    uptime_seconds: float
    clients: int


class Ports(Result):
    """The port table."""

    ports: list[Port]


class Pages(Result):
    """Where the dashboards are."""

    url: str


class Stopping(Result):
    """The Host stops."""

    stopping: bool


class Plugins(Result):
    """Every plug-in."""

    plugins: list[PluginState]


class Removed(Result):
    """What of a removed plug-in was deleted, and what was kept: paths within the workspace."""

    name: str
    deleted: list[str]
    kept: list[str]


class Settings(Result):
    """A plug-in's settings, secrets as "***".

    `inherited` counts where they say nothing; `effective` is both, one laid over the other.
    """

    settings: dict[str, Any]
    inherited: dict[str, Any]
    effective: dict[str, Any]
    schema: dict[str, Any] | None
    version: int
    errors: dict[str, str]


class Saved(Result):
    """The new version, and whether the plug-in works with it already or after a restart."""

    version: int
    applied: Literal["live", "restart"]


class Version(Result):
    """A version of settings. `diff` has paths of plugins.json (`/settings/users`)."""

    version: int
    at: int
    author: str
    reason: str | None
    diff: list[Change]
    settings: dict[str, Any] | None


class Versions(Result):
    """Versions of a plug-in's settings, newest first."""

    versions: list[Version]


class LogRecord(msgspec.Struct, kw_only=True):
    """A log line. `timestamp` is the plug-in's own, as it gave it."""

    seq: int
    at: int
    plugin: str
    source: str
    level: Literal["debug", "info", "warn", "error"]
    message: str
    timestamp: int | float | str | None = None


class LogRecords(Result):
    """Records, oldest first; `next` is the `after` of the next query."""

    records: list[LogRecord]
    next: int
    behind: bool = False


class Records(Result):
    """Records of a kind, oldest first; `next` is the `after` of the next query."""

    records: list[dict[str, Any]]
    next: int


class CallRecord(msgspec.Struct, kw_only=True):
    """A finished request. `outcome` is ok or the error's code."""

    seq: int
    at: int
    capability: str
    plugin: str | None
    caller: str
    outcome: str
    duration_ms: float
    trace_id: str | None
    span_id: str | None
    parent_id: str | None


class CallRecords(Result):
    """Finished requests, oldest first."""

    records: list[CallRecord]
    next: int


class Metrics(Result):
    """What the Host counts; times in seconds."""

    requests: list[dict[str, Any]]
    durations: list[dict[str, Any]]
    plugins: list[dict[str, Any]]
    lag: dict[str, Any]
    clients: int
    uptime_seconds: float
    process: dict[str, float]


class Subscribed(Result):
    """A subscription, and the state as of its begin."""

    subscription: str
    seq: int
    state: dict[str, Any]


class Nothing(Result):
    """An empty object."""


OF: dict[str, Any] = {
    "host.info": Info,
    "host.ports": Ports,
    "host.pages": Pages,
    "host.stop": Stopping,
    "host.plugins.list": Plugins,
    "host.plugin.get": PluginState,
    "host.plugin.start": PluginState,
    "host.plugin.stop": PluginState,
    "host.plugin.restart": PluginState,
    "host.plugin.define": PluginState,
    "host.plugin.rebuild": PluginState,
    "host.plugins.add": PluginState,
    "host.auth.begin": PluginState,
    "host.plugins.remove": Removed,
    "host.config.get": Settings,
    "host.config.save": Saved,
    "host.config.history": Versions,
    "host.config.restore": Saved,
    "host.logs.query": LogRecords,
    "host.telemetry.query": Records,
    "host.events.query": Records,
    "host.calls.query": CallRecords,
    "host.metrics": Metrics,
    "host.subscribe": Subscribed,
    "host.unsubscribe": Nothing,
}
