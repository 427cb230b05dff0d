"""What the panels' JavaScript computes without a page: durations, merge patches, filter, order."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bkg_workbench.testing.scripted import NOW, ScriptedBench
from bkg_workbench.widgets import view
from bkg_workbench.widgets.live import merge_patch, plain, script
from bkg_workbench.widgets.panel import Moment

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None, reason="needs node, which .ci/run installs"
)

VALUES = st.recursive(
    st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=40)


def computed(folder: Path, expression: str, value: Any, panel: str | None = None) -> Any:
    """What the scripts of a panel make of `value` (in the expression: `given`)."""
    module = folder / "words.mjs"
    lines = [
        script(*([panel] if panel else [])),
        f"const given = {json.dumps(value)};",
        f"console.log(JSON.stringify({expression}));",
    ]
    module.write_text("\n".join(lines), "utf-8")
    done = subprocess.run(
        ["node", str(module)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_durations_read_well(tmp_path: Path) -> None:
    expected = {
        "0.4": "0 s", "119": "119 s", "120": "2 min", "7500": "2 h 05 min", "90000": "1 d 1 h",
        "-5": "0 s",
    }  # fmt: skip
    assert computed(tmp_path, "given.map((s) => duration(Number(s)))", list(expected)) == list(
        expected.values()
    )


@given(OBJECTS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_page_rebuilds_the_data_from_the_patches(
    tmp_path: Path, states: list[dict[str, Any]]
) -> None:
    patches = [merge_patch(old, new) for old, new in zip([{}, *states], [*states, {}], strict=True)]
    rebuilt = computed(
        tmp_path,
        "given.reduce((all, patch) => [...all, mergePatch(all[all.length - 1], patch)], [{}])",
        patches,
    )
    assert rebuilt == [{}, *states, {}]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", ["apikeys", "candle", "goose"]),
        ("-name", ["goose", "candle", "apikeys"]),
        ("state", ["candle", "goose", "apikeys"]),
        ("-restarts", ["candle", "apikeys", "goose"]),
        ("cpu", ["goose", "apikeys", "candle"]),
        ("-cpu", ["goose", "apikeys", "candle"]),
        ("nonsense", ["apikeys", "candle", "goose"]),
    ],
)
def test_rows_are_in_order_and_what_is_not_known_comes_last(
    tmp_path: Path, sort: str, names: list[str]
) -> None:
    bench = ScriptedBench()
    for name in ("apikeys", "candle", "goose"):
        bench.define(name)
    bench.run("goose")
    bench.move("candle", "failed", "no start.sh", restarts=3)
    samples = {"goose": [{"at": NOW, "cpu": 3.0, "mem_bytes": 2**20}]}
    rows = plain(view.fold(Moment(state=bench.state, now_ms=NOW, samples=samples)))["rows"]
    found = computed(
        tmp_path,
        f"sorted(Object.values(given), {json.dumps(sort)}).map((row) => row.name)",
        rows,
        "inventory.js",
    )
    assert found == names


@pytest.mark.parametrize("panel", ["inventory.js", "ports.js"])
def test_the_panels_scripts_can_be_read(tmp_path: Path, panel: str) -> None:
    assert computed(tmp_path, "given", 1, panel) == 1
