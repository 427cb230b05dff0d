"""apikeys on the bus: what it registers, how its settings apply, and its documents."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apikeys.plugin import plugin
from apikeys.settings import ApikeysSettings
from bkg_workbench.errors import ConfigInvalid, Forbidden, InvalidParams, Unauthenticated
from bkg_workbench.protocol.capabilities import TABLE
from bkg_workbench.testing.memory import MemoryHost

HOME = Path(__file__).resolve().parent.parent
REPOSITORY = HOME.parent.parent
PAGE = (REPOSITORY / "docs" / "plugins" / "apikeys.md").read_text()
CONFIG: dict[str, Any] = json.loads((HOME / "config.json").read_text())
PASSWORD = "correct horse battery"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryHost]:
    before = os.umask(0o077)  # the plug-in sets its process's
    monkeypatch.setenv("BKG_DATABASE_PATH", str(tmp_path / "apikeys.db"))
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    settings = {"apikeys": {**CONFIG, "bcryptCost": 10}}
    with MemoryHost(plugin, settings=settings) as host:
        assert "ADMIN_PASSWORD" not in os.environ
        yield host
    os.umask(before)


def test_it_registers_what_its_definition_declares_and_the_table_knows(bench: MemoryHost) -> None:
    mirror = json.loads((HOME.parent / "plugins.json").read_text())
    row = next(row for row in mirror if row["name"] == "apikeys")
    assert row["capabilities"] == list(plugin.handlers)
    assert {name for name, one in TABLE.items() if one.plugin == "apikeys"} == set(plugin.handlers)
    found = bench.state.plugins["apikeys"]
    assert found.conflicts == ()
    assert found.port == "internal"
    assert len(found.meta["features"]) == 3
    for handler in plugin.handlers.values():
        assert handler.schema["input"]["additionalProperties"] is False
        assert handler.schema["output"]
        assert handler.schema["description"]


def test_a_payload_that_is_not_good_is_refused_without_repeating_a_secret(
    bench: MemoryHost,
) -> None:
    for capability, payload in (
        ("auth.login", {"username": "admin", "password": ["hunter22"]}),
        ("auth.login", {"username": "admin", "password": "hunter22" * 200}),
        ("auth.users.create", {"name": "ada", "password": "hunter22"}),
        ("auth.validate", {"token": {"hunter22": 1}}),
    ):
        with pytest.raises(InvalidParams) as refusal:
            bench.call(capability, payload)
        if "hunter22" in str(refusal.value):
            pytest.fail(f"{capability} repeats what it refuses: {refusal.value}")


def test_settings_are_applied_live(bench: MemoryHost) -> None:
    found = bench.config("apikeys")
    changed = {**found["settings"], "shortestPassword": 20, "sessionHours": 1}
    assert bench.save_config("apikeys", changed, found["version"])["applied"] == "live"
    with pytest.raises(InvalidParams, match="20"):
        bench.call("auth.users.create", {"name": "ada", "password": PASSWORD[:19]})
    session = bench.call("auth.login", {"username": "admin", "password": PASSWORD})
    row = bench.call("auth.sessions.list")[0]
    assert session["expires_at"] - row["created_at"] == 3_600_000
    with pytest.raises(ConfigInvalid):
        bench.save_config("apikeys", {**changed, "bcryptCost": 4}, found["version"] + 1)


def test_a_session_ends_by_its_own_token_and_the_console_has_none(bench: MemoryHost) -> None:
    session = bench.call("auth.login", {"username": "admin", "password": PASSWORD})
    with pytest.raises(InvalidParams):
        bench.call("auth.logout")
    assert bench.call("auth.logout", {"token": session["token"]}) == {"ended": True}
    with pytest.raises(Unauthenticated):
        bench.call("auth.logout", {"token": session["token"]})


def test_a_token_is_checked_against_a_scope_that_is_given(bench: MemoryHost) -> None:
    key = bench.call("auth.createKey", {"user": "admin", "scopes": ["repo.*"]})
    payload = {"token": key["token"], "method": "GET", "path": "/of/a/plug-in"}
    assert bench.call("auth.validate", payload)["scopes"] == ["repo.*"]
    assert bench.call("auth.validate", {**payload, "scope": "repo.tree"})["user"] == "admin"
    with pytest.raises(Forbidden, match=r"llm\.chat"):
        bench.call("auth.validate", {**payload, "scope": "llm.chat"})


def test_its_files_are_as_a_plugin_needs_them() -> None:
    script = HOME / "start.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().strip().splitlines()[-1].startswith("exec ")
    assert json.loads(
        json.dumps({f: getattr(ApikeysSettings(), n) for n, f in zip(
            ApikeysSettings.__struct_fields__, ApikeysSettings.__struct_encode_fields__,
            strict=True)})
    ) == CONFIG  # fmt: skip


def test_the_domain_imports_nothing_of_the_workbench_but_its_sdk() -> None:
    for file in (HOME / "apikeys").glob("*.py"):
        for found in re.findall(r"^(?:from|import) (bkg_workbench[\w.]*)", file.read_text(), re.M):
            assert found == "bkg_workbench.sdk", file.name


def test_the_page_names_every_capability_setting_and_parameter() -> None:
    named = set(ApikeysSettings.__struct_encode_fields__) | set(plugin.handlers)
    for handler in plugin.handlers.values():
        named |= set(handler.schema["input"].get("properties", {}))
    assert {name for name in named if f"`{name}`" not in PAGE} == set()


def test_the_commands_of_the_page_are_commands() -> None:
    from bkg_workbench.cli.parser import make_parser

    commands = re.findall(r"^(?:KEY=\$\()?bkg ([^\n)]+)", PAGE, re.MULTILINE)
    assert len(commands) >= 6
    import shlex

    for line in commands:
        assert make_parser().parse_args(shlex.split(line)).command


def test_the_example_of_the_readme_runs() -> None:
    code = (HOME / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HOME)!r})\n{code}"],
        capture_output=True, text=True, check=False, timeout=30, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.stdout.strip() == "['repo.tree', 'llm.chat']", done.stderr
