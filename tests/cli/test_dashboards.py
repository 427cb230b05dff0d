"""`bkg dashboard`: which page a name means, and where it is."""

from __future__ import annotations

import json
import stat
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bkg_workbench.cli import codes
from bkg_workbench.cli.dashboards import address, page_of
from bkg_workbench.errors import PluginNotFound
from bkg_workbench.host.workspace import init
from tests.cli.bkg import nothing_left, run, running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dashboards").mkdir()
    for name in ("plugins", "plugin", "night"):
        (tmp_path / "dashboards" / f"{name}.ipynb").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "page"),
    [(None, ""), ("plugins", ""), ("goose", "plugins/goose"), ("night", "night")],
    ids=["no name", "the first page", "a plug-in", "a dashboard"],
)
def test_a_name_means_a_page(root: Path, name: str | None, page: str) -> None:
    assert page_of(name, root, ["goose"]) == page


@pytest.mark.parametrize("name", ["plugin", "gooose", "../night"])
def test_any_other_name_is_refused_with_those_that_there_are(root: Path, name: str) -> None:
    with pytest.raises(PluginNotFound, match="goose, night"):
        page_of(name, root, ["goose"])


def test_the_address_keeps_the_token() -> None:
    home = "http://127.0.0.1:8866/?token=abc"
    assert address(home, "") == home
    assert address(home, "plugins/goose") == "http://127.0.0.1:8866/plugins/goose?token=abc"


def test_without_a_host_it_says_how_to_start_one(tmp_path: Path) -> None:
    init(tmp_path / "w")
    done = run(tmp_path / "w", "dashboard")
    assert done.returncode != codes.OK
    assert "bkg host" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_host_serves_its_pages_from_the_first_question_on(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    init(workspace)
    with running(workspace, "host", "--no-autostart", "--json", place=tmp_path) as host:
        host.wait_for('"event": "up"')
        first = run(workspace, "dashboard")
        assert first.returncode == codes.OK, first.stderr
        url = first.stdout.strip()
        assert len(parse_qs(urlsplit(url).query)["token"][0]) > 20
        base = f"http://{urlsplit(url).netloc}"
        with urllib.request.urlopen(f"{base}/health", timeout=10) as answer:
            assert answer.status == 200
        again = run(workspace, "dashboard", "repoagent", "--json")
        assert json.loads(again.stdout)["url"] == url.replace("/?", "/plugins/repoagent?")
        ports = json.loads(run(workspace, "ports", "--json").stdout)["ports"]
        assert [row["url"] for row in ports if row["name"] == "web"] == [url]
    nothing_left(workspace)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_starts_a_host_and_opens_a_browser_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, seen = tmp_path / "w", tmp_path / "seen"
    init(workspace)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    try:
        done = run(workspace, "dashboard", "--start", "--open")
        assert done.returncode == codes.OK, done.stderr
        url, opened = done.stdout.strip(), Path(urlsplit(seen.read_text()).path)
        assert url.replace("&", "&amp;") in opened.read_text()
        assert "token" not in seen.read_text()
        assert stat.S_IMODE(opened.stat().st_mode) == 0o600
    finally:
        run(workspace, "call", "host.stop")
    nothing_left(workspace)
