"""The doctor sees what is broken, says how to mend it, and changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import locale
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bkg_workbench.cli import checkup, codes, doctor, machine
from bkg_workbench.cli.app import main
from bkg_workbench.cli.findings import Check, Finding
from tests.plugins import write_plugin

Look = Callable[[Path | None], Iterable[Finding]]


def found(look: Look, root: Path | None = None) -> dict[str, list[Finding]]:
    """Findings by level."""
    levels: dict[str, list[Finding]] = {}
    for finding in look(root):
        levels.setdefault(finding.level, []).append(finding)
    return levels


def only(look: Look, root: Path | None, level: str) -> Finding:
    """The one finding of `level`."""
    findings = found(look, root).get(level, [])
    assert len(findings) == 1, findings
    return findings[0]


# --- plug-ins ---------------------------------------------------------------------------------


def test_a_sound_plugin_is_in_order(workspace: Path) -> None:
    write_plugin(workspace)
    levels = found(checkup.plugins, workspace)
    assert set(levels) == {"ok"}
    assert [f.name for f in levels["ok"]] == ["plug-ins", "demo"]


@pytest.mark.parametrize(
    ("start", "level", "said"),
    [
        ('#!/bin/sh\nexec "$BKG_PYTHON" plugin.py\r\n', "FAIL", "Windows line ends"),
        ('exec "$BKG_PYTHON" plugin.py\n', "FAIL", "no interpreter line"),
        ("#!/no/such/shell\nexec x\n", "FAIL", "/no/such/shell"),
        ('#!/bin/sh\n"$BKG_PYTHON" plugin.py\n', "warn", "is not `exec`"),
        ("#!/usr/bin/env bash\n# exec x\n", "warn", "there is none"),
    ],
)
def test_a_start_script_that_would_not_do_is_named(
    workspace: Path, start: str, level: str, said: str
) -> None:
    write_plugin(workspace, start=start)
    finding = only(checkup.plugins, workspace, level)
    assert finding.name == "demo"
    assert said in finding.text
    assert finding.mend


@pytest.mark.parametrize(
    "start",
    [
        '#!/bin/sh\nexec "$BKG_PYTHON" \\\n  plugin.py\n\n# the end\n',
        '#!/bin/sh\nif test -n "$X"; then\n  exec a\nelse\n  exec b\nfi\n',
        "#!/usr/bin/env python3\nprint()\n",
    ],
)
def test_a_start_script_that_hands_over_is_in_order(workspace: Path, start: str) -> None:
    write_plugin(workspace, start=start)
    assert set(found(checkup.plugins, workspace)) == {"ok"}


def test_a_start_script_without_its_run_bit_is_mended_by_chmod(workspace: Path) -> None:
    write_plugin(workspace)
    script = workspace / "plugins" / "demo" / "start.sh"
    script.chmod(0o644)
    assert only(checkup.plugins, workspace, "FAIL").mend == f"run: chmod +x {script}"


def test_an_entrypoint_that_is_missing_or_outside_is_named(workspace: Path) -> None:
    write_plugin(workspace, entrypoint="none.sh")
    assert "does not exist" in only(checkup.plugins, workspace, "FAIL").text
    write_plugin(workspace, entrypoint="../../start.sh")
    assert "leaves plugins/" in only(checkup.plugins, workspace, "FAIL").text


@pytest.mark.parametrize(
    ("mirror", "said"),
    [("[{", "not JSON"), ("{}", "not an array"), ('[{"name": "Bad Name"}]', "item 1")],
)
def test_a_plugins_json_that_cannot_be_read_is_named(
    workspace: Path, mirror: str, said: str
) -> None:
    (workspace / "plugins" / "plugins.json").write_text(mirror)
    assert said in only(checkup.plugins, workspace, "FAIL").text


def test_defaults_must_be_a_json_object(workspace: Path) -> None:
    write_plugin(workspace)
    for content in ("{", "[]", "\udcff"):
        file = workspace / "plugins" / "demo" / "config.json"
        file.write_text(content, errors="surrogateescape")
        assert "config.json" in only(checkup.plugins, workspace, "FAIL").text


def test_an_environment_is_built_gone_or_yet_to_come(workspace: Path, tmp_path: Path) -> None:
    write_plugin(workspace)
    (workspace / "plugins" / "demo" / "pyproject.toml").write_text("")
    assert "first start builds" in only(checkup.plugins, workspace, "info").text
    link = workspace / ".bkg" / "plugins" / "demo" / "venv"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "gone")
    assert "has gone" in only(checkup.plugins, workspace, "info").text
    (tmp_path / "gone" / "bin").mkdir(parents=True)
    (tmp_path / "gone" / "bin" / "python").write_text("")
    assert str(tmp_path / "gone") in found(checkup.plugins, workspace)["ok"][1].text


# --- .bkg and the Host ------------------------------------------------------------------------


def test_a_workspace_that_never_ran_is_in_order(workspace: Path) -> None:
    assert set(found(checkup.hidden, workspace)) == {"ok"}
    assert set(found(checkup.host, workspace)) == {"info"}


def test_modes_that_let_others_in_are_broken(workspace: Path) -> None:
    hidden = workspace / ".bkg"
    hidden.mkdir(mode=0o700)
    assert set(found(checkup.hidden, workspace)) == {"ok"}
    hidden.chmod(0o755)
    assert only(checkup.hidden, workspace, "FAIL").mend == f"chmod 700 {hidden}"
    hidden.chmod(0o700)
    (hidden / "host.json").write_text("{}")
    (hidden / "host.json").chmod(0o640)
    assert "its token" in only(checkup.hidden, workspace, "FAIL").text
    (hidden / "host.json").chmod(0o600)
    (hidden / "bkg.db").touch()
    (hidden / "bkg.db").chmod(0o666)
    assert "others could write" in only(checkup.hidden, workspace, "FAIL").text


def test_what_a_killed_host_left_is_told_from_a_host(workspace: Path) -> None:
    hidden = workspace / ".bkg"
    hidden.mkdir(mode=0o700)
    (hidden / "host.json").write_text("{}")
    assert "left from one that was killed" in only(checkup.host, workspace, "warn").text


def test_a_host_that_does_not_answer_is_broken(workspace: Path) -> None:
    from bkg_workbench.host.workspace import Workspace

    held = Workspace(workspace)
    held.prepare()
    held.lock()
    try:
        assert "does not answer" in only(checkup.host, workspace, "FAIL").text
    finally:
        held.unlock()


# --- ports ------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterable[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_held_is_broken(
    workspace: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKG_WEB_PORT", str(taken))
    finding = only(checkup.listening, workspace, "FAIL")
    assert f"{taken} (BKG_WEB_PORT) is held by process {os.getpid()}" in finding.text
    assert finding.mend == "free it, or unset BKG_WEB_PORT"


def test_a_default_port_that_is_held_is_only_told(
    workspace: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(checkup.ports.DEFAULTS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(checkup.ports.DEFAULTS, name, taken)
    levels = found(checkup.listening, workspace)
    assert set(levels) == {"info"}
    assert "another will be taken" in levels["info"][0].text


def test_the_ports_of_the_live_host_are_its_own(
    workspace: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "_own_ports", lambda _: {"bus": taken})
    assert (
        f"{taken} (BKG_PLUGIN_BUS_PORT): this" in found(checkup.listening, workspace)["ok"][0].text
    )


def test_a_variable_that_is_no_port_is_broken(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKG_API_PORT", "http")
    assert "no port" in only(checkup.listening, workspace, "FAIL").text


# --- the machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look",
    [machine.python, machine.package, machine.notebook, machine.kernel, machine.language],
    ids=lambda look: str(look.__name__),
)
def test_this_machine_is_in_order(look: Look) -> None:
    assert "FAIL" not in found(look)


def test_a_library_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "IMPORTED", ("msgspec",))
    assert only(machine.imports, None, "ok").text == "1 load"
    monkeypatch.setattr(machine, "IMPORTED", ("msgspec", "no_such_library"))
    finding = only(machine.imports, None, "FAIL")
    assert "no_such_library does not load" in finding.text
    assert "pip install" in (finding.mend or "")


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("no-such-library>=1", "no-such-library is missing"),
        ("msgspec>=999", "wanted is >=999"),
        ("no-such-library; sys_platform == 'win32'", None),
        ("no-such-library; extra == 'proxy'", None),
    ],
)
def test_requirements_are_compared_with_what_is_installed(
    requirement: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: [requirement])
    failed = found(machine.package).get("FAIL", [])
    assert [said in f.text for f in failed] == ([True] if said else [])


def test_an_asset_that_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "ASSETS", {"labextensions/none/package.json": "anywidget"})
    finding = only(machine.notebook, None, "FAIL")
    assert "labextensions/none" in finding.text
    assert finding.mend == "pip install --force-reinstall anywidget"


def test_programs_that_are_missing_are_no_more_than_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    levels = found(machine.tools)
    assert {f.name for f in levels["warn"]} == {"bash", "git"}
    assert {f.name for f in levels["info"]} == {"uv", "node", "chromium"}


def test_an_old_locale_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda _=True: "ANSI_X3.4-1968")
    assert "LANG=C.UTF-8" in (only(machine.language, None, "warn").mend or "")


def test_a_full_disk_is_broken_and_a_nearly_full_one_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BKG_CACHE_DIR", str(tmp_path / "cache"))
    usage = shutil.disk_usage(tmp_path)
    for free, level in ((10 * 2**20, "FAIL"), (2**30, "warn"), (2**40, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert [f.name for f in found(machine.disk, tmp_path)[level]] == ["disk", "cache"]


# --- the whole --------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checks that load the notebook libraries."""
    monkeypatch.setattr(machine, "CHECKS", (Check("Python", machine.python),))


@pytest.mark.usefixtures("quick")
def test_the_doctor_ends_with_1_where_something_is_broken(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plugin(workspace)
    assert main(["doctor", "--json"]) == codes.OK
    assert json.loads(capsys.readouterr().out)["ok"] is True
    (workspace / "plugins" / "demo" / "start.sh").unlink()
    assert main(["doctor", "--json"]) == codes.FAILED
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [f["name"] for f in told["findings"] if f["level"] == "FAIL"] == ["demo"]
    assert main(["doctor"]) == codes.FAILED
    text = capsys.readouterr().out
    assert "FAIL  demo" in text
    assert "1 broken" in text


@pytest.mark.usefixtures("quick")
def test_the_doctor_works_without_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BKG_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == codes.OK
    assert "bkg init DIR" in capsys.readouterr().out
    assert main(["doctor", "--workspace", str(tmp_path / "none")]) == codes.FAILED


def test_a_check_that_fails_itself_is_told_and_hides_no_other() -> None:
    def broken(_: Path | None) -> Iterable[Finding]:
        raise PermissionError("no")

    (finding,) = doctor.examine(Check("the moon", broken), None)
    assert (finding.level, finding.name) == ("warn", "the moon")
    assert "PermissionError: no" in finding.text


@pytest.mark.usefixtures("quick")
def test_the_doctor_changes_nothing(workspace: Path) -> None:
    write_plugin(workspace)
    before = {p: p.stat().st_mtime_ns for p in workspace.rglob("*")}
    main(["doctor", "--json"])
    assert {p: p.stat().st_mtime_ns for p in workspace.rglob("*")} == before


@pytest.mark.slow
def test_everything_that_the_notebook_needs_loads_here() -> None:
    assert set(found(machine.imports)) == {"ok"}
