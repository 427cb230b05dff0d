"""The panels' way to the page: patches that rebuild the data, intents that arrive."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.widgets.live import Live, merge_patch, plain, script, style

VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=5)


def applied(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = applied(merged.get(key), value)
    return merged


@given(OBJECTS, OBJECTS)
def test_a_patch_turns_the_old_data_into_the_new(old: dict[str, Any], new: dict[str, Any]):
    assert applied(old, merge_patch(old, new)) == new


@given(OBJECTS)
def test_the_same_data_need_no_patch(data: dict[str, Any]):
    assert merge_patch(data, dict(data)) == {}


def test_only_what_changed_is_in_a_patch():
    old = {"rows": {"a": {"cpu": 1, "name": "a"}, "b": {"cpu": 2}}, "title": "x"}
    new = {"rows": {"a": {"cpu": 3, "name": "a"}}, "title": "x"}
    assert merge_patch(old, new) == {"rows": {"a": {"cpu": 3}, "b": None}}


@dataclass(frozen=True)
class Thing:
    name: str
    note: str | None
    parts: tuple[int, ...]


def test_plain_data_have_no_nulls_and_no_tuples():
    assert plain({"thing": Thing("a", None, (1, 2))}) == {"thing": {"name": "a", "parts": [1, 2]}}


class Recorder(Live):
    _esm = script()

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.intents: list[Any] = []
        super().__init__({"rows": {}})

    def post(self, content: Any, buffers: list[bytes] | None = None) -> None:
        self.sent.append(content)

    def on_intent(self, intent: Any) -> None:
        self.intents.append(intent)


@pytest.fixture
def recorder():
    widget = Recorder()
    yield widget
    widget.close()


def test_a_view_travels_as_numbered_patches(recorder: Recorder):
    assert recorder.show({"rows": {"a": {"cpu": 1}}})
    assert not recorder.show({"rows": {"a": {"cpu": 1}}})
    assert recorder.show({"rows": {"a": {"cpu": 2}}})
    assert recorder.sent == [
        {"kind": "patch", "n": 1, "patch": {"rows": {"a": {"cpu": 1}}}},
        {"kind": "patch", "n": 2, "patch": {"rows": {"a": {"cpu": 2}}}},
    ]
    assert recorder.view == {"n": 2, "data": {"rows": {"a": {"cpu": 2}}}}
    assert recorder.get_state("view")["view"]["n"] == 2


@pytest.mark.parametrize(
    "content", ["text", None, {}, {"kind": "intent"}, {"kind": "intent", "verb": 1}]
)
def test_what_is_no_intent_is_ignored(recorder: Recorder, content: Any):
    recorder._on_message(None, content, [])
    assert recorder.intents == []


def test_an_intent_reaches_the_panel(recorder: Recorder):
    recorder._on_message(None, {"kind": "intent", "verb": "start", "plugin": "goose"}, [])
    assert [(i["verb"], i["plugin"]) for i in recorder.intents] == [("start", "goose")]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which .ci/run installs")
def test_the_shared_script_is_a_module_that_a_browser_can_read(tmp_path: Path):
    module = tmp_path / "panel.mjs"
    module.write_text(script() + "\nexport default live(() => null);\n")
    done = subprocess.run(["node", "--check", str(module)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_panel_shares_one_stylesheet():
    assert "--bad" in style()
