"""A plug-in in Node that knows only the seed's envelopes: identity by its process, nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bkg_workbench import Host
from tests.helpers import eventually

HERE = Path(__file__).resolve().parent.parent / "node"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def node_workspace(workspace: Path, node_modules: Path) -> Path:
    """A workspace with the Node plug-in under the name demo."""
    folder = workspace / "plugins" / "demo"
    folder.mkdir()
    for name in ("seed_plugin.mjs", "start.sh"):
        shutil.copy(HERE / name, folder / name)
    (folder / "start.sh").chmod(0o755)
    (folder / "node_modules").symlink_to(node_modules)
    definition = {"name": "demo", "capabilities": ["demo.echo"]}
    (workspace / "plugins" / "plugins.json").write_text(json.dumps([definition]))
    return workspace


@pytest.mark.row("B5")
def test_it_registers_beats_logs_and_answers(node_workspace: Path) -> None:
    with Host(node_workspace) as host:
        assert host.start("demo").state == "running"
        assert host.call("demo.echo", {"text": "ä", "n": 1}) == {"text": "ä", "n": 1}
        assert list(host.stream("demo.echo", {"n": 2})) == [{"n": 2}]
        state = eventually(lambda: host.plugin("demo").health and host.plugin("demo"))
        assert state.health.status == "up"
        assert eventually(lambda: host.logs("demo", text="is up", source="log"))
        assert host.stop("demo").last_exit


@pytest.mark.row("B4")
def test_started_by_hand_without_a_token_it_is_refused(node_workspace: Path) -> None:
    with Host(node_workspace) as host:
        port = host.ports()[0]["port"]
        done = subprocess.run(
            ["node", "seed_plugin.mjs"],
            cwd=node_workspace / "plugins" / "demo",
            env={**os.environ, "BKG_PLUGIN_BUS_PORT": str(port), "BKG_PLUGIN_NAME": "demo"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert "unauthenticated" in done.stderr
        assert host.plugin("demo").state == "stopped"
        assert eventually(lambda: host.logs("host", text="unauthenticated"))


@pytest.mark.row("B4", "B7")
def test_while_the_real_one_runs_a_stranger_claiming_its_name_is_refused(
    node_workspace: Path,
) -> None:
    with Host(node_workspace) as host:
        host.start("demo")
        port = host.ports()[0]["port"]
        done = subprocess.run(
            ["node", "seed_plugin.mjs"],
            cwd=node_workspace / "plugins" / "demo",
            env={**os.environ, "BKG_PLUGIN_BUS_PORT": str(port), "BKG_PLUGIN_NAME": "demo"},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert host.call("demo.echo", {"still": "here"}) == {"still": "here"}
