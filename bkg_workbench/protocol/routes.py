"""The table's column `routes`: where the gateway serves which capability, and what it takes.

Owns methods, paths and scopes. A path's words in braces are fields of the capability's payload. How
a route is answered is the gateway's; `view` names what is not simply the capability's result.
"""

from __future__ import annotations

from dataclasses import dataclass

ADMIN = "admin"
READ = "host.read"
OPEN = None
"""The scope of a route that asks for no token."""


@dataclass(frozen=True)
class Route:
    """One way in over HTTP. `scope` is what the caller's token must cover; None asks for none."""

    method: str
    path: str
    scope: str | None
    view: str = "result"


def _both(method: str, path: str) -> tuple[Route, ...]:
    return (Route(method, f"/admin{path}", ADMIN), Route(method, f"/api{path}", ADMIN))


OF: dict[str, tuple[Route, ...]] = {
    "host.ports": (Route("GET", "/admin/ports", ADMIN),),
    "host.plugins.list": (
        Route("GET", "/admin/plugins", ADMIN),
        Route("GET", "/api/plugins", READ),
    ),
    "host.plugin.get": (
        Route("GET", "/admin/plugins/{name}", ADMIN),
        Route("GET", "/api/plugins/{name}", READ),
        Route("GET", "/api/plugins/{name}/status", READ, "status"),
        Route("GET", "/api/plugins/{name}/capabilities", READ, "capabilities"),
    ),
    "host.plugin.start": _both("POST", "/plugins/{name}/start"),
    "host.plugin.stop": _both("POST", "/plugins/{name}/stop"),
    "host.plugin.restart": _both("POST", "/plugins/{name}/restart"),
    "host.config.get": (Route("GET", "/admin/plugins/{name}/config", ADMIN),),
    "host.config.save": _both("POST", "/plugins/{name}/config"),
    "host.logs.query": (
        Route("GET", "/admin/plugins/{plugin}/logs", ADMIN, "follow"),
        Route("GET", "/api/plugins/{plugin}/logs", READ),
    ),
    "host.telemetry.query": (
        Route("GET", "/api/plugins/telemetry/summary", READ, "summary"),
        Route("GET", "/api/plugins/{plugin}/telemetry", READ),
    ),
    "host.metrics": (Route("GET", "/metrics", "host.metrics", "metrics"),),
    "auth.login": (Route("POST", "/auth/login", OPEN, "login"),),
    "auth.listKeys": (Route("GET", "/admin/keys", ADMIN),),
    "auth.createKey": (Route("POST", "/admin/keys", ADMIN),),
    "auth.revokeKey": (Route("DELETE", "/admin/keys/{id}", ADMIN),),
    "goose.run": (Route("POST", "/api/goose/run", "goose.run"),),
    "goose.stop": (Route("POST", "/api/goose/stop", "goose.stop"),),
    "goose.status": (Route("GET", "/api/goose/status", "goose.status"),),
    "goose.history": (Route("GET", "/api/goose/history", "goose.history"),),
    "llm.chat": (Route("POST", "/v1/chat/completions", "llm.chat", "chat"),),
    "llm.embed": (Route("POST", "/v1/embeddings", "llm.embed", "openai"),),
    "llm.models": (Route("GET", "/v1/models", "llm.models", "models"),),
}

CAPABILITIES = "/api/capabilities/"
"""Every capability is served below it, under its own name."""


def find(method: str, path: str) -> Route | None:
    """The route that a request takes; None for a path that is not of this table.

    The gateway has the route itself, and decides by it. This is for whoever is told of a request by
    its text: a path that only looks like one of these finds none, and is granted nothing by it.
    """
    name = path.removeprefix(CAPABILITIES)
    if name != path:
        return Route(method, path, name) if method == "POST" and "/" not in name else None
    words = path.split("/")
    for routes in OF.values():
        for route in routes:
            if route.method == method and _fits(route.path.split("/"), words):
                return route
    return None


def _fits(template: list[str], words: list[str]) -> bool:
    return len(template) == len(words) and all(
        bool(word) if wanted.startswith("{") else word == wanted
        for wanted, word in zip(template, words, strict=True)
    )
