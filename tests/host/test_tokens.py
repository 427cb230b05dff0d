"""Where tokens are, and where they are not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bkg_workbench import Host, attach
from tests.helpers import eventually
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(60)

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.row("B28")
def test_tokens_lie_where_they_must_and_nowhere_else(workspace: Path) -> None:
    write_plugin(workspace)
    with Host(workspace) as host, attach(workspace) as bench:
        host.start("demo")
        tokens = {host._engine.token, *host._engine.spawn_tokens.values()}
        assert len(tokens) == 2
        bench.call("demo.greet", {"name": "Ada"})
        with pytest.raises(Exception, match=r"demo\.fail"):
            bench.call("demo.fail", {})
        host.restart("demo")
        tokens |= set(host._engine.spawn_tokens.values())
        assert len(tokens) == 3
        eventually(lambda: bench.logs("demo", text="greeting"))
        shown = [repr(host), repr(bench), str(bench.state), str(bench.info())]
        shown += [str(bench.ports()), str(list(bench.logs())), str(list(bench.events()))]
        shown += [str(list(bench.calls())), str(bench.config("demo"))]
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                shown.append(command.read_bytes().decode(errors="replace"))
            except OSError:  # it has gone
                continue
        files = {file: _content(file) for file in workspace.rglob("*") if file.is_file()}
    for token in tokens:
        assert not [text for text in shown if token in text]
        holders = [file for file, content in files.items() if token.encode() in content]
        assert {file.name for file in holders} <= {"host.json"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in holders if file.exists()} <= {0o600}
    assert not (workspace / ".bkg" / "host.json").exists()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.mark.row("B29")
def test_the_limit_of_what_tokens_can_keep_apart_is_written_down() -> None:
    text = (DOCS / "architecture.md").read_text()
    assert "## Where trust ends" in text
    section = text.split("## Where trust ends")[1].split("\n## ")[0]
    assert "same user" in section
    assert "environment" in section
