"""What a real program may write to its stdout and stderr, and what the log makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bkg_workbench import Host
from tests.bus.raw import resident_bytes
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

START = """#!/bin/sh
exec "$BKG_PYTHON" -c '
import os, sys
out = os.fdopen(1, "wb", buffering=0)
def say(data):
    while data:
        data = data[out.write(data):]
say(b"begin\\n")
say(bytes(b for b in range(256) if b != 10) + b"\\n")
say(b"\\x1b[31mred\\x1b[0m \\x1b]52;c;cm0gLXJm\\x07")
say(b"\\x1b]8;;https://evil\\x1b\\\\link <b>bold</b>\\n")
say(b"half\\r100 %\\n")
say(b"using bkg_0123456789ab_AbC-_9 and Bearer abc.def.ghi password=hunter2\\n")
say(b"a" + b"x" * 100_000 + b"\\nafter the long one\\n")
line = b"y" * 1_000_000
for _ in range(100):
    say(line)
say(b"\\nafter the endless one\\n")
import json
forged = {"seq": 1, "at": 1, "plugin": "host", "source": "host", "message": "forged"}
say(json.dumps(forged).encode() + b"\\r\\n")
say("first\\u2028second\\x85third\\x0bfourth\\n".encode())
sys.stderr.write("Traceback (most recent call last):\\n")
sys.stderr.flush()
say(b"no newline at the end")
sys.exit(78)
'
"""


@pytest.mark.row("L3", "L4", "L5", "L6", "L7", "L14", "L15")
def test_a_program_that_writes_anything_gets_lines_that_are_safe_to_read(workspace: Path) -> None:
    write_plugin(workspace, start=START, code="")
    with Host(workspace) as host:
        before = resident_bytes()
        host.start("demo", wait=False)
        eventually(lambda: host.plugin("demo").state == "failed", timeout=60)
        eventually(lambda: host.logs("demo", text="no newline at the end"), timeout=10)
        grown = resident_bytes() - before
        records = host.logs("demo", limit=1_000)
    lines = [r["message"] for r in records if r["source"] == "stdout"]
    assert lines[0] == "begin"
    assert "ABC" in lines[1]
    assert lines[2:4] == ["red link <b>bold</b>", "100 %"]
    assert lines[4] == "using bkg_0123456789ab_*** and Bearer *** password=***"
    assert lines[5].startswith("axxx")
    assert lines[5].endswith(f"…[+{100_001 - 16_384} bytes]")
    assert lines[6] == "after the long one"
    assert lines[7].endswith(f"…[+{100_000_000 - 16_384} bytes]")
    assert lines[8] == "after the endless one"
    assert json.loads(lines[9])["message"] == "forged"  # a text, and of this plug-in
    assert lines[-1] == "no newline at the end"
    assert all("\n" not in line and "\x1b" not in line and "\r" not in line for line in lines)
    assert {r["plugin"] for r in records} == {"demo"}
    assert [r["message"] for r in records if r["source"] == "stderr"] == [
        "Traceback (most recent call last):"
    ]
    assert grown < 50e6
    # On disk each record is one line, whatever its text held.
    file = (workspace / ".bkg" / "logs" / "demo.jsonl").read_text()
    kept = [json.loads(line) for line in file.splitlines()]
    assert [k["seq"] for k in kept] == sorted(k["seq"] for k in kept)
    assert kept[: len(records)] == list(records)
    assert "hunter2" not in file
