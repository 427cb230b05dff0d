"""The conformance kit: the good pass, and each fault is found by the check that names it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bkg_workbench.errors import InvalidParams
from bkg_workbench.testing import Report, check_conformance
from bkg_workbench.testing.conformance import CHECKS, Result
from tests.helpers import processes_of

RAW = Path(__file__).with_name("raw_plugin.py")
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = {"raw.echo": {"text": "hi"}, "raw.count": {"to": 3}}

pytestmark = pytest.mark.timeout(180)


def raw_plugin(place: Path, *faults: str, start: str | None = None) -> Path:
    """The start script of a raw plug-in with these faults."""
    folder = place / "raw"
    folder.mkdir()
    shutil.copy(RAW, folder / "plugin.py")
    script = folder / "start.sh"
    line = start or f'exec "$BKG_PYTHON" plugin.py {" ".join(faults)}'
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    return script


def check(script: Path, **options: Any) -> Report:
    return check_conformance(script, samples=SAMPLES, **options)


def faults_of(report: Report) -> dict[str, str]:
    return {r.id: r.reason for r in report.results if r.verdict == "fail"}


# -- what is good -------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_plugin_that_keeps_to_the_protocol_passes_every_check(tmp_path: Path) -> None:
    heard: list[Result] = []
    report = check(raw_plugin(tmp_path, "bearer"), on_result=heard.append)
    assert faults_of(report) == {}
    assert report.passed
    assert list(report.results) == heard
    assert [r.id for r in report.results] == [c.id for c in CHECKS]
    skipped = {r.id for r in report.results if r.verdict == "skip"}
    assert skipped == {"seed.alone", "wire.requests"}
    report.require()


@pytest.mark.slow
def test_a_plugin_of_the_seed_passes_and_never_sees_the_additions(tmp_path: Path) -> None:
    report = check(raw_plugin(tmp_path, "seed"))
    assert faults_of(report) == {}
    assert report.of("seed.alone").verdict == "pass"
    for id in ("deadline.answered", "cancel.answered", "stream.closed", "config.answered"):
        assert report.of(id).verdict == "skip"
        assert "meta.protocol" in report.of(id).reason


@pytest.mark.slow
def test_the_seed_plugin_in_node_passes(tmp_path: Path, node_modules: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(ROOT / "tests" / "node", folder)
    (folder / "node_modules").symlink_to(node_modules)
    report = check_conformance(folder / "start.sh", samples={"demo.echo": {"text": "hi"}})
    assert faults_of(report) == {}
    assert report.plugin == "demo"


@pytest.mark.slow
def test_repoagent_passes() -> None:
    report = check_conformance(
        ROOT / "plugins" / "repoagent" / "start.sh", samples={"repo.search": {"query": "flock"}}
    )
    assert faults_of(report) == {}


def test_a_token_may_come_in_the_register(tmp_path: Path) -> None:
    report = check(raw_plugin(tmp_path, "token-in-register"), only=["register"])
    assert report.of("start.token").reason == "by register.token"
    assert report.passed


def test_without_a_token_it_is_known_by_its_process(tmp_path: Path) -> None:
    report = check(raw_plugin(tmp_path), only=["register"])
    assert "by its process" in report.of("start.token").reason
    assert report.passed


# -- what is not --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("faults", "only", "expected"),
    [
        ("attach", "register", {"start.connects": "/attach"}),
        ("log-first", "register", {"register.first": "me first"}),
        ("no-capabilities-field", "register", {"register.fields": "capabilities"}),
        (
            "wrong-token bad-name bad-capability bad-config-schema bad-schema no-config-file",
            "register",
            {
                "start.token": "another token in register.token",
                "register.name": "a register as somebody",
                "register.capabilities": "'Not A Name'",
                "register.config-schema": "strong",
                "register.meta": "meta.schemas[raw.echo].input",
                "register.config-file": "BKG_PLUGIN_CONFIG_PATH",
            },
        ),
        ("no-beat", "beat.first", {"beat.first": "no health envelope within 5 s"}),
        ("one-beat", "beat", {"beat.interval": "1 beats, then nothing"}),
        ("own-interval", "beat", {"beat.interval": "heartbeatSeconds 1 in the welcome"}),
        ("mute-unknown", "answer.unknown", {"answer.unknown": "nothing within"}),
        (
            "wrong-id",
            "answer.unknown answer.once",
            {
                "answer.unknown": "expected: one response with this requestId",
                "answer.once": "no request has this requestId",
            },
        ),
        ("twice", "answer.unknown answer.once", {"answer.once": "was answered 2 times"}),
        ("no-sentence", "answer.unknown answer.once", {"answer.once": "a sentence in `error`"}),
        ("bad-output", "answer.each answer.output", {"answer.output": "data that matches"}),
        ("dies-of-odd", "input.odd", {"input.odd": "exit 3"}),
        ("dies-of-huge", "input.huge", {"input.huge": "exit 3"}),
        ("answers-unknown", "input.unknown", {"input.unknown": "conformance.future"}),
        ("drops-cancelled", "cancel", {"cancel.answered": "nothing within"}),
        ("answers-cancel", "cancel", {"cancel.answered": "nothing to the cancels"}),
        (
            "gap always-streams",
            "stream wire.streams",
            {
                "stream.closed": "seq 0, 2, 3",
                "stream.whole": "3 chunks",
                "wire.streams": "seq 1 was due",
            },
        ),
        ("late-chunk", "stream wire.streams", {"wire.streams": "came after the response"}),
        ("endless-stream", "stream.closed", {"stream.closed": "expected: one response"}),
        ("no-config", "config.answered", {"config.answered": "nothing within"}),
        ("odd-config", "config.answered", {"config.answered": '"done"'}),
        (
            "early-progress not-json bad-log bad-telemetry",
            "answer.unknown wire",
            {
                "wire.additions": "before it was welcomed",
                "wire.envelopes": "{nonsense",
                "wire.logs": "loud",
                "wire.telemetry": "entries is no number",
            },
        ),
        (
            "bad-beat bad-timestamp",
            "answer.unknown wire",
            {"wire.envelopes": "splendid", "wire.logs": "yesterday"},
        ),
        ("ignores-term", "stop", {"stop.exits": "was killed"}),
        ("exit-code", "stop", {"stop.status": "exit 7"}),
    ],
)
def test_each_fault_fails_the_check_that_names_it(
    tmp_path: Path, faults: str, only: str, expected: dict[str, str]
) -> None:
    script = raw_plugin(tmp_path, *faults.split())
    report = check(script, only=only.split(), timeout=1)
    found = faults_of(report)
    for id, words in expected.items():
        assert words in found.get(id, f"no fault: {report.as_json()}")
    assert set(found) == set(expected)
    assert not report.passed


def test_settings_that_are_not_read_are_a_fault_that_fails_nothing(tmp_path: Path) -> None:
    report = check(raw_plugin(tmp_path, "no-config-file"), only=["register"])
    assert set(faults_of(report)) == {"register.config-file"}
    assert report.passed


def test_the_reason_says_what_was_sent_what_came_and_what_was_expected(tmp_path: Path) -> None:
    report = check(raw_plugin(tmp_path, "mute-unknown"), only=["answer.unknown"], timeout=1)
    reason = report.of("answer.unknown").reason
    assert reason.startswith('sent: {"type": "request", "requestId": "c1"')
    assert "; came: nothing within 3 s; expected: one response with this requestId" in reason
    with pytest.raises(AssertionError, match=r"answer\.unknown"):
        report.require()


def test_one_that_stays_when_the_bus_is_gone_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bkg_workbench.testing.conformance.ending.RETURN_SECONDS", 1.0)
    report = check(raw_plugin(tmp_path, "stays"), only=["bus"])
    assert "does neither" in faults_of(report)["bus.gone"]


def test_one_that_never_connects_fails_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = raw_plugin(tmp_path, start="echo no compiler here >&2; exit 3")
    report = check(script)
    reason = faults_of(report).pop("start.connects")
    assert "exit 3" in reason
    assert "no compiler here" in reason
    assert set(faults_of(report)) == {"start.connects"}
    assert report.of("answer.each").verdict == "skip"


def test_one_that_says_nothing_fails_with_its_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bkg_workbench.testing.conformance.stage.REGISTER_SECONDS", 0.5)
    monkeypatch.setattr("bkg_workbench.testing.conformance.stage.CONNECT_SECONDS", 2.0)
    (tmp_path / "quiet").mkdir()
    program = (
        "import os, time; from websockets.sync.client import connect; "
        "c = connect('ws://127.0.0.1:' + os.environ['BKG_PLUGIN_BUS_PORT']); time.sleep(60)"
    )
    report = check(raw_plugin(tmp_path, start=f'exec "$BKG_PYTHON" -c "{program}"'))
    assert "came: nothing" in faults_of(report)["register.first"]


def test_a_browsers_handshake_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = check(raw_plugin(tmp_path, "origin"), only=["register"])
    assert "without an Origin header" in faults_of(report)["start.connects"]


def test_a_script_without_a_run_bit_is_named(tmp_path: Path) -> None:
    script = raw_plugin(tmp_path)
    script.chmod(0o644)
    report = check(script, only=["register"])
    assert "chmod +x" in faults_of(report)["start.script"]


def test_a_program_that_leaves_a_child_behind_has_it_killed(tmp_path: Path) -> None:
    line = '(trap "" TERM; sleep 60) & exec "$BKG_PYTHON" plugin.py'
    report = check(raw_plugin(tmp_path, start=line), only=["stop"])
    assert "stop.exits" in faults_of(report)


def test_a_destructive_capability_is_not_asked_without_a_sample(tmp_path: Path) -> None:
    script = raw_plugin(tmp_path)
    program = script.with_name("plugin.py")
    program.write_text(
        program.read_text().replace('{"idempotent": True, ', '{"destructive": True, ')
    )
    report = check_conformance(script, only=["answer.each", "answer.concurrent"])
    assert "raw.echo is destructive; give --capability" in report.of("answer.each").reason
    assert report.of("answer.concurrent").reason == "20 x raw.count"
    report = check(script, only=["answer.concurrent"])
    assert report.of("answer.concurrent").reason == "20 x raw.echo"


def test_a_sample_that_fails_and_one_for_nothing_are_faults(tmp_path: Path) -> None:
    script = raw_plugin(tmp_path)
    report = check_conformance(script, samples={"raw.other": {}}, only=["register"])
    assert "a sample for raw.other" in faults_of(report)["register.capabilities"]


# -- the report ---------------------------------------------------------------------------------
def report_of(*results: Result, log: tuple[str, ...] = ()) -> Report:
    return Report("demo", ("./start.sh",), results, log)


def test_junit_is_xml_that_says_what_the_report_says() -> None:
    bad = "came: \x1b[31m<&>\ud800\x00; expected: text"
    report = report_of(
        Result("a.good", "a & b", "MUST", "pass", "fine", 0.25),
        Result("a.bad", "<c>", "MUST", "fail", bad),
        Result("a.weak", "d", "SHOULD", "fail", "not so good"),
        Result("a.none", "e", "MUST", "skip", "nothing to see"),
        log=("last \x07 line",),
    )
    assert not report.passed
    suite = ElementTree.fromstring(report.as_junit()).find("testsuite")
    assert suite is not None
    assert {k: suite.get(k) for k in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4", "failures": "1", "skipped": "2", "errors": "0",
    }  # fmt: skip
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["a.good: a & b"].get("time") == "0.250"
    failure = cases["a.bad: <c>"].find("failure")
    assert failure is not None
    assert "<&>\ufffd\ufffd; expected: text" in (failure.text or "")
    weak = cases["a.weak: d"].find("skipped")
    assert weak is not None
    assert "SHOULD, and does not: not so good" in weak.get("message", "")
    assert (suite.findtext("system-out") or "").startswith("last")


def test_a_should_alone_fails_nothing() -> None:
    report = report_of(Result("a.weak", "d", "SHOULD", "fail", "not so good"))
    assert report.passed
    assert (report.count("fail"), report.count("pass")) == (1, 0)
    report.require()
    assert json.loads(json.dumps(report.as_json()))["passed"] is True


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "Give the command"),
        (["./not-there.sh"], "is not there"),
        (["."], "is a directory"),
        (["no-such-program-anywhere"], "no program"),
    ],
)
def test_a_command_that_is_none_is_refused(command: list[str], words: str) -> None:
    with pytest.raises(InvalidParams, match=words):
        check_conformance(command)


def test_a_check_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidParams, match=r"answers is no check; there are: start\.script"):
        check_conformance([sys.executable], only=["answers"])


def test_every_check_has_an_id_of_its_own() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert all(check.requirement in ("MUST", "SHOULD") and check.title for check in CHECKS)


def test_a_run_leaves_nothing_behind_though_it_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def cut(result: Result) -> None:
        if result.id == "register.first":
            raise KeyboardInterrupt

    script = raw_plugin(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        check(script, on_result=cut)
    assert list(tmp_path.glob("bkg-conformance-*")) == []
    assert processes_of(tmp_path) == {}
