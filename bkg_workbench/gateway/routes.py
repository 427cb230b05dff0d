"""Every route of the gateway: those of the capability table, and the few of its own.

Owns which path is served by which handler and what scope stands on it. A path is matched as it
came: none that had to be decoded or tidied first is served at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.routing import compile_path

from bkg_workbench.gateway.errors import Malformed, MethodNotAllowed, NotFound
from bkg_workbench.protocol.capabilities import TABLE, Capability
from bkg_workbench.protocol.routes import OPEN

OWN_NAME = "{capability}"
"""The scope of the route to every capability: the name of the one that is asked for."""
MAY_BE_OPEN = frozenset({"/health", "/auth/login", "/docs", "/docs/{file}", "/openapi.json"})

_SAFE = re.compile(rb"(?:/|(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~:@-]+)+)\Z")


@dataclass(frozen=True)
class Served:
    """A route. `view` names its handler; `row` is the capability that it serves, if one."""

    method: str
    path: str
    scope: str | None
    view: str
    summary: str
    row: Capability | None = None


OWN: tuple[Served, ...] = (
    Served("GET", "/health", OPEN, "health", "Whether the Host is up; for admins how it is"),
    Served("POST", "/api/capabilities/{capability}", OWN_NAME, "capability", "Any capability"),
    Served("GET", "/openapi.json", OPEN, "openapi", "The routes, for programs"),
    Served("GET", "/docs", OPEN, "docs", "The routes, to be read and tried"),
    Served("GET", "/docs/{file}", OPEN, "docs", "A file of that page"),
)


def derived() -> Iterator[Served]:
    """The routes that the table gives."""
    for row in TABLE.values():
        for route in row.routes:
            yield Served(route.method, route.path, route.scope, route.view, row.summary, row)


class Routes:
    """The routes of one gateway."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.all: list[Served] = []
        self._exact: dict[str, dict[str, Served]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Served]]] = []
        for one in served:
            self.add(one)

    def add(self, one: Served) -> None:
        """One more route. Raises `ValueError` where it has no scope, or its place is taken."""
        if one.scope is OPEN and one.path not in MAY_BE_OPEN:
            raise ValueError(f"{one.method} {one.path} has no scope")
        if any((o.method, o.path) == (one.method, one.path) for o in self.all):
            raise ValueError(f"{one.method} {one.path} is served already")
        self.all.append(one)
        if "{" not in one.path:
            self._exact.setdefault(one.path, {})[one.method] = one
            return
        pattern = compile_path(one.path)[0]
        for known, methods in self._patterns:
            if known.pattern == pattern.pattern:
                methods[one.method] = one
                return
        self._patterns.append((pattern, {one.method: one}))

    def find(self, method: str, path: str) -> tuple[Served, dict[str, str]]:
        """The route and its path's fields. Raises `NotFound`, `MethodNotAllowed`."""
        methods, fields = self._exact.get(path), {}
        if methods is None:
            for pattern, found in self._patterns:
                if match := pattern.match(path):
                    methods, fields = found, match.groupdict()
                    break
        if methods is None:
            raise NotFound(path=path[:200])
        if method not in methods:
            raise MethodNotAllowed(method=method, allow=", ".join(sorted(methods)))
        return methods[method], fields


def check_path(scope: Any) -> None:
    """Raise `Malformed` for a path that could be read in two ways."""
    if not _SAFE.match(scope.get("raw_path") or scope["path"].encode()):
        raise Malformed(
            "The path must be plain: no percent signs, backslashes, semicolons, empty or dotted "
            "parts.",
            reason="path",
        )
