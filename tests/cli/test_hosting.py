"""`bkg host` in the foreground: what it prints, and that its end leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from bkg_workbench.cli import codes
from tests.cli import bkg
from tests.cli.bkg import command, environment, nothing_left, run, running
from tests.helpers import eventually, processes_of
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(180)

STUBBORN = "#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 1 & wait $!; done\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_closes_in_order_and_leaves_no_process(
    workspace: Path, tmp_path: Path, number: signal.Signals
) -> None:
    write_plugin(workspace, autostart=True)
    with running(workspace, "host", "--json", place=tmp_path) as host:
        host.wait_for('"state": "running"')
        assert len(processes_of(workspace)) >= 2
        host.signal(number)
        assert host.wait() == codes.OK
        assert host.err.read_text() == ""
        assert [e["event"] for e in host.events()][-2:] == ["closing", "closed"]
        assert host.events("closing")[0]["why"] == number.name
        nothing_left(workspace, 2.0)
    assert not (workspace / ".bkg" / "host.json").exists()
    assert run(workspace, "status").returncode == codes.NO_HOST


def test_people_read_the_port_table_and_a_line_for_each_change(
    workspace: Path, tmp_path: Path
) -> None:
    start = '#!/bin/sh\necho "preparing: a cup of tea"\nexec "$BKG_PYTHON" plugin.py\n'
    write_plugin(workspace, autostart=True, start=start)
    with running(workspace, "host", place=tmp_path) as host:
        host.wait_for("running")
        host.signal(signal.SIGTERM)
        assert host.wait() == codes.OK
        text = host.out.read_text()
    assert f"Host of {workspace}, process {host.process.pid}" in text
    assert "ws://127.0.0.1:" in text
    assert "a cup of tea" in text
    assert "\x1b" not in text
    states = [line.split()[3] for line in text.splitlines() if " demo " in line]
    assert [s for s in states if s in ("starting", "running")] == ["starting", "running"]
    assert text.endswith("Closed.\n")


def test_a_second_signal_lets_go_at_once_and_the_keepers_end_the_rest(
    workspace: Path, tmp_path: Path
) -> None:
    write_plugin(workspace, code="", start=STUBBORN, autostart=True)
    with running(workspace, "host", "--json", place=tmp_path) as host:
        host.wait_for('"state": "starting"')
        eventually(lambda: "ready" in run(workspace, "logs", "demo").stdout, 30)
        host.signal(signal.SIGINT)
        host.wait_for('"closing"')

        def ended() -> bool:
            if host.process.poll() is None:
                host.signal(signal.SIGINT)
            return host.process.poll() is not None

        eventually(ended, 4.0)
        assert host.process.returncode == codes.INTERRUPTED
        assert host.events()[-1]["event"] == "abandoned"
        # 5 s of grace for what ignores SIGTERM, then SIGKILL.
        nothing_left(workspace, 15.0)


def test_a_host_is_ended_from_elsewhere_and_followers_say_so(
    workspace: Path, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("host", "logs")]
    for place in places:
        place.mkdir()
    with running(workspace, "host", "--json", place=places[0]) as host:
        host.wait_for('"up"')
        with running(workspace, "logs", "-f", "--json", place=places[1]) as follower:
            eventually(lambda: '"clients": 2' in run(workspace, "status", "--json").stdout, 30)
            assert run(workspace, "call", "host.stop").returncode == codes.OK
            assert host.wait() == codes.OK
            assert host.events("closing")[0]["why"] == "asked to stop"
            assert follower.wait() == codes.NO_HOST
            assert '"code": "host_gone"' in follower.err.read_text()


def test_without_autostart_nothing_starts_by_itself(workspace: Path, tmp_path: Path) -> None:
    write_plugin(workspace, autostart=True)
    with running(workspace, "host", "--json", "--no-autostart", place=tmp_path) as host:
        host.wait_for('"up"')
        assert "stopped" in run(workspace, "status").stdout
        assert host.events("plugin") == []


def test_output_that_nobody_reads_ends_no_host(workspace: Path, tmp_path: Path) -> None:
    write_plugin(workspace)
    process = subprocess.Popen(
        command("host"), stdout=subprocess.PIPE, text=True, env=environment(workspace)
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            started = run(workspace, "start", "demo")
            assert started.returncode == codes.OK, started.stderr
            assert run(workspace, "status").returncode == codes.OK
        finally:
            process.terminate()
        assert process.wait(30) == codes.OK
    nothing_left(workspace, 2.0)


@pytest.mark.row("B26")
def test_a_port_that_was_asked_for_and_is_taken_is_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        plain = bkg.environment
        monkeypatch.setattr(bkg, "environment", lambda w: {**plain(w), "BKG_PLUGIN_BUS_PORT": port})
        done = run(workspace, "host")
    assert done.returncode == 6
    assert f"Port {port} (BKG_PLUGIN_BUS_PORT) is held by process {os.getpid()}" in done.stderr


def test_without_a_host_every_other_verb_ends_with_3(workspace: Path) -> None:
    for line in ("status", "start demo", "call demo.greet", "logs", "ports", "config get demo"):
        done = run(workspace, *line.split())
        assert done.returncode == codes.NO_HOST, line
        assert done.stderr.count("\n") == 1
        assert "start one with `bkg host`" in done.stderr


def test_init_lays_out_a_workspace_and_says_what_next(tmp_path: Path) -> None:
    done = run(tmp_path, "init", str(tmp_path / "new"))
    assert done.returncode == codes.OK, done.stderr
    assert "bkg host --web" in done.stdout
    assert (tmp_path / "new" / "plugins" / "plugins.json").is_file()
    again = run(tmp_path, "init", str(tmp_path / "new"), "--json")
    assert '"written": []' in again.stdout


@pytest.mark.slow
def test_the_dashboards_are_served_to_whoever_has_the_url(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(bkg.ROOT / "dashboards", workspace / "dashboards")
    with running(workspace, "host", "--web", "--json", place=tmp_path) as host:
        host.wait_for('"event": "web"')
        url = host.events("web")[0]["url"]
        with urllib.request.urlopen(url, timeout=30) as page:
            assert page.status == 200
        bare = f"{url.partition('?')[0].rstrip('/')}/voila/render/plugins.ipynb"
        with urllib.request.urlopen(bare, timeout=30) as page:
            assert "/login" in page.url
        assert url in run(workspace, "ports").stdout
        host.signal(signal.SIGTERM)
        assert host.wait() == codes.OK
        nothing_left(workspace, 2.0)
