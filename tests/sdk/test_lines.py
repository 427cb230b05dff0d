"""The lines bridge: programs that read and write lines serve capabilities like any plug-in."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bkg_workbench import Host
from bkg_workbench.errors import PluginFailure, RequestTimeout, StartFailed, WorkbenchError
from bkg_workbench.protocol.state import PluginState
from bkg_workbench.sdk.linetext import (
    Answer,
    BadLine,
    Chunk,
    Log,
    Progress,
    Request,
    Status,
    Telemetry,
    cancel_line,
    declared,
    parse,
    response_line,
    variables,
)
from bkg_workbench.sdk.runner import WrongSetup
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

BRIDGE = '#!/bin/sh\nexec "$BKG_PYTHON" -m bkg_workbench.sdk.lines {} -- {}\n'

PROGRAM = r"""
import json, os, signal, sys

signal.signal(signal.SIGTERM, signal.SIG_IGN)
HELD = {}


def say(**line):
    print(json.dumps(line), flush=True)


say(
    type="register",
    capabilities=["demo.echo", "demo.held", "demo.count", "demo.odd", "demo.ask", "demo.die"],
    configSchema={"type": "object", "properties": {"maxSize": {"type": "integer", "default": 7}}},
    meta={"version": "2.1", "features": [{"title": "t", "text": "x"}],
          "schemas": {"demo.count": {"stream": True, "chunk": {"type": "integer"}}}},
)
say(type="log", level="warn", message="settings " + os.environ.get("BKG_SETTING_MAX_SIZE", "none"))
say(type="telemetry", entries=42, cpu=1)
print("chatter that is no line", flush=True)
for text in sys.stdin:
    line = json.loads(text)
    kind, number = line["type"], line.get("requestId")
    if kind == "cancel":
        say(type="log", message=f"cancelled {HELD.pop(number, None)}")
    elif kind == "response":
        say(type="response", requestId=HELD.pop(number), success=line["success"],
            data=line.get("data"), error=line.get("error"), code=line.get("code"))
    elif line["capability"] == "demo.echo":
        say(type="health", status="degraded", detail="half asleep")
        say(type="progress", requestId=number, value=1, total=2, message="half")
        say(type="response", requestId=number, success=True, data=line["payload"])
        # The held ones come after it: answers may come in any order.
        for held, capability in list(HELD.items()):
            say(type="response", requestId=held, success=True, data=capability)
            del HELD[held]
        say(type="response", requestId=number, success=True, data="a second answer")
    elif line["capability"] == "demo.held":
        HELD[number] = "held"
    elif line["capability"] == "demo.count":
        for one in range(3 if line.get("stream") else 0):
            say(type="chunk", requestId=number, data=one)
        say(type="response", requestId=number, success=True, data={"stream": line.get("stream")})
    elif line["capability"] == "demo.odd":
        print("ok\t%s\t{nonsense" % number, flush=True)
    elif line["capability"] == "demo.ask":
        HELD["mine"] = number
        say(type="request", requestId="mine", capability="other.hello", payload={},
            token=line["token"])
    elif line["capability"] == "demo.die":
        sys.exit(line["payload"]["code"])
say(type="log", message="the end of its input")
"""

CAPABILITIES = ["demo.echo", "demo.held", "demo.count", "demo.odd", "demo.ask", "demo.die"]


def write(workspace: Path, program: str = PROGRAM, options: str = "", **definition: Any) -> None:
    start = BRIDGE.format(options, '"$BKG_PYTHON" plugin.py')
    write_plugin(
        workspace, code=program, start=start, **{"capabilities": CAPABILITIES, **definition}
    )


def messages(host: Host) -> list[str]:
    return [record["message"] for record in host.logs("demo")]


# -- with real processes ------------------------------------------------------------------------
def test_a_program_of_lines_is_a_whole_plugin(workspace: Path) -> None:
    write(workspace, settings={"maxSize": 8})
    with Host(workspace) as host:
        host.start("demo")
        seen: list[Any] = []
        payload = {"text": "ä\t\n\u2028"}
        assert host.call("demo.echo", payload, on_progress=seen.append) == payload
        assert [p.message for p in seen] == ["half"]
        assert list(host.stream("demo.count")) == [0, 1, 2, {"stream": True}]
        assert host.call("demo.count") == {"stream": None}

        def degraded() -> PluginState | None:
            plugin = host.plugin("demo")
            return plugin if plugin.health and plugin.health.status == "degraded" else None

        assert eventually(lambda: "settings 8" in messages(host))
        assert eventually(lambda: any("chatter" in m for m in messages(host)))
        plugin = host.plugin("demo")
        assert plugin.meta["version"] == "2.1"
        assert plugin.meta["features"] == [{"title": "t", "text": "x"}]
        assert eventually(degraded, 15).health.detail == "half asleep"
        samples = eventually(lambda: [s for s in host.telemetry("demo") if "entries" in s], 15)
        assert samples[-1]["entries"] == 42
        assert host.stop("demo").last_exit == "exit 0"
        assert "the end of its input" in messages(host)


def test_answers_come_in_any_order_and_a_second_one_is_ignored(workspace: Path) -> None:
    write(workspace)
    with Host(workspace) as host, ThreadPoolExecutor(1) as pool:
        host.start("demo")
        held = pool.submit(host.call, "demo.held")
        # Each echo lets go of what is held by then.
        eventually(lambda: host.call("demo.echo", 1) == 1 and held.done())
        assert held.result() == "held"
        assert host.call("demo.echo", 2) == 2


def test_a_program_asks_others_for_its_caller(workspace: Path) -> None:
    write(workspace, calls=["other.hello"])
    other = (
        "from bkg_workbench.sdk import Plugin\nplugin = Plugin('other')\n"
        "@plugin.capability('other.hello')\nasync def hello() -> str:\n    return 'hello'\n"
        "plugin.run()\n"
    )
    write_plugin(workspace, "other", code=other, capabilities=["other.hello"])
    with Host(workspace) as host:
        host.start("demo")
        with pytest.raises(WorkbenchError, match="other"):
            host.call("demo.ask")
        host.start("other")
        assert host.call("demo.ask") == "hello"


def test_a_cancel_reaches_the_program(workspace: Path) -> None:
    write(workspace)
    with Host(workspace) as host:
        host.start("demo")
        with pytest.raises(RequestTimeout):
            host.call("demo.held", timeout=0.3)
        assert eventually(lambda: "cancelled held" in messages(host))


def test_an_answer_that_cannot_be_read_is_a_failure_at_once(workspace: Path) -> None:
    write(workspace)
    with Host(workspace) as host:
        host.start("demo")
        with pytest.raises(PluginFailure, match="no JSON"):
            host.call("demo.odd", timeout=20)
        assert host.call("demo.echo", 1) == 1


def test_when_the_program_ends_the_plugin_ends_with_its_status(workspace: Path) -> None:
    write(workspace, restart="never")
    with Host(workspace) as host:
        host.start("demo")
        with pytest.raises(WorkbenchError):
            host.call("demo.die", {"code": 9}, timeout=20)
        assert eventually(lambda: host.plugin("demo").last_exit == "exit 9", 15)
        assert eventually(lambda: any("ended by itself (9)" in m for m in messages(host)))


def test_new_settings_are_checked_and_need_a_restart(workspace: Path) -> None:
    write(workspace)
    with Host(workspace) as host:
        host.start("demo")
        version = host.config("demo")["version"]
        saved = host.save_config("demo", {"maxSize": 9}, version)
        assert saved["applied"] == "restart"
        assert host.save_config("demo", {"maxSize": 7}, saved["version"])["applied"] == "live"
        with pytest.raises(WorkbenchError, match="maxSize"):
            host.save_config("demo", {"maxSize": "x"}, saved["version"] + 1)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("./missing-program", "missing-program cannot be started"),
        ("true", "before its register line"),
        ("echo no json", "is not JSON"),
        ("echo '{}'", "has to register `capabilities`"),
        ('--register absent.json -- "$BKG_PYTHON" plugin.py', "absent.json cannot be read"),
    ],
)
def test_what_cannot_begin_fails_in_words_and_is_not_tried_again(
    workspace: Path, start: str, words: str
) -> None:
    line = start if " -- " in start else f"-- {start}"
    script = f'#!/bin/sh\nexec "$BKG_PYTHON" -m bkg_workbench.sdk.lines {line}\n'
    write_plugin(workspace, code="", start=script, capabilities=["demo.x"])
    with Host(workspace) as host:
        with pytest.raises(StartFailed) as failed:
            host.start("demo")
        assert words in "\n".join(failed.value.facts["log"])
        plugin = host.plugin("demo")
        assert (plugin.state, plugin.last_exit) == ("failed", "exit 78")


def test_with_tabs_and_a_register_file_a_shell_is_enough(workspace: Path) -> None:
    write_plugin(workspace, code="", start=BRIDGE.format("--tabs --register r.json", "./p.sh"),
                 capabilities=["demo.echo"], settings={"some.odd-Name": [1]})  # fmt: skip
    folder = workspace / "plugins" / "demo"
    (folder / "r.json").write_text('{"capabilities": ["demo.echo"]}')
    (folder / "p.sh").write_text(
        "#!/usr/bin/env bash\ntrap '' TERM\n"
        "while IFS=$'\\t' read -r how id capability payload; do\n"
        '  [[ $how == cancel ]] || printf \'ok\\t%s\\t["%s",%s,%s]\\n\' "$id" "$how" "$payload" '
        '"$BKG_SETTING_SOME_ODD_NAME"\ndone\n'
    )
    (folder / "p.sh").chmod(0o755)
    with Host(workspace) as host:
        host.start("demo")
        assert host.call("demo.echo", {"a": "b\tc\n"}) == ["request", {"a": "b\tc\n"}, [1]]
        assert host.stop("demo").last_exit == "exit 0"


# -- the text of the lines ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'ok\t1\t{"a": 1}\n', Answer("1", msgspec.Raw(b'{"a": 1}'))),
        (b"ok\t1\n", Answer("1")),
        (b"ok\t1\t\r\n", Answer("1")),
        (b"chunk\t7\t3\n", Chunk("7", msgspec.Raw(b"3"))),
        (b"log\twarn\ta\tb\n", Log("warn", "a\tb")),
        (b"health\tdown\tno disk\n", Status("down", "no disk")),
        (b"health\tup\n", Status("up")),
        (b'{"type":"chunk","requestId":"7","seq":9,"data":3}', Chunk("7", msgspec.Raw(b"3"))),
        (b'{"type":"progress","requestId":"7","value":1}', Progress("7", 1.0)),
        (b'{"type":"log","message":"x"}', Log("info", "x")),
        (b'{"type":"telemetry","cpu":1,"n":2,"flag":true}', Telemetry({"n": 2})),
        (b'{"type":"health","status":"degraded"}', Status("degraded")),
        (
            b'{"type":"request","requestId":"a","capability":"x.y","deadlineMs":500}',
            Request("a", "x.y", None, None, 0.5),
        ),
    ],
)
def test_lines_say_what_they_say(line: bytes, said: object) -> None:
    assert parse(line) == said


def test_errors_come_in_both_forms() -> None:
    tabs = parse(b"error\t3\tThe disk is full.\n")
    assert isinstance(tabs, Answer)
    assert isinstance(tabs.error, PluginFailure)
    assert str(tabs.error) == "The disk is full."
    full = parse(
        b'{"type":"response","requestId":"3","success":false,"error":"No.",'
        b'"code":"invalid_params","detail":{"errors":{"/a":"x"}}}'
    )
    assert isinstance(full, Answer)
    assert full.error is not None
    assert (full.error.code, full.error.facts) == ("invalid_params", {"errors": {"/a": "x"}})


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"\xff\n", None),
        (b"hello\n", None),
        (b"ok\n", None),
        (b"health\tsplendid\n", None),
        (b"ok\t5\t{nonsense\n", "5"),
        (b"{nonsense\n", None),
        (b'{"type":"welcome","requestId":"5"}', "5"),
        (b'{"type":"response","requestId":"5"}', "5"),
        (b'{"type":"progress","requestId":"5","value":"much"}', "5"),
        (b'{"type":"telemetry"', None),
    ],
)
def test_lines_that_are_none_say_for_which_request(line: bytes, number: str | None) -> None:
    with pytest.raises(BadLine) as bad:
        parse(line)
    assert bad.value.number == number


def test_what_goes_to_the_program_is_one_line_each() -> None:
    assert cancel_line("4", tabs=True) == b"cancel\t4\n"
    assert json.loads(cancel_line("4", tabs=False)) == {"type": "cancel", "requestId": "4"}
    line = response_line("4", msgspec.Raw(b'{\n "a": 1}'), None)
    assert line.count(b"\n") == 1
    assert json.loads(line)["data"] == {"a": 1}
    failed = json.loads(response_line("4", None, PluginFailure("No.")))
    assert (failed["success"], failed["code"]) == (False, "plugin_failure")


def test_settings_become_variables() -> None:
    found = variables({"maxFiles": 3, "HTTPPort": None, "a.b-c": "x\0y", "list": ["ä"]})
    assert found == {
        "BKG_SETTING_MAX_FILES": "3",
        "BKG_SETTING_HTTPPORT": "null",
        "BKG_SETTING_A_B_C": "xy",
        "BKG_SETTING_LIST": '["ä"]',
    }


@pytest.mark.parametrize(
    "text",
    [
        b"[]", b'{"type": "hello"}', b'{"capabilities": ["Bad"]}',
        b'{"capabilities": [], "configSchema": 7}', b'{"capabilities": [], "meta": []}',
        b'{"capabilities": [], "meta": {"schemas": {"a.b": 1}}}',
    ],
)  # fmt: skip
def test_a_register_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(WrongSetup):
        declared(text)
