"""`bkg new plugin`: what it makes works at once, in every language."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bkg_workbench import Host
from bkg_workbench.cli import codes
from bkg_workbench.cli.scaffold import TEMPLATES, Scaffold
from bkg_workbench.errors import InvalidParams
from bkg_workbench.testing import plugin_host
from tests.cli.bkg import run

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "node", "shell")

pytestmark = pytest.mark.timeout(180)


def definitions(workspace: Path) -> dict[str, dict[str, object]]:
    entries = json.loads((workspace / "plugins" / "plugins.json").read_text())
    return {entry["name"]: entry for entry in entries}


def make(workspace: Path, name: str, *options: str) -> Path:
    """The folder of a new plug-in."""
    done = run(workspace, "new", "plugin", name, *options)
    assert (done.returncode, done.stderr) == (0, "")
    return workspace / "plugins" / name


# -- what is made works -------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGUAGES)
def test_it_keeps_to_the_protocol_at_once(
    workspace: Path, node_modules: Path, tmp_path: Path, lang: str
) -> None:
    folder = make(workspace, "load-test", "--lang", lang)
    if lang == "node":
        (folder / "node_modules").symlink_to(node_modules)
    report = tmp_path / "report.xml"
    done = run(
        workspace, "conformance", "--json", "--junit", str(report),
        "--capability", "load_test.greet", "--payload", '{"name": "Ada"}',
        "--capability", "load_test.count", "--payload", '{"to": 3}',
        "--", str(folder / "start.sh"),
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert [c for c in found["checks"] if c["verdict"] == "fail"] == []
    assert (done.returncode, found["passed"], found["plugin"]) == (0, True, "load-test")
    skipped = {c["id"] for c in found["checks"] if c["verdict"] == "skip"}
    assert skipped <= {"seed.alone", "wire.requests", "wire.telemetry"}
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "0"
    assert suite.get("tests") == str(len(found["checks"]))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_it_answers_in_a_host(workspace: Path, node_modules: Path, lang: str) -> None:
    folder = make(workspace, "hello", "--lang", lang)
    if lang == "node":
        (folder / "node_modules").symlink_to(node_modules)
    capabilities = ["hello.greet", "hello.count"]
    name = 'Ada "the first" \\ ä\n'
    with plugin_host(folder, capabilities=capabilities, settings={"greeting": "Moin"}) as host:
        assert host.call("hello.greet", {"name": name}) == {"text": f"Moin, {name}!"}
        assert list(host.stream("hello.count", {"to": 2})) == [{"number": 1}, {"number": 2}]
        assert host.call("hello.count", {"to": 2})["chunks"] == [{"number": 1}, {"number": 2}]
        with pytest.raises(InvalidParams):
            host.call("hello.greet", {"nom": "Ada"})
        version = host.config("hello")["version"]
        saved = host.save_config("hello", {"greeting": 'Say "\\'}, version)
        if saved["applied"] == "restart":
            host.restart("hello")
        assert host.call("hello.greet", {"name": "Ada"}) == {"text": 'Say "\\, Ada!'}


@pytest.mark.slow
def test_its_own_test_passes(workspace: Path) -> None:
    folder = make(workspace, "hello")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=workspace,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_a_running_host_knows_it_at_once(workspace: Path) -> None:
    with Host(workspace) as host:
        make(workspace, "hello", "--lang", "shell", "--description", 'Greets "people" & | more')
        plugin = host.plugin("hello")
        assert plugin.definition.description == 'Greets "people" & | more'
        assert host.start("hello").state == "running"
        assert host.call("hello.greet", {"name": "Ada"}) == {"text": "Hello, Ada!"}
        assert host.config_history("hello")[0]["author"]
        again = run(workspace, "new", "plugin", "hello")
        assert again.returncode == codes.exit_code(InvalidParams())
        assert "has a plug-in hello already" in again.stderr
    assert "hello" in definitions(workspace)


def test_it_says_what_was_made_and_what_to_do_next(workspace: Path) -> None:
    done = run(workspace, "new", "plugin", "hello")
    assert done.stdout.splitlines()[0].endswith("plugins/hello.")
    for words in ("bkg start hello", "bkg call hello.greet", "bkg conformance -- ", "pytest"):
        assert words in done.stdout
    made = json.loads(run(workspace, "new", "plugin", "other", "--json").stdout)
    assert made["files"] == ["config.json", "plugin.py", "start.sh", "tests/test_plugin.py"]
    assert (made["defined"], made["definition"]["name"]) == (True, "other")
    page = workspace / "docs" / "plugins" / "other.md"
    assert made["page"] == str(page)
    for target in re.findall(r"\]\((\.\./[^)]*)\)", page.read_text()):
        assert (page.parent / target).is_file(), target


# -- nothing is lost, nothing is left half done -------------------------------------------------
def test_edits_by_hand_are_kept(workspace: Path) -> None:
    make(workspace, "first")
    mirror = workspace / "plugins" / "plugins.json"
    entries = json.loads(mirror.read_text())
    entries[0]["autostart"] = True
    entries[0]["colour"] = "green"
    entries.append({"name": "mine", "capabilities": ["mine.work"]})
    mirror.write_text(json.dumps(entries))
    done = run(workspace, "new", "plugin", "second")
    assert done.returncode == 0
    assert "edited by hand; taken: first" in done.stderr
    found = definitions(workspace)
    assert set(found) == {"first", "mine", "second"}
    assert (found["first"]["autostart"], found["first"]["colour"]) == (True, "green")
    assert found["mine"]["capabilities"] == ["mine.work"]


def test_a_page_that_is_there_stays(workspace: Path) -> None:
    page = workspace / "docs" / "plugins" / "hello.md"
    page.parent.mkdir(parents=True)
    page.write_text("mine")
    done = run(workspace, "new", "plugin", "hello")
    assert "docs/plugins/hello.md was left as it is" in done.stdout
    assert page.read_text() == "mine"


def test_a_folder_that_is_there_is_refused_and_left_alone(workspace: Path) -> None:
    folder = workspace / "plugins" / "hello"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    done = run(workspace, "new", "plugin", "hello")
    assert done.returncode == 5
    assert "hello" in done.stderr
    assert os.listdir(folder) == ["mine.txt"]
    assert [p.name for p in (workspace / "plugins").iterdir() if p.name.startswith(".hello")] == []


def test_without_its_definition_the_folder_is_taken_away_again(workspace: Path) -> None:
    make(workspace, "first")
    with (workspace / ".bkg" / "host.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(workspace, "new", "plugin", "second")
    assert done.returncode == 6
    assert "starting" in done.stderr
    assert sorted(p.name for p in (workspace / "plugins").iterdir()) == ["first", "plugins.json"]


def test_outside_a_workspace_it_is_made_without_a_definition(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    done = run(tmp_path, "new", "plugin", "hello", "--dir", str(elsewhere), "--lang", "shell")
    assert done.returncode == 0
    assert '"capabilities": ["hello.greet", "hello.count"]' in done.stdout
    folder = elsewhere / "hello"
    assert os.access(folder / "plugin.sh", os.X_OK)
    page = (folder / "README.md").read_text()
    for target in re.findall(r"\]\(([^)]*)\)", page):
        assert (folder / target).is_file(), target


# -- names and options --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Hello", {}, "cannot name a plug-in"),
        ("1st", {}, "cannot name a plug-in"),
        ("../up", {}, "cannot name a plug-in"),
        ("x" * 33, {}, "cannot name a plug-in"),
        ("hello\n", {}, "cannot name a plug-in"),
        ("host", {}, "the Host's own"),
        ("hello", {"lang": "node", "own_environment": True}, "is for --lang python"),
        ("hello", {"description": "two\nlines"}, "one line"),
        ("hello", {"description": "x" * 201}, "one line"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    name: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidParams, match=words):
        Scaffold(name, **{"lang": "python", "description": "", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", ["a", "load-test", "x_1", "a--b_", "z" * 32])
def test_every_name_gives_files_without_a_mark_left(lang: str, name: str) -> None:
    scaffold = Scaffold(name, lang, "About")
    for place, text in {**scaffold.files(), "page": scaffold.page("plugins/x")}.items():
        assert re.findall("@[A-Z]+@", text) == [], place
        assert text.endswith("\n"), place
        if place.endswith(".json"):
            json.loads(text)
        if place.endswith(".py"):
            compile(text, place, "exec")
    start = scaffold.files()["start.sh"]
    assert "exec" in start.splitlines()[-1] or "exec" in start.splitlines()[-2]


def test_an_environment_of_its_own_has_the_locked_versions_of_the_workbench() -> None:
    files = Scaffold("hello", "python", "", own_environment=True).files()
    assert "plugin_env" in files["start.sh"]
    lock = files["requirements.lock"]
    ours = re.findall(r"^[a-z]+==\S+", lock, re.MULTILINE)
    assert [line.partition("==")[0] for line in ours] == ["msgspec", "psutil", "websockets"]
    theirs = (ROOT / "requirements.lock").read_text()
    assert [line for line in ours if f"\n{line} " not in f"\n{theirs}"] == [], "run `make lock`"
    for block in re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block


def test_the_scripts_of_the_templates_are_sound() -> None:
    for file in sorted(TEMPLATES.rglob("*.sh.template")):
        text = file.read_text().replace("@AREA@", "demo").replace("@NAME@", "demo")
        shell = "bash" if "bash" in text.splitlines()[0] else "sh"
        done = subprocess.run(
            [shell, "-n"], input=text, text=True, capture_output=True, check=False
        )
        assert done.stderr == "", file


# -- fetching Node packages ---------------------------------------------------------------------
def start_node(folder: Path, cache: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    """Run its start.sh without a bus: it ends as soon as the program has its packages."""
    path = f"{tools}:{os.environ['PATH']}"
    return subprocess.run(
        [str(folder / "start.sh")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": path, "HOME": str(cache), "BKG_CACHE_DIR": str(cache)},
    )


def test_node_packages_are_fetched_once_and_shared(
    workspace: Path, node_modules: Path, tmp_path: Path
) -> None:
    folder = make(workspace, "hello", "--lang", "node")
    tools, cache = tmp_path / "tools", tmp_path / "cache"
    tools.mkdir()
    npm = tools / "npm"
    npm.write_text(
        f'#!/bin/sh\necho run >> "{tmp_path}/ran"\ncp -r "{node_modules}" node_modules\n'
    )
    npm.chmod(0o755)
    first = start_node(folder, cache, tools)
    assert "preparing: fetching" in first.stderr
    assert (first.returncode, "BKG_PLUGIN_BUS_PORT is not set" in first.stderr) == (78, True)
    second = start_node(folder, cache, tools)
    assert (second.returncode, "preparing" in second.stderr) == (78, False)
    assert (tmp_path / "ran").read_text() == "run\n"
    assert len(list((cache / "node").iterdir())) == 1
    assert not (folder / "node_modules").exists()


def test_without_a_network_it_says_what_to_do(workspace: Path, tmp_path: Path) -> None:
    folder = make(workspace, "hello", "--lang", "node")
    tools, cache = tmp_path / "tools", tmp_path / "cache"
    tools.mkdir()
    npm = tools / "npm"
    npm.write_text("#!/bin/sh\necho no route >&2\nexit 1\n")
    npm.chmod(0o755)
    done = start_node(folder, cache, tools)
    assert done.returncode == 1
    assert "bring its node_modules folder here" in done.stderr
    assert list((cache / "node").iterdir()) == []


def test_without_node_it_is_not_tried_again(workspace: Path, tmp_path: Path) -> None:
    folder = make(workspace, "hello", "--lang", "node")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(folder / "start.sh")], capture_output=True, text=True, check=False, timeout=30,
        env={"PATH": str(tools)},
    )  # fmt: skip
    assert (done.returncode, "node is not installed" in done.stderr) == (78, True)
