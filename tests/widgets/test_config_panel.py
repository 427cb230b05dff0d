"""The config section: what it shows, what it saves, and that nothing typed is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bkg_workbench.errors import ConfigInvalid, HostGone, StoreError
from bkg_workbench.protocol.schema import is_same
from bkg_workbench.protocol.state import Cleared, Notice, Noticed, Watched
from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets.board import Board
from bkg_workbench.widgets.config_panel import ConfigPanel
from bkg_workbench.widgets.config_view import combined
from bkg_workbench.widgets.live import Data
from bkg_workbench.widgets.pulse import Lease
from tests.helpers import eventually

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["target"],
    "properties": {
        "target": {"type": "string", "minLength": 1},
        "users": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
        "token": {"type": "string", "format": "password"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "on": {"type": "boolean"},
    },
}
SETTINGS = {"target": "http://a", "users": 20, "token": "old secret"}


class Section:
    """The config section of goose in a test's hands."""

    def __init__(self, bench: ScriptedBench) -> None:
        self.bench = bench
        self.panel = ConfigPanel("goose")
        self.board = Board(
            bench, lease=Lease(monotonic=lambda: 0.0), now_ms=lambda: NOW, autostart=False
        )
        self.toasts: list[str] = []
        self.panel.toast = lambda text, tone="ok": self.toasts.append(text)  # type: ignore[method-assign]
        self.board.lay(self.panel)
        self._edits = 0

    def look(self) -> Data:
        """Redraw until nothing is under way, and give what the page shows."""
        for _ in range(10):
            self.board.step()
            self.board.settle()
            before = self.panel.shown
            self.board.step()
            if self.panel.shown == before and "busy" not in before:
                break
        return self.panel.shown

    def edit(self, op: str, at: str, **fields: Any) -> None:
        """An edit of the page."""
        self._edits += 1
        edit = {"op": op, "at": at, **fields}
        self.send("edit", edit=edit, page="p", n=self._edits)

    def send(self, verb: str, **fields: Any) -> None:
        """What a page sends."""
        self.panel._on_message(None, {**fields, "kind": "intent", "verb": verb}, [])

    def do(self, verb: str, **fields: Any) -> Data:
        """What a page sends, and what it shows when that is done."""
        self.send(verb, **fields)
        return self.look()

    @property
    def value(self) -> Any:
        assert self.panel.form is not None
        return self.panel.form.value


@pytest.fixture
def bench() -> ScriptedBench:
    bench = ScriptedBench()
    bench.define("goose")
    bench.configure("goose", SETTINGS, SCHEMA)
    bench.run("goose")
    return bench


@pytest.fixture
def section(bench: ScriptedBench) -> Iterator[Section]:
    section = Section(bench)
    section.look()
    yield section
    section.board.close()


def test_the_settings_are_read_and_shown_clean(section: Section) -> None:
    shown = section.look()
    assert shown["version"] == 1
    assert shown["isDirty"] is False
    assert shown["isValid"] is True
    assert shown["changes"] == []
    assert shown["form"]["root"]["order"] == ["target", "users", "token", "labels", "on"]
    assert "old secret" not in repr(section.panel.view)


def test_reading_does_not_happen_again_and_again(
    bench: ScriptedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    config = bench.config
    monkeypatch.setattr(bench, "config", lambda name: asked.append(name) or config(name))
    section = Section(bench)
    for _ in range(5):
        section.look()
    bench.beat("goose")
    section.look()
    section.board.close()
    assert asked == ["goose"]


def test_what_is_typed_is_shown_as_a_difference_before_it_is_saved(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/users", value="30")
    section.edit("set", "/token", value="new secret")
    shown = section.panel.shown
    assert shown["isDirty"] is True
    assert shown["changes"] == [
        {"op": "replace", "path": "/users", "before": "20", "after": "30"},
        {"op": "replace", "path": "/token", "before": '"***"', "after": '"***"', "secret": True},
    ]
    assert "secret" not in repr(shown["changes"]).replace("'secret'", "")
    assert shown["form"]["root"]["fields"]["users"]["changed"] is True
    assert "changed" not in shown["form"]["root"]["fields"]["target"]
    assert bench.saves == []


def test_a_save_sends_version_reason_and_probation(section: Section, bench: ScriptedBench) -> None:
    section.edit("set", "/users", value="30")
    shown = section.do("save", reason=" peak ", canarySeconds=60)
    assert bench.saves == [
        {
            "name": "goose",
            "settings": {"target": "http://a", "users": 30, "token": "***"},
            "version": 1,
            "reason": "peak",
            "canary_seconds": 60.0,
        }
    ]
    assert shown["outcome"] == {"text": "Saved as version 2 and applied.", "tone": "ok"}
    assert (shown["version"], shown["isDirty"], shown["changes"]) == (2, False, [])
    assert shown["watchedUntil"] == NOW + 60_000
    assert bench._kept["goose"][-1]["settings"]["token"] == "old secret"


def test_where_it_does_not_apply_live_a_restart_is_offered(
    section: Section, bench: ScriptedBench
) -> None:
    bench.applied = "restart"
    section.edit("set", "/users", value="30")
    shown = section.do("save")
    assert shown["outcome"]["restart"] is True
    assert shown["restartNeeded"] is True
    section.do("restart")
    assert bench.intents == [("restart", "goose", False)]
    bench.run("goose")
    shown = section.look()
    assert "restartNeeded" not in shown
    assert "restart" not in shown["outcome"]


def test_a_plugin_that_is_down_gets_them_at_its_next_start(
    section: Section, bench: ScriptedBench
) -> None:
    bench.applied = "restart"
    bench.move("goose", "stopped")
    section.edit("set", "/users", value="30")
    shown = section.do("save")
    assert shown["outcome"]["text"] == "Saved as version 2. They count from the next start on."
    assert "restartNeeded" not in shown


@pytest.mark.parametrize("value", ["0", "many", ""])
def test_nothing_is_saved_that_is_clean_or_wrong(
    section: Section, bench: ScriptedBench, value: str
) -> None:
    section.do("save")
    section.edit("set", "/target", value="")
    section.edit("set", "/users", value=value)
    assert section.panel.shown["isValid"] is False
    section.do("save")
    assert bench.saves == []


def test_what_the_host_refuses_is_told_at_its_field_until_it_is_edited(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/users", value="30")
    bench.refusal = ConfigInvalid(plugin="goose", errors={"/users": "only 25 are paid for"})
    shown = section.do("save")
    assert shown["form"]["root"]["fields"]["users"]["error"] == "only 25 are paid for"
    assert shown["form"]["errors"] == {"/users": "only 25 are paid for"}
    assert shown["isValid"] is False
    assert shown["isDirty"] is True
    bench.refusal = None
    section.edit("set", "/users", value="25")
    shown = section.panel.shown
    assert shown["isValid"] is True
    assert shown["form"]["errors"] == {}
    assert section.do("save")["version"] == 2


@pytest.mark.parametrize("error", [StoreError(reason="disk full"), HostGone(path="/w")])
def test_a_save_that_fails_keeps_what_was_typed(
    section: Section, bench: ScriptedBench, error: Any
) -> None:
    section.edit("set", "/users", value="30")
    bench.refusal = error
    shown = section.do("save")
    assert shown["outcome"]["tone"] == "bad"
    assert str(error) in shown["outcome"]["text"]
    assert "busy" not in shown
    assert section.value["users"] == 30
    bench.refusal = None
    assert section.do("save")["version"] == 2


def test_discard_goes_back_to_what_is_saved(section: Section) -> None:
    section.edit("set", "/users", value="many")
    shown = section.do("discard")
    assert (shown["isDirty"], shown["isValid"]) == (False, True)
    assert shown["form"]["root"]["fields"]["users"]["value"] == 20


# --- somebody else ------------------------------------------------------------------------------


def test_settings_saved_elsewhere_are_taken_over_by_a_clean_form(
    section: Section, bench: ScriptedBench
) -> None:
    bench.configure("goose", {**SETTINGS, "users": 50})
    shown = section.look()
    assert shown["version"] == 2
    assert shown["form"]["root"]["fields"]["users"]["value"] == 50
    assert "conflict" not in shown


def test_settings_saved_elsewhere_are_announced_to_a_dirty_form(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/target", value="http://mine")
    bench.configure("goose", {**SETTINGS, "users": 50})
    shown = section.look()
    assert shown["conflict"] == {
        "version": 2,
        "changes": [{"op": "replace", "path": "/users", "before": "20", "after": "50"}],
        "clashes": [],
        "author": "ada",
        "at": NOW + 1000,
    }
    assert section.value["target"] == "http://mine"
    shown = section.do("merge")
    assert section.value == {"target": "http://mine", "users": 50, "token": "***"}
    assert "conflict" not in shown
    assert [change["path"] for change in shown["changes"]] == ["/target"]
    assert section.do("save")["version"] == 3
    assert bench._kept["goose"][-1]["settings"] == {
        **SETTINGS,
        "target": "http://mine",
        "users": 50,
    }


def test_a_clash_is_marked_and_mine_counts_where_both_are_brought_together(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/users", value="30")
    bench.configure("goose", {**SETTINGS, "users": 50, "on": True})
    assert section.look()["conflict"]["clashes"] == ["/users"]
    section.do("merge")
    assert section.value == {"target": "http://a", "users": 30, "token": "***", "on": True}


def test_theirs_can_be_taken(section: Section, bench: ScriptedBench) -> None:
    section.edit("set", "/users", value="30")
    bench.configure("goose", {**SETTINGS, "users": 50})
    section.look()
    shown = section.do("theirs")
    assert (shown["isDirty"], section.value["users"]) == (False, 50)


def test_a_save_that_comes_too_late_becomes_a_conflict_and_loses_nothing(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/target", value="http://mine")

    def meanwhile() -> None:
        bench.waits = lambda: None
        bench.configure("goose", {**SETTINGS, "users": 50})

    bench.waits = meanwhile
    shown = section.do("save")
    assert shown["conflict"]["version"] == 2
    assert section.value["target"] == "http://mine"
    section.do("merge")
    assert section.do("save")["outcome"]["text"] == "Saved as version 3 and applied."


def test_the_same_edit_of_somebody_else_is_no_conflict(
    section: Section, bench: ScriptedBench
) -> None:
    section.edit("set", "/users", value="50")
    bench.configure("goose", {**SETTINGS, "users": 50})
    shown = section.look()
    assert "conflict" not in shown
    assert (shown["version"], shown["isDirty"]) == (2, False)


def test_what_is_typed_while_a_save_is_under_way_stays(
    section: Section, bench: ScriptedBench
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        go_on.wait(10)

    bench.waits = wait
    section.edit("set", "/users", value="30")
    section.send("save")
    assert arrived.wait(10)
    assert section.panel.shown["busy"] == "saving"
    section.edit("set", "/target", value="http://later")
    section.send("save")  # one at a time
    go_on.set()
    shown = section.look()
    assert len(bench.saves) == 1
    assert section.value == {"target": "http://later", "users": 30, "token": "***"}
    assert [change["path"] for change in shown["changes"]] == ["/target"]
    assert "conflict" not in shown


def test_a_schema_that_changes_keeps_what_was_typed(section: Section, bench: ScriptedBench) -> None:
    section.edit("set", "/users", value="30")
    properties = {**SCHEMA["properties"], "users": {"type": "integer", "maximum": 25}}
    bench.configure("goose", SETTINGS, {**SCHEMA, "properties": properties})
    shown = section.look()
    assert section.value["users"] == 30
    assert shown["form"]["root"]["fields"]["users"]["error"] == "must be at most 25"


# --- versions, probation, no schema -------------------------------------------------------------


def test_versions_are_listed_told_apart_and_restored(
    section: Section, bench: ScriptedBench
) -> None:
    bench.configure("goose", {**SETTINGS, "users": 50, "token": "third"}, reason="peak")
    shown = section.do("history", open=True)
    first, second = shown["history"]["versions"][::-1]
    assert (first["author"], first["canRestore"]) == ("ada", True)
    assert (second["reason"], second["isCurrent"], second["count"]) == ("peak", True, 2)
    shown = section.do("version", version=1)
    opened = shown["history"]["open"]
    assert {change["path"] for change in opened["diff"]} == {"/target", "/users", "/token"}
    assert opened["restore"] == [{"op": "replace", "path": "/users", "before": "50", "after": "20"}]
    shown = section.do("restore", version=1)
    assert shown["outcome"]["text"] == "Saved as version 3 and applied."
    assert section.value["users"] == 20
    assert bench._kept["goose"][-1]["settings"] == SETTINGS
    assert [one["version"] for one in shown["history"]["versions"]] == [3, 2, 1]
    assert "history" not in section.do("history", open=False)


def test_a_restore_leaves_what_was_typed_on_top(section: Section, bench: ScriptedBench) -> None:
    bench.configure("goose", {**SETTINGS, "users": 50})
    section.look()
    section.edit("set", "/target", value="http://mine")
    section.do("restore", version=1)
    assert section.value == {"target": "http://mine", "users": 20, "token": "***"}


def test_a_restore_that_is_refused_is_told(section: Section) -> None:
    shown = section.do("restore", version=77)
    assert shown["outcome"]["tone"] == "bad"
    assert "no version 77" in shown["outcome"]["text"]


def test_probation_and_its_end_are_shown(section: Section, bench: ScriptedBench) -> None:
    bench.happen(Watched(plugin="goose", until=NOW + 5000))
    assert section.look()["watchedUntil"] == NOW + 5000
    notice = Notice(key="canary:goose", text="Taken back.", at=NOW)
    bench.happen(Watched(plugin="goose", until=None), Noticed(notice=notice))
    shown = section.look()
    assert "watchedUntil" not in shown
    assert shown["takenBack"] == {"text": "Taken back.", "at": NOW}
    bench.happen(Cleared(key="canary:goose"))
    assert "takenBack" not in section.look()


def test_without_a_schema_the_settings_are_json_with_a_reason(bench: ScriptedBench) -> None:
    bench.define("swan")
    bench.configure("swan", {"wings": 2})
    section = Section(bench)
    section.panel.plugin = "swan"
    shown = section.look()
    assert shown["hasSchema"] is False
    assert "has not registered yet" in shown["form"]["notice"]
    root = shown["form"]["root"]
    assert root["kind"] == "json"
    section.edit("text", "", text='{"wings": 3}')
    assert section.do("save")["outcome"]["tone"] == "ok"
    assert bench.saves[-1]["settings"] == {"wings": 3}
    section.edit("text", "", text='{"wings": ')
    assert section.panel.shown["isDirty"] is True
    assert section.panel.shown["isValid"] is False
    section.edit("text", "", text="[]")
    assert section.panel.shown["isValid"] is False
    bench.configure("swan", {"wings": 3}, {"type": "object", "properties": {"wings": {}}})
    section.do("discard")
    assert section.look()["form"]["root"]["kind"] == "group"
    section.board.close()


def test_what_a_plugin_inherits_is_shown_and_need_not_be_repeated(bench: ScriptedBench) -> None:
    bench.define("swan")
    bench.configure("swan", {}, SCHEMA, inherited={"target": "http://file"})
    section = Section(bench)
    section.panel.plugin = "swan"
    shown = section.look()
    assert shown["isValid"] is True
    fields = shown["form"]["root"]["fields"]
    assert fields["target"]["default"] == "http://file"
    assert fields["users"]["default"] == 10
    section.edit("set", "/on", value=True)
    section.do("save")
    assert bench.saves[-1]["settings"] == {"on": True}
    section.board.close()


def test_settings_that_cannot_be_read_are_told_and_can_be_asked_for_again(
    bench: ScriptedBench,
) -> None:
    bench.refusal = StoreError(reason="locked")
    section = Section(bench)
    shown = section.look()
    assert "locked" in shown["failure"]
    assert "form" not in shown
    bench.refusal = None
    assert "form" in section.do("reload")
    section.board.close()


def test_a_plugin_that_is_removed_is_told(section: Section) -> None:
    section.panel.plugin = "nobody"
    assert section.look()["isGone"] is True


def test_an_intent_of_nobody_is_ignored(section: Section) -> None:
    before = section.look()
    assert is_same(section.do("no such verb"), before)


# --- bringing two people's edits together -------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "together", "clashes"),
    [
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, []),
        ({"a": 1}, {"a": 1}, {"a": 3}, {"a": 3}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, ["/a"]),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {}, {"a": 1, "b": 2}, {"b": 2}, []),
        ({"a": 1}, {"a": 1, "b": 1}, {}, {"b": 1}, []),
        ({"a": 1}, {}, {"a": 2}, {}, ["/a"]),
        ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, []),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [0]}, {"l": [1, 2]}, ["/l"]),
        ({"a": 1}, {"a": True}, {"a": 1}, {"a": True}, []),
        ({"k/~": 1}, {"k/~": 2}, {"k/~": 3}, {"k/~": 2}, ["/k~1~0"]),
    ],
)
def test_edits_of_two_are_brought_together_key_by_key(
    base: Any, mine: Any, theirs: Any, together: Any, clashes: list[str]
) -> None:
    assert combined(base, mine, theirs) == (together, clashes)


def test_work_of_a_closed_page_harms_nobody(bench: ScriptedBench) -> None:
    section = Section(bench)
    section.look()
    section.board.close()
    section.edit("set", "/users", value="3")
    eventually(lambda: section.value["users"] == 3)
