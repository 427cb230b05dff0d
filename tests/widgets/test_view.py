"""The control centre's view model: what a state makes the page say, without widget or browser."""

from __future__ import annotations

import json

import pytest

from bkg_workbench.protocol.state import (
    Configured,
    Notice,
    Noticed,
    Port,
    Ported,
    Prepared,
    Registered,
    StateName,
)
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets import view, words
from bkg_workbench.widgets.live import merge_patch, plain
from bkg_workbench.widgets.panel import Moment


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("repoagent", description="Reads", capabilities=["repo.tree", "repo.search"])
    return bench


def look(bench: ScriptedBench, **more: object) -> view.View:
    return view.fold(Moment(state=bench.state, now_ms=NOW, **more))  # type: ignore[arg-type]


def row(bench: ScriptedBench, **more: object) -> view.Row:
    return look(bench, **more).rows["repoagent"]


def enabled(bench: ScriptedBench, **more: object) -> set[str]:
    return set(row(bench, **more).can)


@pytest.mark.parametrize(
    ("state", "tone", "verbs"),
    [
        ("stopped", "idle", {"start"}),
        ("starting", "busy", {"stop"}),
        ("running", "ok", {"stop", "restart"}),
        ("degraded", "warn", {"stop", "restart"}),
        ("stopping", "busy", set()),
        ("backoff", "warn", {"start", "stop"}),
        ("failed", "bad", {"start"}),
    ],
)
def test_each_state_has_a_word_a_colour_and_the_buttons_that_make_sense(
    bench: ScriptedBench, state: StateName, tone: str, verbs: set[str]
) -> None:
    bench.move("repoagent", state)
    assert (row(bench).badge.text, row(bench).badge.tone) == (state, tone)
    assert enabled(bench) == verbs


def test_a_wish_under_way_disables_the_buttons_and_leaves_the_state(bench: ScriptedBench) -> None:
    bench.run("repoagent", "repo.tree")
    asked = {"asked": {"repoagent": "stop"}}
    assert enabled(bench, **asked) == set()
    assert row(bench, **asked).badge.text == "running"
    assert row(bench, **asked).note == view.Badge("asked to stop …", "busy")


def test_uptime_counts_from_the_start_of_the_run_not_from_the_last_dip(
    bench: ScriptedBench,
) -> None:
    bench.run("repoagent", seconds_ago=7500)
    bench.move("repoagent", "degraded", seconds_ago=60)
    bench.move("repoagent", "running", seconds_ago=30)
    assert row(bench).up_since == NOW - 7_500_000
    bench.move("repoagent", "stopped")
    assert row(bench).up_since is None


def test_the_preparing_line_is_shown_while_the_environment_is_built(bench: ScriptedBench) -> None:
    bench.move("repoagent", "starting")
    bench.happen(Prepared(plugin="repoagent", line="preparing: installing pathspec"))
    assert row(bench).note == view.Badge("preparing: installing pathspec", "busy")
    bench.move("repoagent", "running")
    assert row(bench).note is None


def test_a_failure_shows_its_reason_restarts_and_last_exit(bench: ScriptedBench) -> None:
    bench.move("repoagent", "failed", "did not register in 30 s", restarts=8, last_exit="exit 1")
    note = row(bench).note
    assert note is not None
    assert (note.text, note.tone) == ("did not register in 30 s", "bad")
    assert (row(bench).restarts, row(bench).last_exit) == (8, "exit 1")


@pytest.mark.parametrize(
    ("seconds", "status", "tone"), [(2, "up", "ok"), (40, "up", "warn"), (1, "down", "bad")]
)
def test_a_beat_has_a_time_and_grows_suspicious(
    bench: ScriptedBench, seconds: float, status: str, tone: str
) -> None:
    bench.run("repoagent")
    bench.beat("repoagent", seconds_ago=seconds, status=status)
    beat = row(bench).beat
    assert beat is not None
    assert (beat.at, beat.tone) == (NOW - seconds * 1000, tone)
    assert status in beat.hint


@pytest.mark.parametrize(
    ("state", "asks"),
    [("running", {"stop", "restart"}), ("degraded", {"stop", "restart"}), ("starting", set()),
     ("backoff", set()), ("failed", set())],
)  # fmt: skip
def test_the_page_asks_before_what_is_up_goes_down(
    bench: ScriptedBench, state: StateName, asks: set[str]
) -> None:
    bench.move("repoagent", state)
    assert set(row(bench).asks) == asks


def test_a_degraded_plugin_says_why(bench: ScriptedBench) -> None:
    bench.run("repoagent")
    bench.move("repoagent", "degraded")
    bench.beat("repoagent", status="degraded", detail="the index is behind")
    note = row(bench).note
    assert note is not None
    assert note.text == "the index is behind"


def test_declared_served_and_conflicting_capabilities_differ(bench: ScriptedBench) -> None:
    assert {c.text: c.tone for c in row(bench).capabilities} == {
        "repo.tree": "idle",
        "repo.search": "idle",
    }
    bench.move("repoagent", "running")
    bench.happen(
        Registered(plugin="repoagent", port=1, capabilities=("repo.tree",), conflicts=("llm.chat",))
    )
    assert {c.text: c.tone for c in row(bench).capabilities} == {
        "repo.tree": "ok",
        "repo.search": "idle",
        "llm.chat": "warn",
    }
    note = row(bench).note
    assert note is not None
    assert "llm.chat" in note.text


def test_settings_that_are_not_valid_are_named_by_their_pointer(bench: ScriptedBench) -> None:
    bench.happen(
        Configured(plugin="repoagent", settings={}, version=2, errors={"/maxFiles": "not a number"})
    )
    note = row(bench).note
    assert note is not None
    assert note.text == "settings not valid: /maxFiles: not a number"


def test_samples_become_numbers_and_a_bounded_line(bench: ScriptedBench) -> None:
    bench.run("repoagent")
    samples = [{"at": n, "cpu": float(n), "mem_bytes": 2**20 * n} for n in range(200)]
    odd = {"at": 200, "cpu": True, "mem_bytes": "?"}
    seen = row(bench, samples={"repoagent": [*samples, odd]})
    assert (seen.cpu, seen.memory) == ("199 %", "199 MiB")
    assert len(seen.samples) == view.POINTS
    assert seen.samples["199"] == (199.0, 199.0)


def test_one_more_sample_is_a_patch_of_a_few_bytes(bench: ScriptedBench) -> None:
    bench.run("repoagent")
    samples = [{"at": NOW + n, "cpu": n / 7, "mem_bytes": 2**20} for n in range(100)]
    before = plain(look(bench, samples={"repoagent": samples[:-1]}))
    after = plain(look(bench, samples={"repoagent": samples}))
    patch = merge_patch(before, after)
    assert list(patch) == ["rows"]
    assert len(json.dumps(patch)) < 150


def test_a_stopped_plugin_shows_no_old_numbers(bench: ScriptedBench) -> None:
    seen = row(bench, samples={"repoagent": [{"at": 1, "cpu": 3.0, "mem_bytes": 5}] * 3})
    assert (seen.cpu, seen.memory, seen.samples) == (None, None, {})


def test_time_alone_changes_nothing_but_a_late_beat(bench: ScriptedBench) -> None:
    bench.run("repoagent")
    first = view.fold(Moment(state=bench.state, now_ms=NOW))
    assert view.fold(Moment(state=bench.state, now_ms=NOW + 20_000)) == first
    assert view.fold(Moment(state=bench.state, now_ms=NOW + 30_000)) != first


def test_notices_are_banners(bench: ScriptedBench) -> None:
    bench.happen(Noticed(notice=Notice(key="k", text="the disk is full", at=1, level="error")))
    assert look(bench).banners == (view.Banner("the disk is full", "bad"),)


def test_the_token_of_an_address_is_followed_and_not_shown(bench: ScriptedBench) -> None:
    bench.happen(Ported(ports=(Port(name="web", port=1, url="http://127.0.0.1:1/?token=secret"),)))
    (port,) = view.ports(bench.state)
    assert (port.shown, port.url) == ("http://127.0.0.1:1/", "http://127.0.0.1:1/?token=secret")


def test_an_address_that_is_not_http_is_no_link(bench: ScriptedBench) -> None:
    bench.happen(Ported(ports=(Port(name="x", port=1, url="javascript:alert(1)"),)))
    assert view.ports(bench.state)[0].url is None


def test_when_the_host_has_gone_the_page_says_so_and_offers_nothing(bench: ScriptedBench) -> None:
    bench.run("repoagent")
    seen = look(bench, lost="the connection closed")
    assert seen.stale
    assert seen.header.status.tone == "bad"
    assert seen.banners[0].text.startswith("The Host has gone: the connection closed.")
    assert seen.rows["repoagent"].can == ()
    assert seen.rows["repoagent"].up_since is None


def test_the_header_names_workspace_host_and_uptime(bench: ScriptedBench) -> None:
    header = look(bench, host={"pid": 4711}).header
    assert header.workspace == "forecast"
    assert [(f.label, f.value or f.since) for f in header.facts] == [
        ("Host", "pid 4711"),
        ("up", NOW - 600_000),
        ("instance", "01234567"),
        ("version", "0.1.0"),
    ]


def test_a_sentence_from_outside_is_cut(bench: ScriptedBench) -> None:
    bench.move("repoagent", "failed", "x" * 5000)
    note = row(bench).note
    assert note is not None
    assert len(note.text) == view.MAX_TEXT


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1023.9 * 1024, "1.0 MiB"),
     (62e6, "59 MiB"), (5 * 2**40, "5.0 TiB")],
)  # fmt: skip
def test_sizes_read_well(octets: float, text: str) -> None:
    assert words.size(octets) == text
