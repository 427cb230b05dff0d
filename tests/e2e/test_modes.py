"""A Host in a script, in a running event loop, in a nested one, and in a notebook under nbval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import processes_of
from tests.plugins import write_plugin

pytestmark = pytest.mark.timeout(120)

SCRIPT = """
from bkg_workbench import Host
with Host() as host:
    host.start("demo")
    print(host.call("demo.greet", {"name": "Ada"})["text"])
"""

IN_A_LOOP = """
import asyncio
from bkg_workbench import Host
async def main():
    with Host() as host:
        host.start("demo")
        print((await host.acall("demo.greet", {"name": "Ada"}))["text"])
        assert host.call("demo.greet", {"name": "Ada"}) == {"text": "Hello Ada"}
asyncio.run(main())
"""

NESTED = """
import asyncio, nest_asyncio
nest_asyncio.apply()
from bkg_workbench import Host
async def main():
    with Host() as host:
        host.start("demo")
        answer = asyncio.get_event_loop().run_until_complete(
            host.acall("demo.greet", {"name": "Ada"})
        )
        print(answer["text"])
        assert host.call("demo.greet", {"name": "Ada"}) == {"text": "Hello Ada"}
asyncio.get_event_loop_policy().new_event_loop().run_until_complete(main())
"""


@pytest.mark.row("K16")
@pytest.mark.parametrize("code", [SCRIPT, IN_A_LOOP, NESTED], ids=["script", "loop", "nested"])
def test_a_host_works_whatever_loop_runs_already(workspace: Path, code: str) -> None:
    write_plugin(workspace)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Hello Ada\n"), done.stderr
    assert processes_of(workspace) == {}


@pytest.mark.row("K15")
@pytest.mark.slow
def test_a_notebook_that_leaves_its_host_running_leaves_nothing_behind(
    workspace: Path, tmp_path: Path
) -> None:
    write_plugin(workspace, autostart=True)
    code = "from bkg_workbench import Host\nhost = Host()\nhost.start('demo').state"
    output = {
        "output_type": "execute_result",
        "execution_count": 1,
        "metadata": {},
        "data": {"text/plain": ["'running'"]},
    }
    cell = {
        "cell_type": "code",
        "id": "a",
        "execution_count": 1,
        "metadata": {},
        "source": code,
        "outputs": [output],
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {
        "cells": [cell],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    notebook = tmp_path / "left.ipynb"
    notebook.write_text(json.dumps(content))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-c", os.devnull, str(notebook)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
