"""Who may: every wrong token is told the same, and what cannot be checked is refused."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from bkg_workbench.gateway.limits import Limits
from tests.gateway.conftest import Served
from tests.gateway.plugins import TOKENS
from tests.gateway.raw import exchange, request
from tests.helpers import eventually


def mode(served: Served, how: str) -> None:
    """Make the plug-in answer `auth.validate` otherwise from now on."""
    served.host.call("auth.login", {"username": how, "password": "mode"})


@pytest.mark.shared_host
@pytest.mark.row("A10")
def test_every_wrong_token_is_told_the_same(served: Served) -> None:
    fields = {
        "empty": "Authorization: ",
        "no token": "Authorization: Bearer",
        "blank": "Authorization: Bearer    ",
        "another scheme": "Authorization: Basic YWRtaW46YWRtaW4=",
        "two words": f"Authorization: Bearer {TOKENS['admin']} x",
        "no underscore": "Authorization: Bearer x",
        "right id, wrong secret": "Authorization: Bearer bkg_0123456789ab_",
        "large": f"Authorization: Bearer {'x' * 15_000}",
        "beyond ASCII": "Authorization: Bearer bkg_ÿ_admin",
        "two fields": f"Authorization: Bearer x\r\nAuthorization: Bearer {TOKENS['admin']}",
        "quoted": f'Authorization: Bearer "{TOKENS["admin"]}"',
        "nothing": "X: y",
    }
    told = set()
    for what, field in fields.items():
        head = f"GET /api/plugins HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{field}\r\n\r\n"
        reply = exchange(served.port, head.encode("latin-1"))
        assert reply.status == 401, what
        error = reply.json["error"]
        assert error.pop("id") == reply.headers["x-request-id"]
        told.add(str(error))
    assert len(told) == 1


@pytest.mark.shared_host
@pytest.mark.row("A11")
@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("reader", "GET", "/api/plugins", 200),
        ("reader", "GET", "/api/plugins/demo/logs?limit=1", 200),
        ("reader", "GET", "/admin/plugins", 403),
        ("reader", "POST", "/api/plugins/demo/stop", 403),
        ("reader", "POST", "/api/capabilities/host.plugins.list", 200),
        ("reader", "POST", "/api/capabilities/host.config.get", 403),
        ("reader", "POST", "/api/capabilities/demo.greet", 403),
        ("reader", "GET", "/metrics", 403),
        ("greeter", "POST", "/api/capabilities/demo.greet", 200),
        ("greeter", "POST", "/api/capabilities/demo.slow", 403),
        ("greeter", "POST", "/api/capabilities/Demo.greet", 403),
        ("greeter", "GET", "/api/plugins", 403),
        ("chatter", "GET", "/v1/models", 200),
        ("chatter", "POST", "/api/capabilities/auth.validate", 403),
        ("admin", "GET", "/metrics", 200),
        ("admin", "POST", "/api/capabilities/demo.unheard", 404),
        ("admin", "POST", "/api/capabilities/host.subscribe", 404),
    ],
)
def test_the_scope_decides(served: Served, who: str, method: str, path: str, status: int) -> None:
    with served.client(who) as client:
        body = {"json": {"name": "Ada"}} if "demo.greet" in path.lower() else {}
        reply = client.request(method, path, **body)
    assert reply.status_code == status, reply.text
    if status == 403:
        assert reply.json()["error"]["detail"]["who"] == who


@pytest.mark.shared_host
def test_login_is_open_and_says_nothing_of_who_there_is(served: Served) -> None:
    with served.client(None) as client:
        reply = client.post(
            "/auth/login", json={"username": "admin", "password": "open sesame", "source": "8.8"}
        )
        assert reply.json()["token"] == TOKENS["admin"]
        for user in ("admin", "nobody-at-all"):
            reply = client.post("/auth/login", json={"username": user, "password": "x"})
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthenticated")


@pytest.mark.shared_host
@pytest.mark.row("A7")
def test_a_key_works_until_the_call_that_revokes_it_answers(served: Served) -> None:
    with served.client() as admin, served.client(None) as client:
        made = admin.post("/admin/keys", json={"user": "ada", "scopes": ["demo.greet"]}).json()
        assert made["by"] == "admin"
        headers = {"Authorization": f"Bearer {made['token']}"}
        path, body = "/api/capabilities/demo.greet", {"name": "Ada"}
        for _ in range(3):
            assert client.post(path, json=body, headers=headers).status_code == 200
        assert {key["id"] for key in admin.get("/admin/keys").json()} >= {made["id"]}
        assert admin.delete(f"/admin/keys/{made['id']}").json() == {"revoked": True}
        assert client.post(path, json=body, headers=headers).status_code == 401


@pytest.mark.slow
@pytest.mark.row("A12")
def test_without_apikeys_nothing_is_open(own: Served) -> None:
    own.gateway.app._limits = Limits(auth_seconds=0.5)

    def asked() -> httpx.Response:
        with own.client() as client:
            assert client.get("/health").status_code == 200
            return client.get("/api/plugins")

    def is_closed(reply: httpx.Response) -> bool:
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (503, "auth_unavailable")
        assert int(reply.headers["retry-after"]) > 0
        return True

    assert asked().status_code == 200
    mode(own, "nonsense")
    assert is_closed(asked())
    mode(own, "slow")
    assert is_closed(asked())
    mode(own, "busy")
    reply = asked()
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    mode(own, "")
    assert asked().status_code == 200
    pid = own.host.state.plugins["apikeys"].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert is_closed(asked())
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: asked().status_code == 200, timeout=20.0)
    mode(own, "die")
    assert is_closed(asked())
    own.host.stop("apikeys")
    assert is_closed(asked())
    with own.client(None) as client:
        reply = client.post("/auth/login", json={"username": "admin", "password": "open sesame"})
        assert reply.status_code == 503
    own.host.start("apikeys")
    eventually(lambda: asked().status_code == 200, timeout=20.0)


@pytest.mark.slow
@pytest.mark.row("A12")
def test_a_restart_of_apikeys_is_waited_for(own: Served) -> None:
    own.host.restart("apikeys", wait=False)
    with own.client() as client:
        assert client.get("/api/plugins").status_code == 200


@pytest.mark.row("G14")
def test_a_failure_inside_leaves_no_token_in_the_log_and_no_trace_with_the_client(
    own: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError(f"it had Authorization: Bearer {TOKENS['admin']} in its hands")

    own.gateway.app.answers.handlers["health"] = broken
    data = request("GET", "/health", own.port, token=TOKENS["admin"])
    reply = exchange(own.port, data)
    assert (reply.status, reply.code) == (500, "internal_error")
    assert b"RuntimeError" not in reply.body
    assert b"Traceback" not in reply.body
    identity = reply.json["error"]["id"]
    lines = eventually(lambda: [r for r in own.host.logs("host") if identity in r["message"]])
    assert "RuntimeError" in lines[0]["message"]
    assert TOKENS["admin"] not in str(own.host.logs("host", limit=1000))
    shown = capfd.readouterr()
    assert TOKENS["admin"] not in shown.out + shown.err
