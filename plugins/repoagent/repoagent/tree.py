"""`repo.tree`: what lies below a path, page by page.

Owns paging and the entries' facts. Hidden paths are left out, links are listed and never followed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from repoagent import jail, paths
from repoagent.ignore import Policy
from repoagent.jail import Root
from repoagent.shapes import Entry, TreeQuery, TreeResult
from repoagent.walk import Budget, Item, Walk

SECONDS = 10.0


def tree(
    root: Root,
    query: TreeQuery,
    policy: Policy,
    *,
    page: int = 500,
    cancelled: Callable[[], bool] = lambda: False,
) -> TreeResult:
    """The next `limit` (default `page`) entries below `query.path`.

    Raises the refusals of `faults`. `truncated` says that there is more: another page, or what a
    bound cut off (`truncatedBy`: limit, depth, files, time, cancelled).
    """
    path = paths.clean(query.path, percent=query.path_encoding == "percent")
    after = None if query.after is None else paths.clean(query.after, percent=True)
    limit = query.limit or page
    budget = Budget(time.monotonic() + SECONDS, cancelled=cancelled)
    # One name more than fits on a page tells whether there is another.
    walk = Walk(root, policy, budget, path, query.depth, room=limit + 2, after=after)
    entries: list[Entry] = []
    last: str | None = None
    is_more = False
    with contextlib.closing(iter(walk)) as items:
        for item in items:
            if len(entries) == limit:
                is_more = True
                break
            entries.append(_entry(item))
            last = item.path
    budget.spent.pop("files", None)
    if is_more:
        budget.spent["limit"] = None
    stopped = is_more or "time" in budget.spent or "cancelled" in budget.spent
    return TreeResult(
        root=root.name,
        path=paths.show(path)[0],
        entries=entries,
        next=paths.to_percent(last) if stopped and last is not None else None,
        truncated=bool(budget.spent),
        truncated_by=list(budget.spent),
    )


def _entry(item: Item) -> Entry:
    shown, percent = paths.show(item.path)
    entry = Entry(
        path=shown,
        kind="directory" if item.is_directory else "other",
        path_encoding="percent" if percent else None,
    )
    try:
        status = os.stat(item.entry.name, dir_fd=item.dir_fd, follow_symlinks=False)
    except OSError:
        return entry  # gone since it was listed
    entry.kind = jail.kind_of(status.st_mode)
    entry.mtime = status.st_mtime_ns // 1_000_000
    if entry.kind == "file":
        entry.size = status.st_size
    return entry
