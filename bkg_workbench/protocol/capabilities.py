"""The grammar of capability names and THE table of the built-in ones.

Owns name, parameters, result, scope and the facade's verb of each `host.*` capability, and the
names of the seven plug-ins' capabilities; their column `routes` is `protocol.routes`. Everything
else about them (methods of `Workbench`, CLI verbs, docs/capabilities.md, the gateway's routes) is
derived from here, and tests prove the derivation. Capability names are data: one that is not in
this table is routed all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from bkg_workbench.protocol import results, routes
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.envelopes import PluginName
from bkg_workbench.protocol.routes import ADMIN, READ, Route

NAME = re.compile(r"^[a-z][A-Za-z0-9_]*(\.[a-z][A-Za-z0-9_]*){1,3}$")


def is_name(capability: str) -> bool:
    """Whether `capability` has the form `area.verb`, up to four words."""
    return NAME.fullmatch(capability) is not None and len(capability) <= 128


def covers(grant: str, capability: str) -> bool:
    """Whether a scope or an entry of `calls` covers a capability (or another scope).

    Exactly, as `area.*`, as the scope that the table gives the capability (`host.read`), or as `*`,
    which `admin` is another name of: whoever may add plug-ins may do everything.
    """
    if grant in ("*", ADMIN) or grant == capability:
        return True
    if grant.endswith(".*"):
        return capability.startswith(grant[:-1])
    row = TABLE.get(capability)
    return row is not None and row.scope == grant


MAX_INT = 2**53 - 1
"""What every JSON library reads exactly, and a column of a database holds."""
Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]


class Params(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Base of the payloads of `host.*`."""


class Nothing(Params):
    """No parameters."""


class Named(Params):
    """A plug-in by name."""

    name: PluginName


class Verb(Named):
    """A lifecycle wish; `wait` answers when it is fact instead of when it is taken."""

    wait: bool = False


class BeginAuth(Params):
    """The first password of the user `admin`; apikeys starts with it, once and for all."""

    password: Annotated[str, msgspec.Meta(extra_json_schema={"writeOnly": True})]
    wait: bool = True


class Define(Params):
    """A plug-in's definition, as in plugins.json; one that there is already is changed."""

    definition: Definition
    author: str | None = None


class AddPlugin(Params):
    """`folder`, an absolute path on the Host's machine, holds a start.sh; it is copied.

    A folder of `plugins/` is taken as it is. `name` is by default the folder's.
    """

    folder: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    name: str | None = None
    autostart: bool | None = None
    capabilities: list[str] | None = None
    author: str | None = None


class RemovePlugin(Named):
    """The folders of the plug-in stay unless `deleteFiles`."""

    delete_files: bool = False
    author: str | None = None


class SaveConfig(Named):
    """`settings` as the operator's config; `version` the one that they were read at.

    With `canarySeconds` they are applied now (by a restart where they cannot be live), watched, and
    taken back where they do harm.
    """

    settings: dict[str, Any]
    version: Version
    reason: str | None = None
    author: str | None = None
    canary_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None


class RestoreConfig(Named):
    """Make the settings of an earlier version the current ones."""

    version: Version
    author: str | None = None


Limit = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
After = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]
Millis = Annotated[int, msgspec.Meta(ge=-MAX_INT, le=MAX_INT)]


class QueryLogs(Params):
    """Log records, oldest first: without `after` (a seq) the newest `limit`, of those `before`."""

    plugin: PluginName | None = None
    level: Literal["debug", "info", "warn", "error"] | None = None
    source: Literal["stdout", "stderr", "log", "host"] | None = None
    text: str | None = None
    regex: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    since: Millis | None = None
    until: Millis | None = None
    after: After | None = None
    before: After | None = None
    limit: Limit = 500


class QuerySamples(Params):
    """Telemetry samples, oldest first; `after` is a seq."""

    plugin: PluginName | None = None
    since: Millis | None = None
    after: After | None = None
    limit: Limit = 500


class QueryEvents(Params):
    """Lifecycle and config events, oldest first; `after` is a seq."""

    plugin: PluginName | None = None
    after: After | None = None
    limit: Limit = 500


class QueryCalls(Params):
    """Finished requests, oldest first; `after` is a seq, `trace` the id of a W3C trace."""

    capability: str | None = None
    plugin: PluginName | None = None
    outcome: str | None = None
    trace: str | None = None
    after: After | None = None
    limit: Limit = 500


class Subscribe(Params):
    """Topics: `state`, `telemetry`, `logs` (all plug-ins) or `logs.<plugin>`."""

    topics: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)]


class Unsubscribe(Params):
    """Ends a subscription."""

    subscription: str


@dataclass(frozen=True)
class Capability:
    """One row of the table. `verb` is the method of `Workbench` (its async twin has an `a`)."""

    name: str
    summary: str
    params: type[msgspec.Struct] | None = None
    plugin: str | None = None
    scope: str = ""
    verb: str | None = None
    stream: bool = False
    idempotent: bool = False
    destructive: bool = False

    @property
    def routes(self) -> tuple[Route, ...]:
        """Where the gateway serves it besides `POST /api/capabilities/<name>`."""
        return routes.OF.get(self.name, ())

    @property
    def result(self) -> Any:
        """The type of what a `host.*` capability answers with; None where its plug-in says it."""
        return results.OF.get(self.name)


def _host(
    name: str,
    verb: str | None,
    params: type[Params],
    summary: str,
    *,
    scope: str = ADMIN,
    idempotent: bool = False,
    destructive: bool = False,
) -> Capability:
    return Capability(
        name,
        summary,
        params=params,
        scope=scope,
        verb=verb,
        idempotent=idempotent,
        destructive=destructive,
    )


HOST: tuple[Capability, ...] = (
    _host("host.info", "info", Nothing, "Version, instance and uptime", idempotent=True),
    _host("host.ports", "ports", Nothing, "The port table", idempotent=True),
    _host("host.pages", "pages", Nothing, "Serve the dashboards; their address, token included",
          idempotent=True),
    _host("host.stop", "stop_host", Nothing, "End the Host and its plug-ins", destructive=True),
    _host("host.plugins.list", "plugins", Nothing, "Every plug-in's state", scope=READ,
          idempotent=True),
    _host("host.plugin.get", "plugin", Named, "One plug-in's state", scope=READ, idempotent=True),
    _host("host.plugin.start", "start", Verb, "Start a plug-in"),
    _host("host.plugin.stop", "stop", Verb, "Stop a plug-in", destructive=True),
    _host("host.plugin.restart", "restart", Verb, "Restart a plug-in without losing a request"),
    _host("host.auth.begin", None, BeginAuth, "The first start of apikeys"),
    _host("host.plugin.define", "define", Define, "Add a plug-in's definition, or change it"),
    _host("host.plugin.rebuild", "rebuild", Verb, "Build a plug-in's own environment anew"),
    _host("host.plugins.add", "add_plugin", AddPlugin, "Make a folder a plug-in"),
    _host("host.plugins.remove", "remove_plugin", RemovePlugin, "Stop and remove a plug-in",
          destructive=True),
    _host("host.config.get", "config", Named, "Settings, schema and version", idempotent=True),
    _host("host.config.save", "save_config", SaveConfig, "Validate and save settings"),
    _host("host.config.history", "config_history", Named, "Earlier versions", idempotent=True),
    _host("host.config.restore", "restore_config", RestoreConfig, "Go back to a version"),
    _host("host.logs.query", "logs", QueryLogs, "Search log records", scope=READ, idempotent=True),
    _host("host.telemetry.query", "telemetry", QuerySamples, "CPU, memory and more over time",
          scope=READ, idempotent=True),
    _host("host.events.query", "events", QueryEvents, "Lifecycle and config events",
          idempotent=True),
    _host("host.calls.query", "calls", QueryCalls, "Finished requests", idempotent=True),
    _host("host.metrics", "metrics", Nothing, "Counters of requests, plug-ins, logs and lag",
          scope="host.metrics", idempotent=True),
    _host("host.subscribe", None, Subscribe, "Follow topics from now on"),
    _host("host.unsubscribe", None, Unsubscribe, "End a subscription"),
)  # fmt: skip


def _of(plugin: str, **summaries: str) -> tuple[Capability, ...]:
    rows = []
    for key, summary in summaries.items():
        name = key.replace("__", ".")
        rows.append(Capability(name, summary, plugin=plugin, scope=name))
    return tuple(rows)


PLUGINS: tuple[Capability, ...] = (
    *_of(
        "llmserver",
        llm__chat="Chat completion, OpenAI form",
        llm__embed="Embeddings, OpenAI form",
        llm__models="The models that can answer",
    ),
    *_of(
        "repoagent",
        repo__analyze="Summary, languages, hot spots and matches of a repository",
        repo__tree="Directories and files",
        repo__file__read="A file, or a range of it, with its etag",
        repo__file__write="Write a file",
        repo__search="Find text in files, ranked",
        repo__patch="Apply unified diffs or edits",
        repo__command="Run an allowed command",
        repo__commit="Commit changes",
        repo__status="What git sees changed",
        repo__diff="Differences",
        repo__log="Commits",
    ),
    *_of(
        "goose",
        goose__run="Start a load test",
        goose__stop="Stop the load test",
        goose__status="The present load test",
        goose__history="Earlier load tests",
        goose__adjust="Change a running load test",
        goose__compare="Compare two load tests",
        goose__capacity="Find the load that a target bears",
    ),
    *_of(
        "apikeys",
        auth__login="A session for a user",
        auth__logout="End a session",
        auth__validate="Who a token belongs to",
        auth__createKey="A new API key",
        auth__listKeys="API keys",
        auth__revokeKey="Revoke an API key",
        auth__rotateKey="A new secret for an API key, the old one valid for a while",
        auth__createChild="A short-lived token that does no more than its parent",
        auth__users__list="Users",
        auth__users__create="A new user",
        auth__users__update="Change a user's scopes, disable or enable them",
        auth__users__delete="Remove a user with their keys and sessions",
        auth__users__setPassword="Change a password and end the user's sessions",
        auth__sessions__list="Sessions that are valid",
        auth__sessions__revoke="End a session, or all of a user's",
        auth__audit__list="What was done and refused, and by whom",
        auth__audit__verify="Whether the audit trail is whole",
    ),
    *_of(
        "brainml",
        brainml__index="Add documents to a collection",
        brainml__query="Search a collection",
        brainml__train="Train a ranking pipeline",
        brainml__stats="Collections and their sizes",
        brainml__admin="Maintain collections",
    ),
    *_of(
        "candle",
        candle__model__load="Load a model",
        candle__model__run="Run a model",
        candle__model__unload="Unload a model",
        candle__stats="Loaded models",
    ),
    *_of(
        "rustyface",
        faces__encode="The embedding of a face",
        faces__search="Faces like this one",
        dataset__manage="Maintain face data sets",
    ),
)

TABLE: dict[str, Capability] = {row.name: row for row in (*HOST, *PLUGINS)}
