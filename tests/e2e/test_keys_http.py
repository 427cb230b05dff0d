"""The gateway with the real apikeys behind it, and nginx with TLS in front, as deploy/ has them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bkg_workbench import Host
from tests.helpers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
NAME = "bench.example.org"


@pytest.fixture
def host(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A Host with its gateway, apikeys up."""
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "plugins" / "apikeys", workspace / "plugins" / "apikeys", ignore=ignored)
    shipped = json.loads((ROOT / "plugins" / "plugins.json").read_text())
    mine = [row for row in shipped if row["name"] == "apikeys"]
    (workspace / "plugins" / "plugins.json").write_text(json.dumps(mine))
    monkeypatch.setenv("BKG_API_PORT", "0")
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("BKG_ALLOWED_HOSTS", NAME)
    with Host(workspace) as found:
        eventually(lambda: found.state.plugins["apikeys"].state == "running", 60)
        eventually(lambda: any(port.name == "gateway" for port in found.state.ports), 30)
        yield found


def gateway(host: Host) -> int:
    return int(next(port.port for port in host.state.ports if port.name == "gateway"))


@pytest.fixture
def client(host: Host) -> Iterator[httpx.Client]:
    base = f"http://127.0.0.1:{gateway(host)}"
    with httpx.Client(base_url=base, trust_env=False, timeout=60) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def login(client: httpx.Client, user: str = "admin", password: str = PASSWORD) -> str:
    answer = client.post("/auth/login", json={"username": user, "password": password})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


@pytest.mark.row("A7")
def test_a_key_lives_and_ends_over_http(client: httpx.Client, host: Host) -> None:
    session = login(client)
    made = client.post(
        "/admin/keys", headers=bearer(session), json={"user": "admin", "scopes": ["host.read"]}
    ).json()
    assert client.get("/api/plugins", headers=bearer(made["token"])).status_code == 200
    assert client.get("/admin/plugins", headers=bearer(made["token"])).status_code == 403
    assert client.get("/api/plugins").status_code == 401
    listed = client.get("/admin/keys", headers=bearer(session)).text
    assert made["id"] in listed
    assert made["token"] not in listed
    gone = client.delete(f"/admin/keys/{made['id']}", headers=bearer(session))
    assert gone.json() == {"revoked": True}
    assert client.get("/api/plugins", headers=bearer(made["token"])).status_code == 401
    assert host.call("auth.audit.verify")["isWhole"]


@pytest.mark.row("A15")
def test_a_user_cannot_rise_above_themselves_over_http(client: httpx.Client, host: Host) -> None:
    host.call(
        "auth.users.create", {"name": "ada", "password": PASSWORD, "scopes": ["repo.*", "auth.*"]}
    )
    ada = bearer(login(client, "ada"))
    path = "/api/capabilities/auth.createKey"
    assert client.post(path, headers=ada, json={"scopes": ["repo.tree"]}).status_code == 200
    for payload in (
        {"scopes": ["admin"]}, {"scopes": ["*"]}, {"scopes": ["host.read"]},
        {"user": "admin", "scopes": ["repo.tree"]},
    ):  # fmt: skip
        assert client.post(path, headers=ada, json=payload).status_code == 403
    update = "/api/capabilities/auth.users.update"
    grown = client.post(update, headers=ada, json={"name": "ada", "scopes": ["admin"]})
    assert grown.status_code == 403
    me = client.post("/api/capabilities/auth.logout", headers=ada, json={})
    assert me.json() == {"ended": True}, "the session that it came with"
    assert client.post(path, headers=ada, json={"scopes": []}).status_code == 401


@pytest.mark.row("A3")
def test_too_many_wrong_passwords_are_429_with_the_wait(client: httpx.Client) -> None:
    wrong = {"username": "admin", "password": "wrong"}
    assert [client.post("/auth/login", json=wrong).status_code for _ in range(6)] == [
        *[401] * 5,
        429,
    ]
    refused = client.post("/auth/login", json=wrong)
    assert 1 <= int(refused.headers["Retry-After"]) <= 30


@pytest.mark.row("A12")
def test_without_apikeys_the_gateway_lets_nobody_in(client: httpx.Client, host: Host) -> None:
    session = login(client)
    host.stop("apikeys")
    assert client.get("/api/plugins", headers=bearer(session)).status_code == 503
    assert client.get("/health").status_code == 200
    host.start("apikeys")
    assert client.get("/api/plugins", headers=bearer(session)).status_code == 200


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_tls_in_front_works_as_the_deployment_has_it(host: Host, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         f"/CN={NAME}", "-keyout", "k.pem", "-out", "c.pem"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with socket.socket() as free, socket.socket() as plain:
        free.bind(("127.0.0.1", 0))
        plain.bind(("127.0.0.1", 0))
        port, other = free.getsockname()[1], plain.getsockname()[1]
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in (
        (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(tmp_path / "c.pem")),
        (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(tmp_path / "k.pem")),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{other}"),
        ("127.0.0.1:43119", f"127.0.0.1:{gateway(host)}"),
    ):
        assert old in text
        text = text.replace(old, new)
    places = "".join(
        f"{kind}_temp_path {tmp_path / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "site.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/n.pid; error_log {tmp_path}/e.log; events {{}} "
        f"http {{ access_log off; {places} include {tmp_path}/site.conf; }}"
    )
    process = subprocess.Popen(
        ["nginx", "-e", str(tmp_path / "e.log"), "-c", str(tmp_path / "nginx.conf")]
    )
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}", verify=False, trust_env=False,
            headers={"Host": NAME}, timeout=30,
        ) as client:  # fmt: skip

            def is_up() -> bool:
                try:
                    return client.get("/health").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(is_up, 20)
            session = login(client)
            assert client.get("/api/plugins", headers=bearer(session)).status_code == 200
            foreign = client.get("/health", headers={"Host": "elsewhere.example.org"})
            assert foreign.status_code in (200, 421), "nginx gives its only server's name"
    finally:
        process.terminate()
        process.wait(20)


def test_the_unit_is_one_that_systemd_takes() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(ROOT / "deploy" / "bkg.service")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert said == []
