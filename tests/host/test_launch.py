"""How a plug-in's process is made ready: what it may see, and what may be run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bkg_workbench.errors import StartFailed
from bkg_workbench.host import launch
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.protocol.definition import Definition, Limits

OUTER = {
    "PATH": "/usr/bin",
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "https_proxy": "http://proxy",
    "PIP_INDEX_URL": "https://index",
    "UV_CACHE_DIR": "/cache",
    "BKG_CACHE_DIR": "/bkg-cache",
    "ADMIN_PASSWORD": "s3cret",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "JUPYTER_TOKEN": "s3cret",
    "UV_PUBLISH_TOKEN": "s3cret",
    "GITHUB_TOKEN": "s3cret",
    "SSH_AUTH_SOCK": "s3cret",
    "LD_PRELOAD": "s3cret",
    "PYTHONPATH": "s3cret",
    "BKG_PLUGIN_BUS_TOKEN": "s3cret",
    "BKG_ANYTHING": "s3cret",
    "path": "s3cret",
}
KNOWN = {
    "BKG_PLUGIN_BUS_HOST",
    "BKG_PLUGIN_BUS_PORT",
    "BKG_PLUGIN_BUS_TOKEN",
    "BKG_PLUGIN_NAME",
    "BKG_PLUGIN_CONFIG_PATH",
    "BKG_PLUGIN_HISTORY_PATH",
    "BKG_DATABASE_PATH",
    "BKG_PYTHON",
    "BKG_INSTANCE",
    "BKG_WORKSPACE",
    "PYTHONUNBUFFERED",
}


def environment(workspace: Path, name: str = "hello", **env: str) -> dict[str, str]:
    disk = Workspace(workspace)
    disk.prepare()
    definition = Definition(name=name, env=env)
    return launch.environment(
        definition, disk, port=43_121, token="t0ken", instance="i1", outer=OUTER
    )


@pytest.fixture
def plugins(workspace: Path) -> Path:
    folder = workspace / "plugins"
    for name in ("hello", "other"):
        (folder / name).mkdir()
        (folder / name / "start.sh").write_text("#!/bin/sh\n")
    return folder


# -- environment ----------------------------------------------------------------------------------
def test_a_plugin_sees_what_is_allowed_and_the_contract_and_no_secret(workspace: Path) -> None:
    env = environment(workspace)
    allowed = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "https_proxy"}
    building = {"PIP_INDEX_URL", "UV_CACHE_DIR", "BKG_CACHE_DIR"}
    assert set(env) == allowed | building | KNOWN
    assert "s3cret" not in env.values()
    assert all(env[name] == OUTER[name] for name in allowed | building)


def test_the_contract_is_kept_to_the_letter(workspace: Path) -> None:
    env = environment(workspace)
    folder = workspace / ".bkg" / "plugins" / "hello"
    assert {name: env[name] for name in KNOWN} == {
        "BKG_PLUGIN_BUS_HOST": "127.0.0.1",
        "BKG_PLUGIN_BUS_PORT": "43121",
        "BKG_PLUGIN_BUS_TOKEN": "t0ken",
        "BKG_PLUGIN_NAME": "hello",
        "BKG_PLUGIN_CONFIG_PATH": str(folder / "config.runtime.json"),
        "BKG_PLUGIN_HISTORY_PATH": str(folder / "data" / "history.json"),
        "BKG_DATABASE_PATH": str(folder / "data" / "hello.db"),
        "BKG_PYTHON": sys.executable,
        "BKG_INSTANCE": "i1",
        "BKG_WORKSPACE": str(workspace),
        "PYTHONUNBUFFERED": "1",
    }
    assert (folder / "data").is_dir()


def test_apikeys_alone_gets_the_admin_password(workspace: Path) -> None:
    assert environment(workspace, "apikeys")["ADMIN_PASSWORD"] == "s3cret"
    assert "ADMIN_PASSWORD" not in environment(workspace, "goose")


def test_a_definitions_own_variables_come_before_the_machines_and_after_the_contract(
    workspace: Path,
) -> None:
    env = environment(workspace, PATH="/mine", MODEL="small", BKG_PLUGIN_NAME="apikeys")
    assert (env["PATH"], env["MODEL"], env["BKG_PLUGIN_NAME"]) == ("/mine", "small", "hello")


# -- entrypoint -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("entrypoint", "found"),
    [
        ("start.sh", "hello/start.sh"),
        ("./start.sh", "hello/start.sh"),
        ("../hello/start.sh", "hello/start.sh"),
        ("other/start.sh", "other/start.sh"),
        ("../other/start.sh", "other/start.sh"),
    ],
)
def test_an_entrypoint_lies_in_the_plugins_folder_or_is_shared(
    plugins: Path, entrypoint: str, found: str
) -> None:
    definition = Definition(name="hello", entrypoint=entrypoint)
    assert launch.entrypoint(definition, plugins) == plugins / found


def test_its_own_folder_comes_before_a_shared_one(plugins: Path) -> None:
    (plugins / "hello" / "other").mkdir()
    (plugins / "hello" / "other" / "start.sh").write_text("#!/bin/sh\n")
    definition = Definition(name="hello", entrypoint="other/start.sh")
    assert launch.entrypoint(definition, plugins) == plugins / "hello/other/start.sh"


@pytest.mark.parametrize(
    ("entrypoint", "reason"),
    [
        ("/bin/sh", "must be a relative path"),
        ("../../bin/x", "leaves plugins/"),
        ("../../../../../../../../bin/sh", "leaves plugins/"),
        ("../plugins-evil/start.sh", "does not exist|leaves plugins/"),
        ("../../plugins-evil/start.sh", "leaves plugins/"),
        ("..", "leaves plugins/"),
        ("missing.sh", "does not exist"),
        ("", "leaves plugins/|does not exist"),
        ("start.sh\x00", "does not exist"),
        ("~/start.sh", "does not exist"),
    ],
)
def test_nothing_else_is_run(plugins: Path, entrypoint: str, reason: str) -> None:
    evil = plugins.parent / "plugins-evil"
    evil.mkdir()
    (evil / "start.sh").write_text("#!/bin/sh\n")
    with pytest.raises(StartFailed, match=reason) as caught:
        launch.entrypoint(Definition(name="hello", entrypoint=entrypoint), plugins)
    assert caught.value.facts["plugin"] == "hello"


def test_no_link_leads_out_of_the_plugins_folder(plugins: Path) -> None:
    outside = plugins.parent / "outside"
    outside.mkdir()
    (outside / "start.sh").write_text("#!/bin/sh\n")
    (plugins / "hello" / "link.sh").symlink_to(outside / "start.sh")
    (plugins / "hello" / "folder").symlink_to(outside)
    (plugins / "linked").symlink_to(outside)
    (plugins / "hello" / "within.sh").symlink_to(plugins / "other" / "start.sh")
    for name, entrypoint in [
        ("hello", "link.sh"),
        ("hello", "folder/start.sh"),
        ("linked", "start.sh"),
    ]:
        with pytest.raises(StartFailed, match=r"a link out of plugins/"):
            launch.entrypoint(Definition(name=name, entrypoint=entrypoint), plugins)
    within = launch.entrypoint(Definition(name="hello", entrypoint="within.sh"), plugins)
    assert within == plugins / "hello" / "within.sh"


def test_the_plugins_folder_itself_may_be_a_link(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(plugins)
    found = launch.entrypoint(Definition(name="hello"), tmp_path / "linked")
    assert found == tmp_path / "linked" / "hello" / "start.sh"


def test_the_command_runs_beside_its_script_with_its_arguments_and_limits(plugins: Path) -> None:
    definition = Definition(
        name="hello", entrypoint="other/start.sh", args=["--model", "a b"], limits=Limits(nice=5)
    )
    made = launch.spec(definition, plugins, {"A": "1"})
    assert made.argv == (str(plugins / "other/start.sh"), "--model", "a b")
    assert (made.cwd, made.env, made.limits) == (plugins / "other", {"A": "1"}, Limits(nice=5))
    assert made.inside == plugins


def test_the_admin_password_is_for_the_first_start_alone(workspace: Path) -> None:
    assert "ADMIN_PASSWORD" in environment(workspace, "apikeys")
    (workspace / ".bkg" / "plugins" / "apikeys" / "data" / "apikeys.db").touch()
    assert "ADMIN_PASSWORD" not in environment(workspace, "apikeys")
