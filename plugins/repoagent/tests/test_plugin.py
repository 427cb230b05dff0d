"""repoagent on the bus: what it registers, answers, refuses and reports; and as a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.bus.channel import MemoryChannel, memory_pair
from bkg_workbench.protocol.definition import Definition
from repoagent.plugin import plugin
from repoagent.settings import RepoagentSettings

HOME = Path(__file__).resolve().parent.parent
CONFIG: dict[str, Any] = json.loads((HOME / "config.json").read_text())


class Bus:
    """The Host's end of the channel."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.channel = channel
        self.registered: dict[str, Any] = {}
        self._count = 0

    async def receive(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                envelope = json.loads(await self.channel.receive())
                if envelope["type"] == kind:
                    return dict(envelope)

    async def ask(self, capability: str, payload: dict[str, Any]) -> dict[str, Any]:
        return await self._answered("request", capability=capability, payload=payload)

    async def configure(self, settings: dict[str, Any]) -> dict[str, Any]:
        return await self._answered("config", settings=settings, version=2)

    async def _answered(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._count += 1
        frame = {"type": kind, "requestId": str(self._count), **fields}
        await self.channel.send(json.dumps(frame).encode())
        return await self.receive("response")


@asynccontextmanager
async def serving(settings: dict[str, Any]) -> AsyncIterator[Bus]:
    """repoagent over a channel in memory, registered and welcome."""
    host, client = memory_pair()
    host.limit = client.limit = 16 * 1024 * 1024
    bus = Bus(host)
    life = asyncio.create_task(plugin.serve(client, settings))
    try:
        bus.registered = await bus.receive("register")
        welcome = {"type": "welcome", "protocol": 1, "heartbeatSeconds": 10, "settings": settings}
        await host.send(json.dumps(welcome).encode())
        yield bus
    finally:
        plugin.stop()
        draining = asyncio.create_task(_drain(host))
        await asyncio.wait_for(life, 10)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


async def _drain(channel: MemoryChannel) -> None:
    while True:
        await channel.receive()


@pytest.fixture
def workspace(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BKG_WORKSPACE", str(place))
    (place / "x.py").write_text("def needle():\n    return 1\n")
    return place


async def test_it_registers_what_its_definition_declares(workspace: Path) -> None:
    mirror = json.loads((HOME.parent / "plugins.json").read_text())
    row = next(row for row in mirror if row["name"] == "repoagent")
    async with serving(CONFIG) as bus:
        found = bus.registered
        assert found["capabilities"] == row["capabilities"]
        assert found["plugin"] == "repoagent"
        assert len(found["meta"]["features"]) == 3
        for schema in found["meta"]["schemas"].values():
            assert schema["idempotent"]
            assert schema["input"]["additionalProperties"] is False
            assert schema["output"]["properties"]


def test_the_settings_are_those_of_the_design() -> None:
    from bkg_workbench.sdk.settings import config_schema

    schema = config_schema(RepoagentSettings)
    assert set(schema["properties"]) == {
        "defaultRoot", "workspaceRoots", "maxFiles", "ignoreGlobs", "commandAllowlist",
        "environment", "enableGit", "telemetry",
    }  # fmt: skip
    for name, part in schema["properties"].items():
        text = json.dumps(part)
        assert '"title"' in text, name
        assert '"description"' in text, name
    assert set(CONFIG) == set(schema["properties"])


async def test_the_three_verbs_answer(workspace: Path) -> None:
    async with serving(CONFIG) as bus:
        answer = await bus.ask("repo.search", {"query": "needle"})
        hit = answer["data"]["hits"][0]
        assert (hit["path"], hit["line"], hit["endColumn"], hit["kind"]) == (
            "x.py", 1, 11, "definition",
        )  # fmt: skip
        answer = await bus.ask("repo.tree", {})
        assert [entry["path"] for entry in answer["data"]["entries"]] == ["x.py"]
        answer = await bus.ask("repo.file.read", {"path": "x.py", "startLine": 2})
        assert (answer["data"]["text"], answer["data"]["totalLines"]) == ("    return 1\n", 2)


@pytest.mark.parametrize(
    ("capability", "payload", "code", "words"),
    [
        ("repo.file.read", {"path": "../x"}, "forbidden", "'..'"),
        ("repo.file.read", {"path": ".env"}, "forbidden", "hidden"),
        ("repo.file.read", {"path": "nowhere"}, "invalid_params", "repo.tree lists"),
        ("repo.file.read", {}, "invalid_params", "path"),
        ("repo.file.read", {"path": "x.py", "root": "other"}, "invalid_params", "there are: ."),
        ("repo.search", {"query": "("}, None, ""),
        ("repo.search", {"query": "(", "regex": True}, "invalid_params", "regular expression"),
        ("repo.search", {"query": ""}, "invalid_params", "query"),
        ("repo.tree", {"depth": 33}, "invalid_params", "depth"),
        ("repo.tree", {"odd": 1}, "invalid_params", "odd"),
    ],
)
async def test_a_refusal_is_a_sentence_with_a_code(
    workspace: Path, capability: str, payload: dict[str, Any], code: str | None, words: str
) -> None:
    async with serving(CONFIG) as bus:
        answer = await bus.ask(capability, payload)
    assert answer.get("code") == code
    assert words in answer.get("error", "")
    assert answer["success"] == (code is None)


async def test_settings_are_applied_live(workspace: Path) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub" / "y.py").write_text("needle\n")
    async with serving(CONFIG) as bus:
        changed = {**CONFIG, "workspaceRoots": ["sub"], "defaultRoot": ""}
        assert (await bus.configure(changed))["data"] == {"applied": "live"}
        answer = await bus.ask("repo.search", {"query": "needle"})
        assert [hit["path"] for hit in answer["data"]["hits"]] == ["y.py"]
        refused = await bus.configure({**CONFIG, "maxFiles": 0})
        assert refused["code"] == "config_invalid"
        await bus.configure({**CONFIG, "workspaceRoots": [], "defaultRoot": ""})
        for capability, payload in (
            ("repo.tree", {}), ("repo.search", {"query": "x"}), ("repo.file.read", {"path": "x"}),
        ):  # fmt: skip
            answer = await bus.ask(capability, payload)
            assert answer["code"] == "forbidden"
            assert "workspaceRoots" in answer["error"]


async def test_a_root_that_is_missing_degrades_its_health(workspace: Path) -> None:
    async with serving({**CONFIG, "workspaceRoots": [".", "missing"]}) as bus:
        beat = await bus.receive("health")
    assert beat["status"] == "degraded"
    assert "missing" in beat["detail"]


async def test_the_agent_answers_while_a_hostile_expression_runs(workspace: Path) -> None:
    (workspace / "x").write_text("a" * 30 + "!\n")
    async with serving(CONFIG) as bus:
        hostile = {"type": "request", "requestId": "slow", "capability": "repo.search",
                   "payload": {"query": "(a+)+$", "regex": True}}  # fmt: skip
        await bus.channel.send(json.dumps(hostile).encode())
        quick = await bus.ask("repo.tree", {})
        assert quick["success"]
        assert quick["requestId"] != "slow"
        slow = await bus.receive("response")
        assert slow["data"]["truncatedBy"] == ["regex"]


def test_importing_the_plugin_loads_no_search_library() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import repoagent.plugin;"
        "print([m for m in ('pathspec', 'subprocess', 'typing_extensions') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(HOME)], capture_output=True, text=True, check=True,
        timeout=30, env={**os.environ, "PYTHONPATH": str(HOME.parent.parent)},
    )  # fmt: skip
    assert "pathspec" not in done.stdout


def test_its_files_are_as_a_plugin_needs_them() -> None:
    script = HOME / "start.sh"
    text = script.read_bytes()
    assert script.stat().st_mode & stat.S_IXUSR
    assert b"\r" not in text
    assert text.decode().strip().splitlines()[-1].startswith("exec ")
    project = tomllib.loads((HOME / "pyproject.toml").read_text())
    lock = (HOME / "requirements.lock").read_text()
    for requirement in project["project"]["dependencies"]:
        assert f"\n{requirement.split('>')[0]}==" in "\n" + lock
    assert "://" not in lock
    for row in json.loads((HOME.parent / "plugins.json").read_text()):
        assert Definition(**{k: v for k, v in row.items() if k in ("name", "capabilities")})


# --- the documents --------------------------------------------------------------------------------

REPOSITORY = HOME.parent.parent
PAGE = REPOSITORY / "docs" / "plugins" / "repoagent.md"


async def test_every_example_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKG_WORKSPACE", str(REPOSITORY))
    examples = re.findall(r"^bkg call (\S+) '(.*)'$", PAGE.read_text(), re.MULTILINE)
    assert {capability for capability, _ in examples} == set(plugin.handlers)
    async with serving(CONFIG) as bus:
        for capability, payload in examples:
            answer = await bus.ask(capability, json.loads(payload))
            assert answer["success"], (payload, answer)
            assert answer["data"].get("hits", True), payload


def test_the_page_names_every_setting_and_parameter() -> None:
    text = PAGE.read_text()
    named = set(RepoagentSettings.__struct_encode_fields__)
    for handler in plugin.handlers.values():
        named |= set(handler.schema["input"]["properties"])
    assert {name for name in named if f"`{name}`" not in text} <= {"pathEncoding"}
    assert "pathEncoding" in text


def test_the_example_of_the_readme_runs() -> None:
    code = (HOME / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HOME)!r})\n{code}"],
        capture_output=True, text=True, check=False, timeout=30, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flock" in done.stdout
