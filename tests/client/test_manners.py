"""A workbench in IPython, each time a fresh one: errors are a sentence, names are completed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROLOGUE = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.colors = "nocolor"
"""


def ipython(script: str, *, folder: Path) -> str:
    """What a fresh IPython prints."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_error_of_the_workbench_is_a_sentence_and_tb_has_the_rest(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "plugins.json").write_text("{}")
    shown = ipython(
        """
result = shell.run_cell("from bkg_workbench import attach; attach()")
assert result.error_in_exec is not None
print("--- then")
shell.run_line_magic("tb", "")
""",
        folder=tmp_path,
    )
    short, _, whole = shown.partition("--- then")
    assert "HostNotFound" in short
    assert "No Host is running for" in short
    assert "Traceback" not in short
    assert "%tb" in short
    assert len(short.strip().splitlines()) == 2
    assert "Traceback" in whole
    assert "attach()" in whole


def test_other_errors_keep_their_traceback_and_a_handler_of_ones_own_stays(tmp_path: Path) -> None:
    shown = ipython(
        """
from bkg_workbench.client import manners
manners.install()
shell.run_cell("1 / 0")
own = InteractiveShell.instance()
print("--- own")
own._bkg_workbench_manners = False
own.set_custom_exc((ValueError,), lambda *_, **__: print("mine"))
manners.install()
own.run_cell("raise ValueError()")
""",
        folder=tmp_path,
    )
    usual, _, own = shown.partition("--- own")
    assert "ZeroDivisionError" in usual
    assert "Traceback" in usual
    assert own.strip() == "mine"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('bench.start("go', ["goose"]),
        ("await bench.astop('", ["candle", "goose"]),
        ("bench.config(", ['"candle"', '"goose"']),
        ('bench.call("goose.', ["goose.run", "goose.stop"]),
        ('bench.stream("emb', ["embed.text"]),
        ('bench.call("goose.run", "go', []),
        ('other.start("go', []),
        ('nobody.start("go', []),
    ],
)
def test_a_verbs_first_argument_is_completed(tmp_path: Path, line: str, names: list[str]) -> None:
    shown = ipython(
        f"""
from bkg_workbench.client import manners
from bkg_workbench.testing import ScriptedBench
manners.install()
manners.install()
bench = ScriptedBench()
bench.define("goose", capabilities=["goose.run", "goose.stop"])
bench.define("candle", capabilities=["embed.text"])
shell.user_ns.update(bench=bench, other=object())
_, found = shell.complete(None, {line!r})
print(json.dumps(found))
""",
        folder=tmp_path,
    )
    found: list[Any] = json.loads(shown.splitlines()[-1])
    assert [
        name for name in found if any(part in name for part in ("goose", "candle", "embed"))
    ] == names


def test_bench_lists_its_verbs_with_their_docstrings() -> None:
    from bkg_workbench import Workbench

    public = [name for name in dir(Workbench) if not name.startswith("_")]
    assert {"start", "stop", "restart", "call", "logs", "config", "watch"} <= set(public)
    for name in public:
        assert (getattr(Workbench, name).__doc__ or "").strip(), name


def test_without_ipython_nothing_is_installed() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from bkg_workbench.client import manners; manners.install();"
            "assert 'IPython' not in sys.modules",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
