"""The wiring: capability to function, settings to roots and rules, counters to telemetry.

Owns nothing but that; what the capabilities do lies in `tree`, `search` and `read`.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bkg_workbench.sdk import Context, Plugin
from repoagent.ignore import Policy
from repoagent.jail import Jail
from repoagent.read import read
from repoagent.search import search
from repoagent.settings import RepoagentSettings
from repoagent.shapes import (
    ReadQuery,
    ReadResult,
    SearchQuery,
    SearchResult,
    TreeQuery,
    TreeResult,
)
from repoagent.tree import tree

FEATURES = [
    {
        "title": "Search that ranks",
        "text": "Text or a regular expression, with globs and context lines. The definition of a "
        "symbol comes first, then files named like it, then whole words. Notebooks are searched "
        "by cell, outputs left aside.",
    },
    {
        "title": "Trees and files",
        "text": "Directories page by page; files whole or by lines or bytes, with their encoding "
        "and an etag.",
    },
    {
        "title": "Inside its roots only",
        "text": "Nothing outside the workspace roots can be opened, not even by a link that is "
        "swapped in the middle of a request. Ignored files, secrets and .git stay hidden.",
    },
]

plugin = Plugin(
    "repoagent",
    settings=RepoagentSettings,
    version="1.0.0",
    features=FEATURES,
    engine="python",
    threads=4,
)


class _Agent:
    """The roots and rules in force. A request keeps those that it began with."""

    def __init__(self) -> None:
        self.jail = Jail([], "", Path.cwd())
        self.policy = Policy()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def apply(self, settings: RepoagentSettings) -> None:
        base = Path(os.environ.get("BKG_WORKSPACE") or ".").resolve()
        policy = Policy(settings.ignore_globs)
        # The roots before are not closed here: requests may still read beneath them, and their
        # descriptors close with the last of these.
        self.jail = Jail(settings.workspace_roots, settings.default_root, base)
        self.policy = policy
        plugin.telemetry_seconds = float(settings.telemetry.sample_interval_seconds)
        for problem in self.jail.problems():
            plugin.log.warning("Look at the settings: %s.", problem)

    def count(self, **numbers: int) -> None:
        with self._lock:
            self._counts.update(numbers)

    def counted(self, name: str) -> Callable[[], int]:
        return lambda: self._counts[name]


_agent = _Agent()


@plugin.capability("repo.tree", idempotent=True, thread=True)
def repo_tree(payload: TreeQuery, context: Context) -> TreeResult:
    """Directories and files below a path, page by page; what is ignored is left out."""
    root = _agent.jail.root(payload.root)
    result = tree(
        root,
        payload,
        _agent.policy,
        page=context.settings.max_files,
        cancelled=lambda: context.is_cancelled,
    )
    _agent.count(entries_listed=len(result.entries))
    return result


@plugin.capability("repo.search", idempotent=True, thread=True)
def repo_search(payload: SearchQuery, context: Context) -> SearchResult:
    """Lines that hold a text or match a regular expression, the best first."""
    root = _agent.jail.root(payload.root)
    result = search(root, payload, _agent.policy, cancelled=lambda: context.is_cancelled)
    _agent.count(searches=1, files_searched=result.scanned)
    context.log.info(
        "Searched %d files in %.0f ms: %d lines match%s.",
        result.scanned,
        result.elapsed_ms,
        result.matches,
        f"; cut short by {', '.join(result.truncated_by)}" if result.truncated else "",
    )
    return result


@plugin.capability("repo.file.read", idempotent=True, thread=True)
def repo_file_read(payload: ReadQuery) -> ReadResult:
    """A file or a range of its lines or bytes, with encoding and etag."""
    root = _agent.jail.root(payload.root)
    result = read(root, payload, _agent.policy)
    _agent.count(files_read=1)
    return result


for _name in ("searches", "files_searched", "files_read", "entries_listed"):
    plugin.telemetry(_name, _agent.counted(_name))


@plugin.health
def health() -> str | tuple[str, str]:
    """Degraded while a root cannot be used."""
    problems = _agent.jail.problems()
    return ("degraded", "; ".join(problems)) if problems else "up"


@plugin.on_start
def open_roots() -> None:
    """Open the roots of the settings."""
    _agent.apply(plugin.settings)


@plugin.on_config
def reopen_roots(new: RepoagentSettings, old: RepoagentSettings) -> None:
    """Take new settings without a restart."""
    _agent.apply(new)


@plugin.on_stop
def close_roots() -> None:
    """Let the roots go."""
    _agent.jail.close()
