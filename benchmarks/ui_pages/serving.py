"""The servers of `benchmarks/ui.py`: this workbench's pages and stock Voilà, each over one folder.

Owns their processes and the notebooks in the folder; ends what it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
TOKEN = "benchmark"


def notebook(folder: Path, name: str, code: str) -> None:
    """Write a notebook of one cell, which finds the scenes."""
    source = f"import sys\nsys.path.insert(0, {str(HERE)!r})\nimport scenes\n{code}"
    cell = {"cell_type": "code", "execution_count": None, "id": "one", "metadata": {}}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": [{**cell, "outputs": [], "source": source}],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / f"{name}.ipynb").write_text(json.dumps(content))


@dataclass(frozen=True)
class Server:
    """A server of pages that answers."""

    process: psutil.Process
    base: str
    is_ours: bool

    def url(self, name: str) -> str:
        """The address of a notebook's page."""
        if self.is_ours:
            return f"{self.base}/{name}?token={TOKEN}"
        return f"{self.base}/voila/render/{name}.ipynb"

    def kernels(self) -> list[psutil.Process]:
        """The kernels that it runs, spare ones too."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ipykernel_launcher" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def memory(self) -> int:
        """Bytes that only the server and its kernels use."""
        used = 0
        for process in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used += process.memory_full_info().uss
        return used


@contextmanager
def serving(folder: Path, *, is_ours: bool) -> Iterator[Server]:
    """Serve the notebooks of `folder`: by this workbench's pages, or by Voilà as it comes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = "bkg_workbench.widgets.pages" if is_ours else "voila"
    command = [sys.executable, "-m", module, f"--port={port}", "--Voila.ip=127.0.0.1"]
    command += ["--no-browser", str(folder)] if not is_ours else [str(folder)]
    environment = {**os.environ, "BKG_WEB_TOKEN": TOKEN, "JUPYTER_RUNTIME_DIR": str(folder / "run")}
    with (folder / "server.log").open("ab") as log:
        started = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    server = Server(psutil.Process(started.pid), f"http://127.0.0.1:{port}", is_ours)
    try:
        end = time.monotonic() + 90
        while not _answers(server.base):
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit((folder / "server.log").read_text()[-3000:])
            time.sleep(0.1)
        yield server
    finally:
        left = server.process.children(recursive=True)
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(10)
        for process in (*left, server.process):
            with contextlib.suppress(psutil.Error):
                process.kill()
        started.wait(10)


def _answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
