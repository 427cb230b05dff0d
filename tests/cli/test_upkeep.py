"""`bkg backup`, `restore` and `logs --export` as they are typed."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.cli import codes
from bkg_workbench.cli.app import main
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

Bkg = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bkg(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Bkg:
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_backup_and_restore_say_what_they_did(bkg: Bkg, workspace: Path, tmp_path: Path) -> None:
    write_plugin(workspace)
    file = tmp_path / "b.tar.gz"
    with Host(workspace) as host:
        code, out, err = bkg("backup", str(file))
        assert (code, err) == (codes.OK, "")
        assert str(file) in out
        assert "secrets in clear; only you can read it (0600)" in out
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        host.remove_plugin("demo")
        code, _, err = bkg("restore", str(file))
        assert code == 6
        assert "bkg call host.stop" in err
    code, out, _ = bkg("restore", str(file))
    assert code == codes.OK
    assert ".bkg/before-restore-" in out
    assert "demo" in (workspace / "plugins" / "plugins.json").read_text()
    assert bkg("backup", str(file))[0] == 5


def test_backup_and_restore_for_machines(bkg: Bkg, workspace: Path) -> None:
    made = json.loads(bkg("backup", "--json")[1])
    assert Path(made["file"]).stat().st_size == made["size"]
    assert (made["leftOut"], made["files"]) == ([], 1)
    done = json.loads(bkg("restore", made["file"], "--json")[1])
    assert done["workspace"] == str(workspace)
    assert Path(done["before"]).is_dir()
    code, _, err = bkg("restore", str(workspace / "none"), "--json")
    assert (code, json.loads(err)["code"]) == (5, "workspace_error")


def test_logs_are_exported_searched_by_time_and_refused_together(
    bkg: Bkg, workspace: Path, tmp_path: Path
) -> None:
    write_plugin(workspace)
    with Host(workspace) as host:
        host.start("demo")
        for number in range(120):
            host.call("demo.greet", {"name": f"n{number}"})
        eventually(lambda: host.logs("demo", text="greeting n119"))
        file = tmp_path / "demo.csv"
        code, out, _ = bkg("logs", "demo", "--text", "greeting", "--export", str(file))
        assert (code, out) == (codes.OK, f"120 records written to {file}.\n")
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["message"] for row in rows] == [f"greeting n{n}" for n in range(120)]
        assert len(bkg("logs", "demo", "--since", "10m", "--json")[1].splitlines()) == 100
        assert bkg("logs", "demo", "--until", "10m", "--json")[1] == ""
        assert bkg("logs", "demo", "-f", "--export", str(file))[0] == 5
        code, _, err = bkg("logs", "demo", "--since", "soon")
        assert code == 5
        assert "give 10m" in err
