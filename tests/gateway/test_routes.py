"""Routes: each with a scope, derived from the table, and only by their own plain path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bkg_workbench.gateway.routes import MAY_BE_OPEN, OWN, OWN_NAME, Routes, Served, derived
from bkg_workbench.protocol.capabilities import TABLE, is_name
from tests.gateway.conftest import Served as Gateway
from tests.gateway.plugins import TOKENS
from tests.gateway.raw import exchange, request

ALL = [*OWN, *derived()]
ADMIN_ROUTES = [one for one in ALL if one.scope == "admin"]
pytestmark = pytest.mark.shared_host

# DESIGN §8, to the letter: method, path and scope.
CONTRACT = """
GET /health open
POST /auth/login open
GET /admin/plugins admin
GET /admin/plugins/{name} admin
POST /admin/plugins/{name}/start admin
POST /admin/plugins/{name}/stop admin
POST /admin/plugins/{name}/restart admin
POST /admin/plugins/{name}/config admin
GET /admin/plugins/{plugin}/logs admin
GET /admin/ports admin
GET /admin/keys admin
POST /admin/keys admin
DELETE /admin/keys/{id} admin
GET /api/plugins host.read
GET /api/plugins/{name} host.read
GET /api/plugins/{name}/status host.read
GET /api/plugins/{name}/capabilities host.read
GET /api/plugins/{plugin}/logs host.read
GET /api/plugins/{plugin}/telemetry host.read
GET /api/plugins/telemetry/summary host.read
POST /api/plugins/{name}/start admin
POST /api/plugins/{name}/stop admin
POST /api/plugins/{name}/restart admin
POST /api/plugins/{name}/config admin
POST /api/goose/run goose.run
POST /api/goose/stop goose.stop
GET /api/goose/status goose.status
GET /api/goose/history goose.history
POST /v1/chat/completions llm.chat
POST /v1/embeddings llm.embed
GET /v1/models llm.models
POST /api/capabilities/{capability} {capability}
GET /docs open
GET /metrics host.metrics
"""


def test_the_contracts_routes_are_there_with_their_scopes() -> None:
    served = {(one.method, one.path): one.scope or "open" for one in ALL}
    for line in CONTRACT.strip().splitlines():
        method, path, scope = line.split()
        assert served.get((method, path)) == scope, line


@pytest.mark.row("G4")
def test_each_route_has_a_scope_that_is_one_or_is_open_on_purpose() -> None:
    for one in ALL:
        if one.scope is None:
            assert one.path in MAY_BE_OPEN
        else:
            assert one.scope in ("admin", OWN_NAME) or is_name(one.scope)
        if one.row is not None:
            assert one.row is TABLE[one.row.name]


@pytest.mark.row("G4")
def test_a_route_without_a_scope_ends_the_start() -> None:
    with pytest.raises(ValueError, match="has no scope"):
        Routes([*ALL, Served("GET", "/admin/secrets", None, "result", "")])
    with pytest.raises(ValueError, match="is served already"):
        Routes([*ALL, Served("GET", "/health", None, "other", "")])


@pytest.mark.row("G4")
def test_no_route_is_served_without_a_token(served: Gateway) -> None:
    with served.client(None) as client:
        for one in served.gateway.app.routes.all:
            path = re.sub("{capability}", "host.info", one.path)
            path = re.sub("{file}", "docs.js", path)
            reply = client.request(one.method, re.sub("{[a-z]+}", "demo", path))
            if one.scope is None:
                # Who logs in with nothing is not known; the others say something.
                assert reply.status_code == (401 if one.view == "login" else 200)
            else:
                assert (reply.status_code, reply.json()["error"]["code"]) in (
                    (401, "unauthenticated"), (401, "invalid_api_key"),
                ), path  # fmt: skip
                assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.row("G4")
def test_a_token_that_covers_nothing_may_ask_for_nothing(served: Gateway) -> None:
    with served.client("nobody") as client:
        for one in served.gateway.app.routes.all:
            if one.scope is not None:
                path = re.sub("{capability}", "host.info", one.path)
                reply = client.request(one.method, re.sub("{[a-z]+}", "demo", path))
                assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")


def twisted(path: str) -> list[str]:
    """Ways to say a path otherwise."""
    first, rest = path[1:].split("/", 1) if path.count("/") > 1 else (path[1:], "")
    tail = f"/{rest}" if rest else ""
    return [
        f"/%{ord(first[0]):02x}{first[1:]}{tail}",
        f"/{first}%2f{rest}",
        f"/{first}%2F{rest}",
        f"/{first}%5c{rest}",
        f"/{first}%252f{rest}",
        f"/{first}%00{tail}",
        f"//{first}{tail}",
        f"/{first}//{rest}",
        f"/./{first}{tail}",
        f"/v1/../{first}{tail}",
        f"/v1/%2e%2e/{first}{tail}",
        f"/..;/{first}{tail}",
        f"/{first};a=b{tail}",
        f"/{first}\\{rest}",
        f"/{first}/.{tail}",
        f"/{first}{tail}/..",
        f"http://evil.example/{first}{tail}",
        f"/{first.upper()}{tail}",
        f"/{first}{tail}/",
        f"/{first}{tail}%20",
        f"/{first}{tail}%3fx=",
        f"/{first}{tail}#x",
    ]


@pytest.mark.row("G2")
@pytest.mark.parametrize("who", [None, "greeter", "admin"])
def test_a_twisted_path_is_never_served(served: Gateway, who: str | None) -> None:
    token = None if who is None else TOKENS[who]
    for one in ADMIN_ROUTES:
        path = re.sub("{[a-z]+}", "demo", one.path)
        for target in twisted(path):
            with_body = b"{}" if one.method == "POST" else None
            data = request(one.method, target, served.port, token=token, body=with_body)
            status = _status(served.port, data)
            assert status in (400, 404, 405), (target, status)


def _status(port: int, data: bytes) -> int:
    from tests.gateway.raw import Raw

    with Raw(port) as raw:
        raw.send(data)
        return raw.reply().status


@pytest.mark.row("G15")
def test_a_path_parameter_is_no_path(served: Gateway, tmp_path: Path) -> None:
    for target, statuses in {
        "/admin/plugins/..%2f..%2fetc/config": (400,),
        "/admin/plugins/%2e%2e/config": (400,),
        "/admin/plugins/../../etc/passwd/config": (400,),
        f"/admin/plugins/{'a' * 300}/config": (404,),
        "/admin/plugins/__proto__/config": (404,),
        "/admin/plugins/Demo/config": (404,),
        "/admin/plugins/demo~/config": (404,),
        "/admin/plugins/.hidden/config": (404,),
        "/api/plugins/..hidden/logs": (404,),
        f"/api/capabilities/{'a.' * 200}b": (404,),
        "/api/capabilities/host": (404,),
        "/api/capabilities/__class__.x": (404,),
        "/api/capabilities/demo.greet.": (404,),
    }.items():
        method = "POST" if "capabilities" in target else "GET"
        reply = exchange(served.port, request(method, target, served.port, token=TOKENS["admin"]))
        assert reply.status in statuses, target
        assert len(reply.body) < 2000


@pytest.mark.row("G13")
def test_a_token_in_the_query_or_a_cookie_is_none(served: Gateway) -> None:
    token = TOKENS["admin"]
    for name in ("token", "access_token", "api_key", "key", "authorization"):
        target = f"/api/plugins?{name}={token}"
        assert exchange(served.port, request("GET", target, served.port)).status == 401
    for field in ("Cookie", "X_Api_Key", "Proxy_Authorization", "X_Forwarded_Authorization"):
        asked = request("GET", "/api/plugins", served.port, **{field: f"Bearer {token}"})
        assert exchange(served.port, asked).status == 401
