"""A folder becomes a plug-in and goes again, through a Host and without one; no edit is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench import Host, attach
from bkg_workbench.cli.app import main
from bkg_workbench.errors import AlreadyRegistered, InvalidParams, PluginNotFound, WorkspaceOwned
from bkg_workbench.host.inventory import offline
from tests.helpers import eventually, is_alive
from tests.plugins import CAPABILITIES, DEMO, write_plugin

pytestmark = pytest.mark.timeout(120)

START = '#!/bin/sh\nexec "$BKG_PYTHON" plugin.py\n'

Bkg = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plug-in of somebody's, outside the workspace; its start.sh has lost its run bit."""
    place = tmp_path / "theirs" / "demo"
    (place / "__pycache__").mkdir(parents=True)
    (place / "__pycache__" / "x.pyc").write_text("")
    (place / ".git").mkdir()
    (place / "node_modules" / "ws").mkdir(parents=True)
    (place / "node_modules" / "ws" / "index.js").write_text("")
    (place / "plugin.py").write_text(DEMO)
    (place / "start.sh").write_text(START)
    (place / "config.json").write_text('{"greeting": "Salve"}')
    return place


@pytest.fixture(params=["host", "offline"])
def bkg(
    request: pytest.FixtureRequest, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Bkg]:
    """Run `bkg plugins … --json` with a Host and without one: (exit code, what it said)."""

    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = main(["plugins", *arguments, "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out or said.err)

    with maybe_host(workspace, request.param == "host"):
        yield call


@contextmanager
def maybe_host(workspace: Path, is_wanted: bool) -> Iterator[None]:
    if not is_wanted:
        yield
        return
    with Host(workspace):
        yield


def mirror(workspace: Path) -> dict[str, dict[str, Any]]:
    entries = json.loads((workspace / "plugins" / "plugins.json").read_text())
    return {entry["name"]: entry for entry in entries}


def hidden(workspace: Path) -> list[str]:
    return sorted(p.name for p in (workspace / "plugins").iterdir() if p.name.startswith("."))


# -- add ------------------------------------------------------------------------------------------
def test_a_folder_is_copied_defined_and_serves(workspace: Path, folder: Path) -> None:
    with Host(workspace) as host, attach(workspace) as other:
        added = other.add_plugin(folder, capabilities=CAPABILITIES, author="Ada")
        assert (added.name, added.state) == ("demo", "stopped")
        host.start("demo")
        assert host.call("demo.greet", {"name": "Ada"})["text"] == "Salve Ada"
        assert host.config_history("demo")[0]["author"] == "Ada"
        assert [n.text for n in host.state.notices] == []
    copy = workspace / "plugins" / "demo"
    assert {p.name for p in copy.iterdir()} >= {"start.sh", "plugin.py", "node_modules"}
    assert not (copy / ".git").exists()
    assert not (copy / "start.sh").samefile(folder / "start.sh")
    assert not os.access(folder / "start.sh", os.X_OK)
    assert hidden(workspace) == []


def test_add_takes_a_name_autostart_and_capabilities(
    bkg: Bkg, workspace: Path, folder: Path
) -> None:
    code, said = bkg(
        "add", str(folder), "--name", "other", "--autostart",
        "--capability", "demo.greet", "--capability", "demo.count",
    )  # fmt: skip
    assert code == 0
    assert said["definition"]["name"] == "other"
    entry = mirror(workspace)["other"]
    assert entry["autostart"] is True
    assert entry["capabilities"] == ["demo.greet", "demo.count"]
    assert (workspace / "plugins" / "other" / "start.sh").exists()
    assert bkg("add", str(folder), "--name", "other")[0] == 6


def test_a_folder_of_plugins_is_taken_as_it_is_and_may_be_shared(
    bkg: Bkg, workspace: Path, folder: Path
) -> None:
    place = folder.rename(workspace / "plugins" / "demo")
    (place / "start.sh").chmod(0o755)
    assert bkg("add", str(place), "--capability", "demo.greet")[0] == 0
    assert bkg("add", str(place), "--autostart")[0] == 0
    assert mirror(workspace)["demo"]["capabilities"] == ["demo.greet"]
    assert mirror(workspace)["demo"]["autostart"] is True
    assert bkg("add", str(place), "--name", "second")[0] == 0
    assert mirror(workspace)["second"]["entrypoint"] == "demo/start.sh"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "start.sh").unlink(), "start.sh is not there"),
        (lambda f: (f / "start.sh").write_text("exec true"), "no interpreter line"),
        (lambda f: (f / "start.sh").write_text("#!/bin/sh\r\n"), "CRLF"),
        (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: os.mkfifo(f / "pipe"), "cannot be copied"),
        (lambda f: (f / "start.sh").rename(f / "x") and (f / "start.sh").symlink_to("/bin/sh"),
         "outside"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_and_leaves_nothing(
    workspace: Path, folder: Path, change: Callable[[Path], Any], says: str
) -> None:
    change(folder)
    with Host(workspace) as host:
        with pytest.raises(InvalidParams, match=says) as caught:
            host.add_plugin(folder)
        assert ".adding" not in str(caught.value)
        assert host.plugins() == []
    assert mirror(workspace) == {}
    assert [p.name for p in (workspace / "plugins").iterdir()] == ["plugins.json"]


def test_names_and_places_that_do_not_fit_are_refused(workspace: Path, folder: Path) -> None:
    with Host(workspace) as host:
        for wrong in ("Not A Name", "", "../x", "a" * 33):
            with pytest.raises(InvalidParams, match="is no name of a plug-in"):
                host.add_plugin(folder, name=wrong or " ")
        with pytest.raises(InvalidParams, match=r"--name"):
            host.add_plugin(folder.rename(folder.with_name("Großer Name")))
        with pytest.raises(InvalidParams, match="is no folder"):
            host.add_plugin(workspace / "nowhere")
        with pytest.raises(InvalidParams, match="is no capability"):
            host.add_plugin(workspace, capabilities=["host.stop"])
        (workspace.parent / "start.sh").write_text(START)
        with pytest.raises(InvalidParams, match="has this workspace in it"):
            host.add_plugin(workspace.parent, name="all")
        with pytest.raises(InvalidParams):
            host.call("host.plugins.add", {"folder": "relative/folder"})


def test_an_edit_by_hand_that_waits_is_taken_first(bkg: Bkg, workspace: Path, folder: Path) -> None:
    assert bkg("add", str(folder), "--name", "first")[0] == 0
    entries = json.loads((workspace / "plugins" / "plugins.json").read_text())
    entries[0]["description"] = "by hand"
    (workspace / "plugins" / "plugins.json").write_text(json.dumps(entries))
    assert bkg("add", str(folder), "--name", "second")[0] == 0
    entries = json.loads((workspace / "plugins" / "plugins.json").read_text())
    entries[1]["description"] = "by hand too"
    (workspace / "plugins" / "plugins.json").write_text(json.dumps(entries))
    assert bkg("remove", "first")[0] == 0
    assert {n: e["description"] for n, e in mirror(workspace).items()} == {"second": "by hand too"}
    assert list((workspace / "plugins").glob("plugins.json.*")) == []


def test_an_edit_that_is_torn_is_neither_taken_nor_lost(workspace: Path, folder: Path) -> None:
    with Host(workspace) as host:
        host.add_plugin(folder, name="first")
        (workspace / "plugins" / "plugins.json").write_text('[{"name": "first", "descr')
        host.add_plugin(folder, name="second")
        assert {p.name for p in host.plugins()} == {"first", "second"}
        eventually(lambda: list((workspace / "plugins").glob("plugins.json.invalid-*")), timeout=15)

        def is_written_anew() -> bool:
            try:
                return set(mirror(workspace)) == {"first", "second"}
            except (FileNotFoundError, ValueError):  # put aside, and not written yet
                return False

        eventually(is_written_anew)


# -- remove ---------------------------------------------------------------------------------------
def test_remove_stops_it_and_keeps_its_files(workspace: Path) -> None:
    write_plugin(workspace, autostart=True)
    with Host(workspace) as host:
        pid = host.start("demo").pid
        done = host.remove_plugin("demo")
        assert done == {
            "name": "demo",
            "deleted": [],
            "kept": ["plugins/demo", ".bkg/plugins/demo"],
        }
        assert not is_alive(pid)
        assert host.plugins() == []
        assert "demo" not in host.state.plugins
        with pytest.raises(PluginNotFound):
            host.remove_plugin("demo")
        assert host.add_plugin(workspace / "plugins" / "demo").state == "stopped"


def test_remove_deletes_files_where_asked_but_no_shared_ones(
    bkg: Bkg, workspace: Path, folder: Path
) -> None:
    assert bkg("add", str(folder))[0] == 0
    shared = workspace / "plugins" / "demo"
    assert bkg("add", str(shared), "--name", "second")[0] == 0
    (workspace / ".bkg" / "plugins" / "second" / "data").mkdir(parents=True, exist_ok=True)
    _, said = bkg("remove", "second", "--delete-files")
    assert said["deleted"] == [".bkg/plugins/second"]
    assert (shared / "start.sh").exists()
    _, said = bkg("remove", "demo", "--delete-files")
    assert "plugins/demo" in said["deleted"]
    assert not shared.exists()
    assert hidden(workspace) == []
    assert mirror(workspace) == {}


def test_what_is_not_there_ends_with_4_and_a_taken_name_with_6(
    bkg: Bkg, workspace: Path, folder: Path
) -> None:
    assert bkg("remove", "nobody")[0] == 4
    assert bkg("rebuild", "nobody")[0] == 4
    assert bkg("add", str(folder / "none"))[0] == 5
    assert bkg("add", str(folder))[0] == 0
    code, said = bkg("add", str(folder))
    assert (code, said["code"]) == (6, AlreadyRegistered.code)


async def test_no_host_starts_while_files_are_changed_without_one(workspace: Path) -> None:
    async with offline(workspace):
        with pytest.raises(WorkspaceOwned):
            Host(workspace)


# -- rebuild --------------------------------------------------------------------------------------
BUILT = '#!/bin/sh\nset -e\n"$BKG_PYTHON" -m bkg_workbench.plugin_env . >&2\nexec "$BKG_PYTHON" plugin.py\n'  # noqa: E501


def test_rebuild_restarts_one_that_is_up_in_a_new_environment(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKG_CACHE_DIR", str(tmp_path / "cache"))
    write_plugin(workspace, start=BUILT)
    write_plugin(workspace, "plain")
    place = workspace / "plugins" / "demo"
    with Host(workspace) as host:
        with pytest.raises(InvalidParams, match=r"no pyproject\.toml"):
            host.rebuild("plain")
        (place / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1"\n')
        (place / "requirements.lock").write_text("# nothing\n")
        # One that is down gets it at its next start.
        assert host.rebuild("demo").state == "stopped"
        first = host.start("demo")
        link = workspace / ".bkg" / "plugins" / "demo" / "venv"
        mark = link / "mark"
        mark.write_text("")
        host.restart("demo")
        assert mark.exists()
        again = host.rebuild("demo")
        assert again.state == "running"
        assert again.pid != first.pid
        assert not mark.exists()
        assert (link / "bin" / "python").exists()
        host.restart("demo")
        assert len(host.logs("demo", text="environment ready")) == 2
        assert [p.name for p in (tmp_path / "cache" / "envs").iterdir() if p.is_dir()] == [
            link.resolve().name
        ]
