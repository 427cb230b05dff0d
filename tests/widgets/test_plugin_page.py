"""The page of a plug-in: head, tabs made when looked at, features, story, and one that has gone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bkg_workbench.errors import StoreError
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import (
    Beat,
    Beaten,
    Chapter,
    Configured,
    Notice,
    Noticed,
    Registered,
    Removed,
)
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.config_panel import ConfigPanel
from bkg_workbench.widgets.features import MAX_TEXT, MOST, cards, first_paragraph, read_about
from bkg_workbench.widgets.forms import FORM_SCRIPTS
from bkg_workbench.widgets.live import script
from bkg_workbench.widgets.logs import LogTail
from bkg_workbench.widgets.panel import Panel
from bkg_workbench.widgets.plugin_page import PluginPage
from bkg_workbench.widgets.story import CALLS_EVERY_MS, StoryPanel, chapters, is_about
from bkg_workbench.widgets.telemetry import TelemetryChart
from bkg_workbench.widgets.tryit import TryIt
from tests.helpers import eventually

META = {
    "version": "1.2",
    "engine": "python",
    "features": [{"title": "Runs <b>fast</b>", "text": "Very."}],
}


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("alpha")
    bench.define("goose", capabilities=["goose.run"], description="Load tests", autostart=True)
    bench.define("repoagent")
    bench.run("goose", "goose.run")
    bench.happen(Registered(plugin="goose", port=43130, capabilities=("goose.run",), meta=META))
    return bench


@pytest.fixture
def open_page(bench: ScriptedBench) -> Iterator[Callable[..., PluginPage]]:
    pages: list[PluginPage] = []

    def open_(name: str = "goose", **how: Any) -> PluginPage:
        pages.append(PluginPage(bench, name, now_ms=lambda: bench.now_ms, autostart=False, **how))
        return look(pages[-1])

    yield open_
    for page in pages:
        page.settle()
        page.close()


@pytest.fixture
def page(open_page: Callable[..., PluginPage]) -> PluginPage:
    return open_page()


def look(page: PluginPage) -> PluginPage:
    """Redraw, and again when what was asked for has come."""
    page.step()
    page.settle()
    page.step()
    return page


def head(page: PluginPage) -> dict[str, Any]:
    look(page)
    return page.head.shown


def press(page: PluginPage, verb: str, **fields: Any) -> None:
    page.head.on_intent({"verb": verb, **fields})
    page.settle()


def facts(page: PluginPage) -> dict[str, str]:
    return {fact["label"]: fact["value"] for fact in head(page)["facts"]}


# --- the head ------------------------------------------------------------------------------------


def test_the_head_says_what_the_plugin_is_and_how_it_stands(page: PluginPage) -> None:
    shown = head(page)
    assert shown["row"]["badge"] == {"text": "running", "tone": "ok"}
    assert shown["row"]["description"] == "Load tests"
    assert shown["row"]["up_since"] == NOW - 60_000
    assert shown["row"]["beat"]["at"] == NOW - 2_000
    found = facts(page)
    assert found["wanted"] == "up"
    assert (found["version"], found["engine"], found["port"]) == ("1.2", "python", "43130")
    (port,) = [fact for fact in shown["facts"] if fact["label"] == "port"]
    assert port["href"] == "http://127.0.0.1:43130/"
    assert found["autostart"] == "yes"


def test_a_plugin_without_a_port_of_its_own_has_no_link(
    bench: ScriptedBench, open_page: Callable[..., PluginPage]
) -> None:
    bench.run("repoagent")
    (port,) = [f for f in head(open_page("repoagent"))["facts"] if f["label"] == "port"]
    assert port == {"label": "port", "value": "internal"}


def test_odd_meta_does_no_harm(bench: ScriptedBench, page: PluginPage) -> None:
    meta = {"version": ["<b>"], "engine": 7, "features": "many", "schemas": []}
    bench.happen(Registered(plugin="goose", port="internal", meta=meta))
    assert "version" not in facts(page)
    assert page.section("overview").children[0].shown == {"cards": []}


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_the_buttons_post_the_same_intents_as_the_inventory(
    bench: ScriptedBench, page: PluginPage, verb: str
) -> None:
    assert verb in head(page)["row"]["can"]
    assert verb in head(page)["row"]["asks"]
    press(page, verb)
    assert bench.intents == [(verb, "goose", False)]


def test_it_leads_to_its_neighbours(page: PluginPage) -> None:
    shown = head(page)
    assert (shown["previous"], shown["next"]) == ("alpha", "repoagent")


def test_the_first_and_the_last_have_one_neighbour(open_page: Callable[..., PluginPage]) -> None:
    assert "previous" not in head(open_page("alpha"))
    assert "next" not in head(open_page("repoagent"))


def test_without_an_address_another_plugin_is_shown_in_place(page: PluginPage) -> None:
    press(page, "look", tab="log")
    press(page, "open", plugin="repoagent")
    assert head(page)["name"] == "repoagent"
    assert page.built == ("overview",)
    press(page, "open", plugin="nobody")
    assert head(page)["name"] == "repoagent"


def test_back_leads_where_the_maker_of_the_page_says(open_page: Callable[..., PluginPage]) -> None:
    went: list[str] = []
    page = open_page(back=lambda: went.append("back"))
    assert head(page)["back"] is True
    press(page, "back")
    assert went == ["back"]
    press(open_page(), "back")


def test_settings_that_want_notice_mark_their_tab(bench: ScriptedBench, page: PluginPage) -> None:
    def tone() -> str | None:
        (tab,) = [tab for tab in head(page)["tabs"] if tab["key"] == "config"]
        return tab.get("tone")

    assert tone() is None
    bench.happen(Configured(plugin="goose", settings={}, version=2, restart_needed=True))
    assert tone() == "busy"
    bench.happen(Configured(plugin="goose", settings={}, version=3, errors={"/users": "is wrong"}))
    assert tone() == "bad"


def test_a_host_that_has_gone_is_told_and_the_last_known_stays(
    bench: ScriptedBench, page: PluginPage
) -> None:
    head(page)
    bench.lost, bench.connected = "it was stopped", False
    shown = head(page)
    assert "The Host has gone: it was stopped" in shown["banners"][0]["text"]
    assert shown["row"]["name"] == "goose"
    assert shown["row"]["can"] == []


# --- tabs ----------------------------------------------------------------------------------------


def test_a_tab_is_made_when_it_is_first_looked_at_and_then_stays(page: PluginPage) -> None:
    assert page.built == ("overview",)
    press(page, "look", tab="capabilities")
    (tried,) = page.section("capabilities").children
    assert isinstance(tried, TryIt)
    press(page, "look", tab="log")
    press(page, "look", tab="config")
    press(page, "look", tab="capabilities")
    assert page.section("capabilities").children == (tried,)
    assert isinstance(page.section("log").children[0], LogTail)
    assert isinstance(page.section("config").children[0], ConfigPanel)
    assert head(page)["built"] == ["overview", "capabilities", "log", "config"]
    assert page.children[:2] == (page.head, page.section("overview"))  # and those stay in place


def test_the_tab_that_was_asked_for_is_the_only_one_made(
    open_page: Callable[..., PluginPage],
) -> None:
    page = open_page(tab="log")
    assert page.built == ("log",)
    assert head(page)["tab"] == "log"
    assert open_page(tab="nonsense").built == ("overview",)


def test_a_tab_that_is_none_is_not_made(page: PluginPage) -> None:
    press(page, "look", tab="../secrets")
    press(page, "look")
    assert page.built == ("overview",)


def test_the_log_is_this_plugins_alone(page: PluginPage) -> None:
    press(page, "look", tab="log")
    (log,) = page.section("log").children
    assert log.only == "goose"


def test_closing_the_page_ends_all_that_it_made(
    bench: ScriptedBench, open_page: Callable[..., PluginPage]
) -> None:
    page = open_page()
    for tab in ("capabilities", "log", "config"):
        press(page, "look", tab=tab)
    assert bench.followers
    page.close()
    assert bench.followers == []
    assert bench.changes == []
    press(page, "look", tab="log")


# --- plug-ins that are not there -----------------------------------------------------------------


def test_a_name_that_is_not_there_is_told_with_those_that_are(
    bench: ScriptedBench, open_page: Callable[..., PluginPage]
) -> None:
    page = open_page("goos")
    shown = head(page)
    assert (shown["missing"], shown["removed"]) == (True, False)
    assert shown["known"] == ["alpha", "goose", "repoagent"]
    assert page.built == ()
    press(page, "look", tab="overview")
    assert page.built == ()
    bench.define("goos")
    assert head(page)["row"]["name"] == "goos"
    press(page, "look", tab="overview")
    assert page.built == ("overview",)


def test_one_that_is_removed_while_its_page_is_open_can_come_back(
    bench: ScriptedBench, page: PluginPage
) -> None:
    head(page)
    bench.happen(Removed(plugin="goose"))
    shown = head(page)
    assert (shown["missing"], shown["removed"]) == (True, True)
    assert page.section("overview").children[2].shown == {}
    bench.define("goose")
    assert "missing" not in head(page)
    assert page.section("overview").children[2].shown["chapters"] == []


# --- features ------------------------------------------------------------------------------------


def features(page: PluginPage) -> list[dict[str, str]]:
    look(page)
    return list(page.section("overview").children[0].shown["cards"])


def test_features_come_from_the_plugin_itself(page: PluginPage) -> None:
    assert features(page) == [{"title": "Runs <b>fast</b>", "text": "Very."}]


@pytest.mark.parametrize(
    "given",
    [None, "x", 7, {"title": "x"}, [1, None, [], {}, {"title": 3}, {"title": "", "text": ""}]],
    ids=["none", "text", "number", "object", "odd list"],
)
def test_features_that_are_none_are_left_out(bench: ScriptedBench, given: Any) -> None:
    bench.happen(Registered(plugin="goose", port="internal", meta={"features": given}))
    assert cards(bench.state.plugins["goose"]) == []


def test_features_stay_within_bounds(bench: ScriptedBench) -> None:
    given = [{"title": "t" * 500, "text": "x " * 5_000}] * 100
    bench.happen(Registered(plugin="goose", port="internal", meta={"features": given}))
    found = cards(bench.state.plugins["goose"])
    assert len(found) == MOST
    assert len(found[0]["text"]) <= MAX_TEXT


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "docs/plugins/faces.md",
            "# faces\n\nFinds **faces** in [pictures](x.md).\nAll local.\n\nMore.",
        ),
        (
            "plugins/faces/README.md",
            "| a |\n\n```sh\nrun\n```\nFinds `faces` in pictures.\nAll local.",
        ),
    ],
)
def test_one_that_gives_none_is_told_of_by_its_page_or_readme(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    text: str,
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert read_about(str(tmp_path), Definition(name="faces")) == (
        "Finds faces in pictures. All local."
    )
    assert read_about(str(tmp_path), Definition(name="nobody")) is None


def test_the_first_paragraph_is_prose() -> None:
    assert first_paragraph("# T\n\n- a list\n\n<div>\n\n> quote\n\nHere.\n") == "Here."
    assert first_paragraph("```\ncode\n") == ""


# --- the story -----------------------------------------------------------------------------------


def story(page: PluginPage) -> StoryPanel:
    look(page)
    panel = page.section("overview").children[2]
    assert isinstance(panel, StoryPanel)
    return panel


def test_the_story_is_told_newest_first_with_how_long_it_lasted(page: PluginPage) -> None:
    told = story(page).shown["chapters"]
    assert [(c["state"], c["at"] - NOW) for c in told] == [
        ("running", -60_000),
        ("starting", -61_000),
    ]
    assert told[1]["until"] == NOW - 60_000
    assert "until" not in told[0]


def test_earlier_chapters_come_from_the_host_without_doubles(
    bench: ScriptedBench, page: PluginPage
) -> None:
    record = {"seq": 1, "plugin": "goose", "event": "start", "state": "starting", "why": "asked"}
    known = {**record, "at": NOW - 61_000, "event": "moved"}
    bench.happened = [{**record, "at": NOW - 90_000}, known]
    panel = story(page)
    assert panel.shown["earlier"] is True
    panel.on_intent({"verb": "earlier"})
    told = story(page).shown
    assert [c["at"] - NOW for c in told["chapters"]] == [-60_000, -61_000, -90_000]
    assert told["earlier"] is False


def test_chapters_of_one_moment_are_all_told() -> None:
    one = [Chapter(at=5, event=e, state="stopping", why="") for e in ("a", "b", "c")]
    assert [c["event"] for c in chapters(one)] == ["c", "b", "a"]


def test_what_is_amiss_is_said(bench: ScriptedBench, page: PluginPage) -> None:
    bench.happen(
        Registered(plugin="goose", port="internal", conflicts=("goose.secret",)),
        Configured(plugin="goose", settings={}, version=2, errors={"/users": "is too large"}),
        Noticed(notice=Notice(key="canary:goose", text="Settings were taken back.", at=NOW)),
        Noticed(notice=Notice(key="canary:goose-two", text="of another", at=NOW)),
    )
    said = [remark["text"] for remark in story(page).shown["remarks"]]
    assert len(said) == 3
    assert "goose.secret" in said[0]
    assert "/users is too large" in said[1]
    assert said[2] == "Settings were taken back."


def test_a_notice_is_about_whom_it_names() -> None:
    notice = Notice(key="x", text="repo-agent failed", at=0)
    assert is_about(notice, "repo-agent")
    assert not is_about(notice, "repo")
    assert not is_about(notice, "agent")


def test_finished_requests_are_shown_newest_first_and_again_after_a_while(
    bench: ScriptedBench, page: PluginPage
) -> None:
    call = {
        "at": NOW, "plugin": "goose", "capability": "goose.run", "caller": "ada",
        "outcome": "ok", "duration_ms": 3.5,
    }  # fmt: skip
    assert story(page).shown["calls"] == []
    bench.finished = [{**call, "seq": 1}, {**call, "seq": 2}, {**call, "seq": 3, "plugin": "x"}]
    assert story(page).shown["calls"] == []
    bench.now_ms += CALLS_EVERY_MS
    assert [c["seq"] for c in story(page).shown["calls"]] == [2, 1]


def test_calls_that_cannot_be_had_are_said_once_in_a_while(
    bench: ScriptedBench, page: PluginPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise StoreError("The disk is full.")

    story(page)
    monkeypatch.setattr(bench, "calls", refuse)
    for _ in range(3):
        story(page)
    assert asked == []
    bench.now_ms += CALLS_EVERY_MS
    story(page)
    assert asked == [1]


def test_story_and_requests_can_be_saved(bench: ScriptedBench, page: PluginPage) -> None:
    panel = story(page)
    sent: list[dict[str, Any]] = []
    panel.post = lambda content, buffers=None: sent.append(content)  # type: ignore[method-assign]
    for table in ("story", "calls"):
        panel.on_intent({"verb": "export", "table": table, "format": "csv", "token": "t"})
    eventually(lambda: {c.get("name") for c in sent} >= {"story.csv", "calls.csv"})


# --- all of it -----------------------------------------------------------------------------------


def test_the_overview_has_features_telemetry_and_story(page: PluginPage) -> None:
    assert isinstance(page.section("overview").children[1], TelemetryChart)
    assert all(isinstance(w, Panel) for w in page.section("overview").children)


def test_a_beat_changes_only_the_beat(bench: ScriptedBench, page: PluginPage) -> None:
    head(page)
    sent: list[Any] = []
    page.head.post = lambda content, buffers=None: sent.append(content)  # type: ignore[method-assign]
    bench.happen(Beaten(plugin="goose", beat=Beat(at=NOW - 500, status="up")))
    page.step()
    assert [c["patch"] for c in sent] == [{"row": {"beat": {"at": NOW - 500}}}]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which .ci/run installs")
@pytest.mark.parametrize(
    "names",
    [
        ("plugin_parts.js", "plugin.js"),
        ("features.js",),
        ("story.js",),
        (*FORM_SCRIPTS, "answer.js", "tryit.js"),
    ],
    ids=["head", "features", "story", "try"],
)
def test_the_scripts_are_modules_that_a_browser_can_read(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    module = tmp_path / "panel.mjs"
    module.write_text(script(*names))
    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
