"""What a scope is, what it covers, and how two sets of scopes are cut to what both allow.

A scope is a capability's name (`repo.file.read`), an area (`repo.*`), or everything: `admin`, of
which `*` is another spelling. Letter case counts, and an area ends at a dot only. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bkg_workbench.sdk import covers as named
from bkg_workbench.sdk import is_name

EVERYTHING = ("admin", "*")
_AREA = re.compile(r"[a-z][A-Za-z0-9_]*(\.[a-z][A-Za-z0-9_]*){0,2}\.\*")


def is_scope(text: str) -> bool:
    """Whether `text` has the form of a scope."""
    return len(text) <= 128 and (
        text in EVERYTHING or is_name(text) or _AREA.fullmatch(text) is not None
    )


def covers(grant: str, scope: str) -> bool:
    """Whether whoever has `grant` has `scope`, which may be an area itself."""
    return grant in EVERYTHING or (scope not in EVERYTHING and named(grant, scope))


def allows(grants: Iterable[str], scope: str) -> bool:
    """Whether one of the grants covers the scope."""
    return any(covers(grant, scope) for grant in grants)


def cut(scopes: Iterable[str], by: Sequence[str]) -> list[str]:
    """What both allow: each scope, or the narrower part of it that `by` covers."""
    found: dict[str, None] = {}
    for scope in scopes:
        if allows(by, scope):
            found[scope] = None
        else:
            found.update((grant, None) for grant in by if covers(scope, grant))
    return list(found)


def is_within(scopes: Iterable[str], grants: Sequence[str]) -> bool:
    """Whether the grants cover each of the scopes."""
    return all(allows(grants, scope) for scope in scopes)
