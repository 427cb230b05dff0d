"""`bkg conformance`: the report for people, for machines, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bkg_workbench.cli.parser import make_parser
from tests.cli.bkg import run

RAW = Path(__file__).resolve().parents[1] / "testing" / "raw_plugin.py"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The start script of a plug-in that takes its faults as arguments."""
    folder = tmp_path / "raw"
    folder.mkdir()
    shutil.copy(RAW, folder / "plugin.py")
    start = folder / "start.sh"
    start.write_text('#!/bin/sh\nexec "$BKG_PYTHON" plugin.py "$@"\n')
    start.chmod(0o755)
    return start


def test_a_good_plugin_ends_with_0_and_a_table(tmp_path: Path, script: Path) -> None:
    done = run(tmp_path, "conformance", "--only", "answer.unknown", str(script))
    assert done.returncode == 0, done.stdout
    assert "pass  answer.unknown  MUST" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("raw keeps to the protocol: 4 passed")
    assert done.stderr == ""


def test_a_fault_ends_with_1_its_reason_and_its_place_in_junit(
    tmp_path: Path, script: Path
) -> None:
    junit = tmp_path / "report.xml"
    done = run(
        tmp_path, "conformance", "--only", "answer.unknown", "--only", "register", "--timeout", "1",
        "--junit", str(junit), "--", str(script), "mute-unknown", "--only",
    )  # fmt: skip
    assert done.returncode == 1
    assert "MUST answer.unknown: " in done.stdout
    assert "  came: nothing within 3 s" in done.stdout
    assert "raw does not keep to the protocol" in done.stdout
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    [failure] = suite.iter("failure")
    assert "expected: one response" in (failure.text or "")


def test_with_json_the_report_is_one_object(tmp_path: Path, script: Path) -> None:
    done = run(
        tmp_path, "conformance", "--json", "--name", "other", "--only", "start", "--",
        str(script), "token-in-register",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"], report["plugin"]) == (0, True, "other")
    assert report["command"] == [str(script), "token-in-register"]
    assert {c["id"] for c in report["checks"]} == {"start.script", "start.connects", "start.token"}


def test_a_payload_goes_with_the_capability_before_it() -> None:
    line = ["conformance", "--capability", "a.b", "--capability", "c.d", "--payload", "1", "x.sh"]
    arguments = make_parser().parse_args(line)
    assert arguments.samples == [["a.b", None], ["c.d", "1"]]
    assert arguments.program == ["x.sh"]
    for wrong in (["--payload", "1"], ["--capability", "a.b", "--payload", "1", "--payload", "2"]):
        with pytest.raises(SystemExit):
            make_parser().parse_args(["conformance", *wrong, "x.sh"])


def test_what_stands_after_the_dashes_is_the_plugins() -> None:
    line = ["conformance", "--timeout", "3", "--", "./start.sh", "--timeout", "9", "--", "-x"]
    arguments = make_parser().parse_args(line)
    assert arguments.timeout == 3
    assert arguments.program == ["./start.sh", "--timeout", "9", "--", "-x"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give the command"),
        (["./absent.sh"], "is not there"),
        (["--only", "nonsense", "start.sh"], "nonsense is no check"),
        (["--settings", "[]", "start.sh"], "must be a JSON object"),
        (["--junit", "absent/x.xml", "start.sh"], "is no directory"),
        (["--capability", "a.b", "--payload", "{", "start.sh"], "not valid JSON"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, script: Path, words: list[str], said: str
) -> None:
    given = [str(script) if word == "start.sh" else word for word in words]
    done = run(tmp_path, "conformance", *given)
    assert done.returncode == 5, done.stderr
    assert said in done.stderr
