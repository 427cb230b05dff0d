"""`bkg` against a live Host that another process runs, from end to end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.cli import checkup, codes
from bkg_workbench.cli.app import main
from tests.cli.bkg import Running, command, environment, nothing_left, run, running
from tests.helpers import eventually
from tests.plugins import CAPABILITIES, write_plugin

pytestmark = pytest.mark.timeout(180)

NEVER_UP = '#!/bin/sh\necho "preparing: nothing at all"\necho "no luck" >&2\nexit 78\n'

SLEEPY = '#!/bin/sh\necho "preparing: a long night"\nexec sleep 600\n'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Host with a plug-in that runs and ones that cannot, or not yet."""
    place = tmp_path_factory.mktemp("cli")
    workspace = place / "workspace"
    (workspace / "plugins").mkdir(parents=True)
    (workspace / "plugins" / "plugins.json").write_text("[]\n")
    write_plugin(workspace, autostart=True, capabilities=[*CAPABILITIES, "demo.promised"])
    write_plugin(workspace, "broken", code="", start=NEVER_UP)
    write_plugin(workspace, "sleepy", code="", start=SLEEPY)
    with running(workspace, "host", "--json", place=place) as one:
        one.wait_for('"state": "running"')
        yield one
    assert one.process.returncode == codes.OK, one.err.read_text()
    nothing_left(workspace)


@pytest.fixture(autouse=True)
def current(host: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKG_WORKSPACE", str(host.workspace))


@pytest.fixture
def bkg(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


def up(bkg: Any, name: str = "demo") -> None:
    assert bkg("start", name)[0] == codes.OK


# --- status -----------------------------------------------------------------------------------


def test_status_shows_host_plugins_and_what_they_can(bkg: Any, host: Running) -> None:
    up(bkg)
    code, out, _ = bkg("status")
    assert code == codes.OK
    assert f"Host of {host.workspace}: process {host.process.pid}" in out
    (row,) = [line for line in out.splitlines() if line.startswith("demo ")]
    assert "running" in row
    assert "demo.greet" in row


def test_status_for_machines_is_one_object_on_one_line(bkg: Any) -> None:
    _, out, _ = bkg("status", "--json")
    assert out.count("\n") == 1
    told = json.loads(out)
    assert {"host", "plugins", "samples", "notices"} == set(told)
    assert [p["name"] for p in told["plugins"]] == ["broken", "demo", "sleepy"]


def test_status_of_one_plugin_tells_its_story(bkg: Any) -> None:
    up(bkg)
    code, out, _ = bkg("status", "demo")
    assert code == codes.OK
    for text in ("wanted", "CAPABILITY", "story", "start asked", "starting"):
        assert text in out
    assert json.loads(bkg("status", "demo", "--json")[1])["plugin"]["state"] == "running"


def test_a_plugin_that_is_not_there_ends_with_4(bkg: Any) -> None:
    for line in ("status none", "start none", "logs none", "config get none"):
        code, _, err = bkg(*line.split())
        assert code == 4, line
        assert err.count("\n") == 1
        assert err.startswith("bkg: There is no plug-in named none")


def test_ports_shows_the_bus_and_the_gateway(bkg: Any, host: Running) -> None:
    row, api = json.loads(bkg("ports", "--json")[1])["ports"]
    assert row["name"] == "bus"
    assert row["url"] in bkg("ports")[1]
    assert (row["name"], api["name"]) == ("bus", "gateway")
    assert host.events("up")[0]["ports"] == [row, api]


# --- call -------------------------------------------------------------------------------------


def test_call_prints_the_result(bkg: Any) -> None:
    up(bkg)
    code, out, err = bkg("call", "demo.greet", '{"name": "Ada"}')
    assert (code, err) == (codes.OK, "")
    assert json.loads(out) == {"text": "Hello Ada"}
    assert out.count("\n") == 3
    assert bkg("call", "demo.greet", '{"name": "Ada"}', "--json")[1] == '{"text": "Hello Ada"}\n'


def test_call_takes_its_payload_from_stdin_and_from_a_file(host: Running, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"name": "file"}')
    run(host.workspace, "start", "demo")
    piped = run(host.workspace, "call", "demo.greet", "-", stdin='{"name": "pipe"}')
    read = run(host.workspace, "call", "demo.greet", f"@{file}")
    assert [json.loads(d.stdout)["text"] for d in (piped, read)] == ["Hello pipe", "Hello file"]


def test_call_prints_a_stream_piece_by_piece(bkg: Any) -> None:
    up(bkg)
    code, out, _ = bkg("call", "demo.count", '{"to": 3}', "--stream")
    assert code == codes.OK
    assert [json.loads(line) for line in out.splitlines()] == [{"number": n} for n in range(3)]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["demo.greet", '{"name" 1}'], 5, "line 1, column 9"),
        (["demo.greet", '{"nam": 1}'], 5, "The payload for demo.greet is not valid"),
        (["Demo Greet"], 5, "is no capability"),
        (["no.such"], 4, "No plug-in declares the capability no.such"),
        (["demo.promised"], 69, "demo.promised is declared by demo"),
        (["demo.fail"], 1, "demo failed while it served demo.fail"),
        (["demo.slow", "--timeout", "0.3"], 75, "No answer from demo.slow within"),
        (["host.config.get", '{"name": 1}'], 5, "/name"),
    ],
)  # fmt: skip
def test_a_call_that_fails_ends_with_its_code_and_one_sentence(
    bkg: Any, line: list[str], code: int, said: str
) -> None:
    up(bkg)
    ended, out, err = bkg("call", *line)
    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1


def test_an_error_for_machines_is_one_object_on_stderr(bkg: Any) -> None:
    up(bkg)
    code, _, err = bkg("call", "demo.fail", "--json", '{"how": "params"}')
    told = json.loads(err)
    assert (told["code"], told["exit"], code) == ("invalid_params", 5, 5)
    assert told["detail"]["errors"] == {"/how": "not that"}


# --- start, stop, restart ---------------------------------------------------------------------


def test_stop_and_start_wait_until_it_is_fact_and_show_how_it_goes(bkg: Any) -> None:
    up(bkg)
    code, out, err = bkg("stop", "demo")
    assert code == codes.OK
    assert out.startswith("demo: stopped")
    code, _, err = bkg("call", "demo.greet", '{"name": "x"}')
    assert code == 69
    code, out, err = bkg("start", "demo", "demo")
    assert code == codes.OK
    assert out.startswith("demo: running, process ")
    assert out.count("\n") == 1
    assert "demo: starting" in err
    before = json.loads(bkg("status", "demo", "--json")[1])["plugin"]["generation"]
    assert bkg("restart", "demo")[0] == codes.OK
    after = json.loads(bkg("status", "demo", "--json")[1])["plugin"]
    assert (after["state"], after["generation"] > before) == ("running", True)


def test_without_waiting_the_wish_is_taken_at_once(bkg: Any) -> None:
    up(bkg)
    code, out, _ = bkg("stop", "demo", "--no-wait")
    assert code == codes.OK
    assert out.startswith("demo: asked to be down")


def test_a_start_that_fails_shows_the_plugins_last_lines(bkg: Any) -> None:
    code, out, err = bkg("start", "broken")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    (sentence,) = [line for line in lines if line.startswith("bkg: ")]
    assert "broken did not start" in sentence
    assert any("no luck" in line for line in lines if line.startswith("  | "))
    code, _, err = bkg("start", "broken", "none", "demo", "--json")
    assert code == 1
    assert [json.loads(line)["code"] for line in err.splitlines()] == [
        "start_failed",
        "plugin_not_found",
    ]


def test_ctrl_c_while_a_start_is_waited_for_ends_with_130_and_no_more(
    host: Running, bkg: Any, tmp_path: Path
) -> None:
    with running(host.workspace, "start", "sleepy", place=tmp_path) as waiting:
        eventually(lambda: "preparing: a long night" in waiting.err.read_text(), 30)
        waiting.signal(signal.SIGINT)
        assert waiting.wait() == codes.INTERRUPTED
        assert waiting.out.read_text() == ""
        lines = waiting.err.read_text().split("\n")
    assert [line for line in lines if line and not line.startswith("sleepy: ")] == []
    assert bkg("stop", "sleepy")[0] == codes.OK


# --- logs -------------------------------------------------------------------------------------


def test_logs_are_searched(bkg: Any) -> None:
    up(bkg)
    for name in ("needle", "straw"):
        bkg("call", "demo.greet", f'{{"name": "{name}"}}')

    def texts(*options: str) -> list[str]:
        out = bkg("logs", "demo", "--json", *options)[1]
        return [json.loads(line)["message"] for line in out.splitlines()]

    eventually(lambda: texts("--text", "GREETING STRAW"))
    assert texts("--text", "needle")[-1] == "greeting needle"
    assert texts("--regex", "needle$")[-1] == "greeting needle"
    assert texts("--level", "error", "--text", "needle") == []
    assert len(texts("-n", "1")) == 1
    assert texts("-n", "0") == []
    code, _, err = bkg("logs", "--regex", "(")
    assert code == 5
    assert "regular expression" in err


def test_following_shows_what_comes_and_ends_with_130_on_ctrl_c(
    host: Running, bkg: Any, tmp_path: Path
) -> None:
    up(bkg)
    bkg("call", "demo.greet", '{"name": "before"}')
    with running(host.workspace, "logs", "demo", "-f", "--text", "greeting", place=tmp_path) as f:
        f.wait_for("greeting before")
        bkg("call", "demo.greet", '{"name": "during"}')
        f.wait_for("greeting during")
        f.signal(signal.SIGINT)
        assert f.wait() == codes.INTERRUPTED
        assert f.err.read_text().strip() == ""
        assert f.out.read_text().count("greeting during") == 1


def test_a_reader_that_goes_away_ends_the_command_quietly(host: Running, bkg: Any) -> None:
    up(bkg)
    bkg("call", "demo.greet", '{"name": "head"}')
    process = subprocess.Popen(
        command("logs", "-f"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(host.workspace),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        def ended() -> bool:
            bkg("call", "demo.greet", '{"name": "more"}')
            return process.poll() is not None

        eventually(ended, 30)
        assert process.returncode == codes.PIPE
        assert process.stderr.read() == ""


# --- config -----------------------------------------------------------------------------------


def test_settings_are_saved_listed_and_restored(bkg: Any) -> None:
    up(bkg)
    before = json.loads(bkg("config", "get", "demo", "--json")[1])
    first = before["version"]
    settings = '{"greeting": "Hi", "password": "s3cret"}'
    save = ("config", "save", "demo", settings, "--version", str(first), "--reason", "shorter")
    code, out, _ = bkg(*save)
    assert code == codes.OK
    assert f"version {first + 1} is saved" in out
    assert "in effect already" in out
    assert json.loads(bkg("call", "demo.greet", '{"name": "x"}')[1]) == {"text": "Hi x"}
    shown = bkg("config", "get", "demo")[1]
    assert '"greeting": "Hi"' in shown
    assert "s3cret" not in shown
    code, _, err = bkg(*save)
    assert code == 6
    assert f"at version {first + 1} by now" in err
    history = bkg("config", "history", "demo")[1]
    assert "shorter" in history
    assert '/settings/greeting: "Hi"' in history
    assert "s3cret" not in history
    code, out, _ = bkg("config", "restore", "demo", str(first), "--json")
    assert code == codes.OK
    assert json.loads(out) == {"name": "demo", "version": first + 2, "applied": "live"}
    versions = json.loads(bkg("config", "history", "demo", "--json")[1])["versions"]
    assert [v["version"] for v in versions][:2] == [first + 2, first + 1]
    assert versions[0]["author"]


def test_what_get_prints_is_what_save_takes(host: Running, bkg: Any) -> None:
    document = json.loads(bkg("config", "get", "demo", "--json")[1])
    document["settings"]["times"] = 2
    done = run(host.workspace, "config", "save", "demo", stdin=json.dumps(document))
    assert done.returncode == codes.OK, done.stderr
    after = json.loads(bkg("config", "get", "demo", "--json")[1])
    assert after["effective"]["times"] == 2
    assert after["version"] == document["version"] + 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["demo", '{"times": 2}'], "Give --version"),
        (["demo", '{"times": 99}', "--version", "VERSION"], "/times"),
        (["demo", "[]", "--version", "1"], "must be a JSON object"),
        (["demo", "{", "--version", "1"], "not valid JSON"),
    ],
)
def test_settings_that_will_not_do_end_with_5(bkg: Any, line: list[str], said: str) -> None:
    up(bkg)
    version = str(json.loads(bkg("config", "get", "demo", "--json")[1])["version"])
    given = [version if word == "VERSION" else word for word in line]
    code, _, err = bkg("config", "save", *given)
    assert code == 5
    assert said in err


# --- the Host as others see it ----------------------------------------------------------------


def test_a_second_host_says_who_is_the_first_and_ends_with_6(host: Running) -> None:
    done = run(host.workspace, "host")
    assert done.returncode == 6
    assert f"Process {host.process.pid} is the Host of {host.workspace}" in done.stderr
    assert "ws://127.0.0.1:" in done.stderr


def test_the_doctor_sees_the_live_host_and_its_port(host: Running) -> None:
    (finding,) = checkup.host(host.workspace)
    assert (finding.level, finding.text) == ("ok", f"running, process {host.process.pid}")
    assert "this workspace's Host" in " ".join(f.text for f in checkup.listening(host.workspace))
    assert {f.level for f in checkup.hidden(host.workspace)} == {"ok"}
