"""The gateway with the shipped apikeys: from the first password to a key that is revoked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import Served, serve
from tests.plugins import write_plugin

SHIPPED = Path(__file__).resolve().parent.parent.parent / "plugins"
PASSWORD = "a password of the tests"


@pytest.fixture
def real(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A Host with the shipped apikeys."""
    monkeypatch.setenv("BKG_API_PORT", "0")
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    shutil.copytree(SHIPPED / "apikeys", workspace / "plugins" / "apikeys")
    definitions = json.loads((SHIPPED / "plugins.json").read_text())
    mirror = workspace / "plugins" / "plugins.json"
    mirror.write_text(json.dumps([one for one in definitions if one["name"] == "apikeys"]))
    write_plugin(workspace, autostart=True)
    yield from serve(workspace)


@pytest.mark.slow
def test_from_the_first_password_to_a_key_that_is_revoked(real: Served) -> None:
    with real.client(None) as client:
        wrong = client.post("/auth/login", json={"username": "admin", "password": "x" * 20})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthenticated")
        login = {"username": "admin", "password": PASSWORD}
        session = client.post("/auth/login", json=login).json()
        admin = {"Authorization": f"Bearer {session['token']}"}
        assert client.get("/health", headers=admin).json()["plugins"] == {"running": 2}

        made = client.post("/admin/keys", json={"scopes": ["demo.greet"]}, headers=admin).json()
        key = {"Authorization": f"Bearer {made['token']}"}
        path, body = "/api/capabilities/demo.greet", {"name": "Ada"}
        assert client.post(path, json=body, headers=key).json() == {"text": "Hello Ada"}
        reply = client.get("/api/plugins", headers=key)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        assert "host.read" in reply.json()["error"]["message"]

        listed = client.get("/admin/keys", headers=admin).json()
        assert made["id"] in str(listed)
        assert made["token"] not in str(listed)
        assert client.delete(f"/admin/keys/{made['id']}", headers=admin).status_code == 200
        assert client.post(path, json=body, headers=key).status_code == 401
        for token in ("bkg_" + "0" * 12 + "_" + "x" * 43, made["token"][:-1], "bkg_"):
            asked = {"Authorization": f"Bearer {token}"}
            assert client.get("/api/plugins", headers=asked).status_code == 401


@pytest.mark.slow
@pytest.mark.row("A15")
def test_nobody_makes_a_key_beyond_their_own_scopes(real: Served) -> None:
    with real.client(None) as client:
        login = {"username": "admin", "password": PASSWORD}
        session = client.post("/auth/login", json=login).json()
        admin = {"Authorization": f"Bearer {session['token']}"}
        made = client.post(
            "/admin/keys", json={"scopes": ["auth.createKey", "demo.greet"]}, headers=admin
        ).json()
        key = {"Authorization": f"Bearer {made['token']}"}
        path = "/api/capabilities/auth.createKey"
        for scopes in (["admin"], ["demo.slow"], ["demo.*"], ["*"]):
            reply = client.post(path, json={"scopes": scopes}, headers=key)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        assert client.post(path, json={"scopes": ["demo.greet"]}, headers=key).status_code == 200
