"""apikeys as it is used: real processes, the command line, and a Host in between."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench import Host, attach
from bkg_workbench.bus.identity import Caller
from bkg_workbench.cli.app import main
from bkg_workbench.errors import (
    CapabilityUnavailable,
    Forbidden,
    InvalidParams,
    Overloaded,
    RequestError,
    StartFailed,
    Unauthenticated,
    WorkbenchError,
)
from bkg_workbench.protocol.envelopes import raw, value
from tests.cli.bkg import command, environment
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"

Bkg = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with apikeys in it, which has not been started yet."""
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "plugins" / "apikeys", workspace / "plugins" / "apikeys", ignore=ignored)
    shipped = json.loads((ROOT / "plugins" / "plugins.json").read_text())
    mine = [row for row in shipped if row["name"] == "apikeys"]
    (workspace / "plugins" / "plugins.json").write_text(json.dumps(mine))
    return workspace


@pytest.fixture
def host(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    with Host(place, autostart=False) as found:
        found.start("apikeys")
        monkeypatch.delenv("ADMIN_PASSWORD")
        yield found


@pytest.fixture
def bkg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bkg:
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        import io

        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def ask_as(host: Host, caller: Caller, capability: str, payload: Any) -> Any:
    """Ask as the gateway does for a user who has proved who they are."""

    async def ask() -> Any:
        return value(raw(await host.engine.router.call(capability, raw(payload), caller)))

    return host._portal.run(ask())


def validate(host: Host, token: str, **more: Any) -> Any:
    return host.call("auth.validate", {"token": token, "method": "GET", "path": "/", **more})


# -- the first start -------------------------------------------------------------------------------
@pytest.mark.row("A14")
def test_without_a_password_apikeys_ends_with_78_and_says_why(place: Path) -> None:
    with Host(place) as host:
        assert host.state.plugins["apikeys"].state == "stopped", "autostart leaves it alone"
        assert [n.key for n in host.state.notices] == ["first-start"]
        with pytest.raises(StartFailed) as failure:
            host.start("apikeys")
        assert "78" in str(host.state.plugins["apikeys"].last_exit)
        assert any("bkg users password admin" in line for line in failure.value.facts["log"])
        assert not list((place / ".bkg" / "plugins" / "apikeys" / "data").iterdir())


@pytest.mark.row("A14")
def test_the_password_is_for_the_first_start_and_a_later_one_changes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for password in (PASSWORD, "another long password"):
        monkeypatch.setenv("ADMIN_PASSWORD", password)
        with Host(place, autostart=False) as host:
            pid = host.start("apikeys").pid
            host.call("auth.login", {"username": "admin", "password": PASSWORD})
            if password != PASSWORD:
                assert password.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
                with pytest.raises(Unauthenticated):
                    host.call("auth.login", {"username": "admin", "password": password})


@pytest.mark.row("A14")
def test_a_kill_in_the_middle_of_the_first_start_leaves_it_to_be_done(place: Path) -> None:
    data = place / ".bkg" / "plugins" / "apikeys" / "data"
    data.mkdir(parents=True)
    (data / ".apikeys.db.new").write_bytes(b"half of a database")
    with Host(place) as host:
        host.call("host.auth.begin", {"password": PASSWORD}, timeout=60)
        assert host.state.notices == ()
        host.call("auth.login", {"username": "admin", "password": PASSWORD})
        with pytest.raises(RequestError, match="has had its first start"):
            host.call("host.auth.begin", {"password": "another long password"})


def _typed(place: Path, *arguments: str, until: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a command on a terminal; what it said by the time that it said `until`."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=inner, stdout=inner, stderr=inner, env=environment(place),
        start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    said = bytearray()

    def read() -> None:
        while True:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:
                break
            if not piece:
                break
            said.extend(piece)
        os.close(terminal)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        eventually(lambda: until in said.decode(errors="replace"), 90)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.reader = reader  # type: ignore[attr-defined]
    return said.decode(errors="replace"), process


@pytest.mark.row("A8")
def test_on_a_terminal_bkg_host_makes_a_password_and_shows_it_there_alone(place: Path) -> None:
    said, process = _typed(place, "host", until="ADMIN_PASSWORD")
    try:
        found = re.findall(r"\b(?:[a-z2-9]{5}-){4}[a-z2-9]{5}\b", said)
        assert len(found) == 1
        with attach(place) as bench:
            bench.call("auth.login", {"username": "admin", "password": found[0]})
            assert bench.state.plugins["apikeys"].state == "running"
    finally:
        process.terminate()
        process.wait(60)
        process.reader.join(10)  # type: ignore[attr-defined]
    assert leaks(place, found) == []


def test_without_a_terminal_no_password_is_made(place: Path, tmp_path: Path) -> None:
    from tests.cli.bkg import running

    with running(place, "host", place=tmp_path) as one:
        one.wait_for("bkg users password admin")
        assert "password:" not in one.out.read_text()


def leaks(place: Path, secrets: list[str]) -> list[str]:
    """Files of the workspace that hold one of the secrets."""
    return [
        f"{file.relative_to(place)}: {secret[:6]}…"
        for file in sorted(place.rglob("*"))
        if file.is_file() and not file.is_symlink()
        for secret in secrets
        if secret.encode() in file.read_bytes()
    ]


# -- revocations -----------------------------------------------------------------------------------
@pytest.mark.row("A7")
def test_what_is_revoked_is_refused_from_the_moment_the_call_answers(host: Host) -> None:
    host.call("auth.users.create", {"name": "ada", "password": PASSWORD, "scopes": ["repo.*"]})

    def login() -> str:
        token = host.call("auth.login", {"username": "ada", "password": PASSWORD})["token"]
        return str(token)

    def key() -> dict[str, Any]:
        return dict(host.call("auth.createKey", {"user": "ada", "scopes": ["repo.tree"]}))

    first, second = key(), key()
    session, other = login(), login()
    revocations: list[tuple[str, str, dict[str, Any]]] = [
        (first["token"], "auth.revokeKey", {"id": first["id"]}),
        (session, "auth.logout", {"token": session}),
        (other, "auth.users.setPassword", {"user": "ada", "password": "another long password"}),
        (second["token"], "auth.users.delete", {"name": "ada"}),
    ]
    for token, capability, payload in revocations:
        assert validate(host, token)["user"] == "ada"
        host.call(capability, payload)
        with pytest.raises(Unauthenticated):
            validate(host, token)


@pytest.mark.row("A8")
def test_no_token_and_no_password_lies_anywhere_in_the_workspace(host: Host, place: Path) -> None:
    host.call("auth.users.create", {"name": "ada", "password": "adas own password",
                                    "scopes": ["repo.*"]})  # fmt: skip
    key = host.call("auth.createKey", {"user": "ada", "scopes": ["repo.tree"]})
    again = host.call("auth.rotateKey", {"id": key["id"]})
    session = host.call("auth.login", {"username": "admin", "password": PASSWORD})
    child = host.call("auth.createChild", {"token": session["token"], "scopes": ["repo.tree"]})
    for wrong in ("Wr0ng-first-try", "Wr0ng-next-try"):
        with pytest.raises(Unauthenticated):
            host.call("auth.login", {"username": "admin", "password": wrong})
    with pytest.raises(Unauthenticated):
        validate(host, key["token"][:-1] + "~")
    tokens = [made["token"] for made in (key, again, session, child)]
    secrets = [PASSWORD, "adas own password", "Wr0ng-first-try", "Wr0ng-next-try"]
    secrets += [part for token in tokens for part in (token, token.split("_", 2)[2])]
    assert leaks(place, secrets) == []
    host.stop("apikeys")
    assert leaks(place, secrets) == []
    host.start("apikeys")
    assert validate(host, again["token"])["keyId"] == key["id"], "and a restart forgets none"


# -- who may ---------------------------------------------------------------------------------------
ADA = Caller("ada", ("repo.*", "auth.createKey", "auth.listKeys"), user="ada", credential="k1")


@pytest.mark.row("A15")
def test_a_user_gives_what_they_have_and_no_more(host: Host) -> None:
    host.call("auth.users.create", {"name": "ada", "password": PASSWORD,
                                    "scopes": ["repo.*", "auth.*"]})  # fmt: skip
    made = ask_as(host, ADA, "auth.createKey", {"scopes": ["repo.tree"]})
    assert (made["user"], made["scopes"]) == ("ada", ["repo.tree"])
    for scopes in (["llm.chat"], ["admin"], ["*"], ["repo.tree", "goose.*"]):
        with pytest.raises(Forbidden) as refusal:
            ask_as(host, ADA, "auth.createKey", {"scopes": scopes})
        assert refusal.value.facts["scope"] in scopes
    with pytest.raises(Forbidden):
        ask_as(host, ADA, "auth.createKey", {"user": "admin", "scopes": ["repo.tree"]})
    with pytest.raises(Forbidden, match=r"auth\.users\.create"):
        ask_as(host, ADA, "auth.users.create", {"name": "x", "password": PASSWORD})
    assert {key["user"] for key in ask_as(host, ADA, "auth.listKeys", {})} == {"ada"}


def test_a_plugin_acts_for_its_caller_within_its_calls_and_never_as_a_user_of_its_name(
    host: Host, place: Path
) -> None:
    go_between = """
from bkg_workbench.sdk import Context, Plugin
plugin = Plugin("helper")

@plugin.capability("helper.own")
async def own(payload: dict[str, object]) -> object:
    return await plugin.call("auth.createKey", payload)

@plugin.capability("helper.forward")
async def forward(payload: dict[str, object], context: Context) -> object:
    return await context.call("auth.createKey", payload)

plugin.run()
"""
    write_plugin(place, "helper", go_between, capabilities=["helper.own", "helper.forward"],
                 calls=["auth.createKey", "repo.tree"])  # fmt: skip
    eventually(lambda: "helper" in host.state.plugins, 20)
    host.start("helper")
    host.call("auth.users.create", {"name": "helper", "password": PASSWORD, "scopes": ["repo.*"]})
    with pytest.raises(InvalidParams, match="user"):
        host.call("helper.own", {"scopes": ["repo.tree"]})
    admin = Caller("admin", ("admin",), user="admin", credential="s1")
    made = ask_as(host, admin, "helper.forward", {"scopes": ["repo.tree"]})
    assert made["user"] == "admin"
    with pytest.raises(Forbidden):
        ask_as(host, admin, "helper.forward", {"scopes": ["repo.file.write"]})


@pytest.mark.row("A13")
def test_a_rogue_plugin_cannot_answer_for_apikeys(host: Host, place: Path) -> None:
    rogue = """
from bkg_workbench.sdk import Plugin
plugin = Plugin("rogue")

@plugin.capability("auth.validate")
async def validate(payload: dict[str, object]) -> dict[str, object]:
    return {"user": "admin", "scopes": ["admin"], "expires_at": None}

plugin.run()
"""
    write_plugin(place, "rogue", rogue, capabilities=[])
    eventually(lambda: "rogue" in host.state.plugins, 20)
    host.start("rogue")
    assert "auth.validate" in host.state.plugins["rogue"].conflicts
    host.stop("apikeys")
    with pytest.raises(CapabilityUnavailable):
        validate(host, "bkg_000000000000_" + "A" * 43)


@pytest.mark.row("A12")
def test_without_apikeys_nothing_is_let_in_and_a_restart_is_waited_for(host: Host) -> None:
    key = host.call("auth.createKey", {"user": "admin", "scopes": ["repo.*"]})
    host.restart("apikeys", wait=False)
    assert validate(host, key["token"])["user"] == "admin"
    host.stop("apikeys")
    with pytest.raises(CapabilityUnavailable):
        validate(host, key["token"])


def test_the_route_of_a_request_decides_which_scope_a_token_needs(host: Host) -> None:
    key = host.call("auth.createKey", {"user": "admin", "scopes": ["llm.chat", "host.read"]})

    def is_let_in(method: str, path: str, **more: Any) -> bool:
        try:
            host.call("auth.validate", {"token": key["token"], "method": method, "path": path,
                                        **more})  # fmt: skip
        except Forbidden:
            return False
        return True

    assert is_let_in("POST", "/v1/chat/completions")
    assert not is_let_in("POST", "/v1/embeddings")
    assert is_let_in("GET", "/api/plugins/goose/status")
    assert not is_let_in("POST", "/api/plugins/goose/stop")
    assert not is_let_in("GET", "/admin/plugins")
    assert is_let_in("POST", "/api/capabilities/llm.chat")
    assert not is_let_in("POST", "/api/capabilities/repo.tree")
    assert not is_let_in("GET", "/mine", scope="repo.tree")
    found = host.call("auth.listKeys", {})[0]["usedScopes"]
    assert found == {"llm.chat": 2, "host.read": 1}


def test_a_limited_key_is_told_when_to_come_again(host: Host) -> None:
    key = host.call("auth.createKey", {"user": "admin", "scopes": ["repo.*"], "ratePerMinute": 2})
    validate(host, key["token"])
    validate(host, key["token"])
    with pytest.raises(Overloaded) as refusal:
        validate(host, key["token"])
    assert 1 <= refusal.value.facts["retryAfterSeconds"] <= 60


@pytest.mark.row("A5")
def test_beats_and_checks_go_on_while_passwords_are_checked(host: Host) -> None:
    import asyncio

    key = host.call("auth.createKey", {"user": "admin", "scopes": ["repo.*"]})
    wrong = {"username": "admin", "password": "wrong"}

    async def flood() -> tuple[int, int]:
        logins = [
            asyncio.ensure_future(host.acall("auth.login", wrong, timeout=60)) for _ in range(200)
        ]
        checks = 0
        while not all(one.done() for one in logins):
            await host.acall("auth.validate", {"token": key["token"], "method": "GET", "path": "/"})
            checks += 1
        ended = await asyncio.gather(*logins, return_exceptions=True)
        assert all(isinstance(error, WorkbenchError) for error in ended)
        return checks, sum(isinstance(error, Unauthenticated) for error in ended)

    checks, looked_at = asyncio.run(flood())
    assert checks >= 3, "they were answered in between"
    assert looked_at <= 8
    assert host.state.plugins["apikeys"].state == "running"


# -- the command line ------------------------------------------------------------------------------
def test_the_commands_lead_a_key_through_its_life(host: Host, bkg: Bkg) -> None:
    code, token, err = bkg("keys", "create", "--scope", "repo.*", "--label", "ci",
                           "--expires", "30d")  # fmt: skip
    assert code == 0
    assert re.fullmatch(r"bkg_[0-9a-f]{12}_[\w-]{43}\n", token)
    assert "this once" in err
    identity = token.split("_")[1]
    code, out, _ = bkg("keys", "list")
    assert identity in out
    assert "ci" in out
    assert token.strip()[-20:] not in out
    code, again, err = bkg("keys", "rotate", identity, "--overlap", "0")
    assert (code, again != token) == (0, True)
    assert "has ended" in err
    with pytest.raises(Unauthenticated):
        validate(host, token.strip())
    assert validate(host, again.strip())["keyId"] == identity
    assert bkg("keys", "revoke", identity)[0] == 0
    assert bkg("keys", "revoke", identity)[0] == 1
    assert bkg("keys", "create", "--scope", "Not A Scope")[0] == 5
    assert "No keys" in bkg("keys", "list")[1]
    assert "revoked" in bkg("keys", "list", "--ended")[1]


def test_the_commands_lead_a_user_through_theirs(host: Host, bkg: Bkg, place: Path) -> None:
    assert bkg("users", "add", "ada", "--scope", "repo.*", stdin=f"{PASSWORD}\n")[0] == 0
    code, token, _ = bkg("login", "ada", stdin=f"{PASSWORD}\n")
    assert code == 0
    assert validate(host, token.strip())["scopes"] == ["repo.*"]
    assert bkg("login", "ada", stdin="wrong\n")[0] == 77
    assert bkg("users", "scopes", "ada", "--scope", "repo.tree")[0] == 0
    assert validate(host, token.strip())["scopes"] == ["repo.tree"]
    code, made, _ = bkg("users", "password", "ada", "--generate")
    assert code == 0
    with pytest.raises(Unauthenticated):
        validate(host, token.strip())
    assert bkg("login", "ada", stdin=made)[0] == 0
    assert bkg("users", "disable", "ada")[0] == 0
    assert bkg("login", "ada", stdin=made)[0] == 77
    assert "disabled" in bkg("users", "list")[1]
    assert bkg("users", "enable", "ada")[0] == 0
    assert bkg("users", "delete", "ada")[0] == 0
    assert bkg("users", "delete", "admin")[0] == 5
    assert bkg("users", "add", "bob", stdin="short\n")[0] == 5
    code, out, _ = bkg("audit", "list", "-n", "3")
    assert "users.delete" in out
    assert leaks(place, [PASSWORD, made.strip(), token.strip()]) == []


def test_the_trail_is_checked_on_its_file_with_and_without_a_host(
    host: Host, bkg: Bkg, place: Path
) -> None:
    import sqlite3
    from contextlib import closing

    host.call("auth.users.create", {"name": "ada", "password": PASSWORD})
    assert host.call("auth.audit.verify", {})["isWhole"]
    code, out, _ = bkg("audit", "verify")
    assert code == 0
    head = out.split("head ")[1].strip()
    host.call("auth.users.delete", {"name": "ada"})
    assert bkg("audit", "verify", "--expect", head)[0] == 0
    host.stop("apikeys")
    file = place / ".bkg" / "plugins" / "apikeys" / "data" / "apikeys.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE audit SET outcome = 'ok', actor = 'eve' WHERE seq = 2")
    code, _, err = bkg("audit", "verify", "--expect", head)
    assert code == 1
    assert "record 2 was changed" in err


def test_the_first_password_can_be_given_on_the_command_line(place: Path, bkg: Bkg) -> None:
    with Host(place) as host:
        assert host.state.plugins["apikeys"].state == "stopped"
        code, made, err = bkg("users", "password", "admin", "--generate")
        assert code == 0, err
        assert host.call("auth.login", {"username": "admin", "password": made.strip()})["token"]
        assert bkg("users", "password", "admin", stdin=f"{PASSWORD}\n")[0] == 0
        assert host.call("auth.login", {"username": "admin", "password": PASSWORD})["token"]
