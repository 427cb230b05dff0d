"""`bkg dev` brings an edit into a running plug-in while requests go on."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench import Host
from bkg_workbench.cli import codes
from tests.cli.bkg import Running, running
from tests.helpers import eventually
from tests.plugins import DEMO, write_plugin

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def host(workspace: Path) -> Iterator[Host]:
    write_plugin(workspace)
    with Host(workspace) as host:
        yield host


@pytest.fixture
def dev(host: Host, workspace: Path, tmp_path: Path) -> Iterator[Running]:
    with running(workspace, "dev", "demo", "--json", place=tmp_path) as one:
        one.wait_for('"event": "watching"')
        yield one


def events(dev: Running, kind: str) -> list[dict[str, Any]]:
    whole = dev.out.read_text().rpartition("\n")[0]
    told = [json.loads(line) for line in whole.splitlines()]
    return [one for one in told if one.get("event") == kind]


def edit(workspace: Path, greeting: str) -> None:
    code = DEMO.replace('{"text": " ".join(', f'{{"text": "{greeting} " + " ".join(')
    assert code != DEMO
    (workspace / "plugins" / "demo" / "plugin.py").write_text(code)


def test_an_edit_under_load_costs_no_request_and_new_code_answers(
    host: Host, workspace: Path, dev: Running
) -> None:
    assert host.plugin("demo").state == "running"  # `dev` has started it
    answers: list[str] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(host.call("demo.greet", {"name": "Ada"})["text"])
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(answers) > 20, timeout=20)
        for greeting in ("Moin", "Servus"):
            edit(workspace, greeting)
            eventually(lambda: answers[-1] == f"{greeting} Hello Ada", timeout=40)  # noqa: B023
            eventually(lambda: events(dev, "restarted")[-1]["plugin"] == "demo", timeout=20)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []
    told = [answer.split()[0] for answer in answers]
    assert sorted(set(told), key=told.index) == ["Hello", "Moin", "Servus"]
    assert [e["files"] for e in events(dev, "changed")] == [["plugin.py"]] * 2


def test_code_that_cannot_work_is_not_started_until_all_of_it_can(
    host: Host, workspace: Path, dev: Running
) -> None:
    folder = workspace / "plugins" / "demo"
    pid = host.plugin("demo").pid
    (folder / "plugin.py").write_text("def broken(:\n")
    eventually(lambda: events(dev, "refused"), timeout=20)
    assert "line 1" in events(dev, "refused")[0]["text"]
    (folder / "helper.py").write_text("x = 1\n")
    eventually(lambda: len(events(dev, "refused")) == 2, timeout=20)
    (folder / "config.json").write_text("{")
    eventually(lambda: any(e["file"] == "config.json" for e in events(dev, "refused")), timeout=20)
    assert host.plugin("demo").pid == pid
    assert host.call("demo.greet", {"name": "Ada"})["text"] == "Hello Ada"
    (folder / "config.json").unlink()
    edit(workspace, "Moin")
    eventually(lambda: events(dev, "restarted"), timeout=30)
    assert host.call("demo.greet", {"name": "Ada"})["text"] == "Moin Hello Ada"


def test_one_that_does_not_come_up_is_told_and_the_next_edit_mends_it(
    host: Host, workspace: Path, dev: Running
) -> None:
    (workspace / "plugins" / "demo" / "plugin.py").write_text("raise SystemExit('no luck')\n")
    eventually(lambda: "did not start" in dev.err.read_text(), timeout=30)
    edit(workspace, "Moin")
    eventually(lambda: events(dev, "restarted"), timeout=30)
    assert host.call("demo.greet", {"name": "Ada"})["text"] == "Moin Hello Ada"


def test_logs_are_shown_and_ctrl_c_ends_the_watching_only(host: Host, dev: Running) -> None:
    pid = host.plugin("demo").pid
    host.call("demo.greet", {"name": "Grace"})
    dev.wait_for("greeting Grace")
    dev.signal(signal.SIGINT)
    assert dev.wait() == codes.OK
    assert events(dev, "ended")
    assert dev.err.read_text() == ""
    assert host.plugin("demo").pid == pid


def test_it_ends_with_3_when_the_host_goes(host: Host, dev: Running) -> None:
    host.close()
    assert dev.wait() == codes.NO_HOST
    assert "has gone" in dev.err.read_text()
