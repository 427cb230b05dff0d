"""A real JupyterLab on this machine, and notebooks opened in it.

Owns the server's process and what a test does in a notebook: open, run, look at a cell's output.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import BrowserContext, Locator, Page

from tests.helpers import eventually

START_SECONDS = 90.0
RUN_TRIES = 6
READY = """async () => {
  if (!window.jupyterapp) return false;
  await window.jupyterapp.restored;
  const context = window.jupyterapp.shell.currentWidget?.sessionContext;
  if (!context) return false;
  await context.ready;
  const kernel = context.session?.kernel;
  if (!kernel) return false;
  await kernel.info;
  return kernel.connectionStatus === "connected";
}"""
"""Before that JupyterLab drops what it is asked to run."""
SETTINGS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",
    "--ServerApp.port_retries=0",
    "--ServerApp.terminals_enabled=False",
    "--LabApp.expose_app_in_browser=True",
    # A lab as it runs where there is no network: nothing to ask about news, versions, extensions.
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--KernelManager.transport=ipc",
)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    """Without a slash at its end."""
    token: str
    folder: Path
    """Where its notebooks lie."""

    def api(self, method: str, path: str) -> Any:
        """Ask its REST interface."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        """Shut down every kernel, as the running-terminals-and-kernels tab does."""
        for session in self.api("GET", "sessions"):
            self.api("DELETE", f"sessions/{session['id']}")

    def open(
        self, context: BrowserContext, cells: Sequence[str], *, theme: str = "light"
    ) -> Notebook:
        """A notebook with these code cells in a new tab; nothing runs yet."""
        name = f"test-{secrets.token_hex(4)}.ipynb"
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        )
        nbformat.write(notebook, self.folder / name)
        page = context.new_page()
        page.goto(f"{self.url}/lab/tree/{name}?token={self.token}&reset", wait_until="commit")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
        page.wait_for_function(READY)
        found = Notebook(page)
        if theme == "dark":
            found.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
            page.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
        return found


class Notebook:
    """One notebook in one tab."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Carry out one of JupyterLab's commands and wait until it has."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)",
            [name, arguments or {}],
        )

    def run_all(self) -> None:
        """Run every cell, without waiting for their end."""
        for _ in range(RUN_TRIES):
            before = self._prompts()
            # The command's promise is that of the last cell's end.
            self.page.evaluate(
                "() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }"
            )
            try:
                eventually(lambda before=before: self._prompts() != before, timeout=5.0)
            except AssertionError:
                continue  # a lab that still arranges itself drops what it is asked to run
            return
        raise AssertionError("JupyterLab ran no cell")

    def _prompts(self) -> list[str]:
        return self.page.locator(".jp-Notebook .jp-InputPrompt").all_inner_texts()

    def output(self, cell: int) -> Locator:
        """What stands below a cell, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-OutputArea")


@contextmanager
def running(workspace: Path, place: Path) -> Iterator[Lab]:
    """JupyterLab with settings of its own, over an empty folder, for the workspace."""
    folder = place / "notebooks"
    folder.mkdir(parents=True)
    token = secrets.token_hex(16)
    quiet = place / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    own = {
        name: str(place / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
        )
    }  # fmt: skip
    # Sockets of kernels lie there, and their paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="bkg-") as short, (place / "lab.log").open("wb") as log:
        runtime = Path(short)
        own["JUPYTER_RUNTIME_DIR"] = short
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *SETTINGS, f"--ServerApp.root_dir={folder}"],
            env={
                **os.environ, **own, "JUPYTER_TOKEN": token, "BKG_WORKSPACE": str(workspace),
                "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            },
            stdout=log, stderr=log, cwd=folder, start_new_session=True,
        )  # fmt: skip
        try:
            yield Lab(_url(process, runtime), token, folder)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[bytes], runtime: Path) -> str:
    """Where the server listens, as soon as it says so."""
    note = runtime / f"jpserver-{process.pid}.json"
    end = time.monotonic() + START_SECONDS

    def told() -> dict[str, Any] | None:
        assert process.poll() is None, f"JupyterLab ended: {process.returncode}"
        try:
            found: dict[str, Any] = json.loads(note.read_text())
        except (OSError, ValueError):  # not yet, or not whole
            return None
        return found if found.get("port") else None

    found = eventually(told, timeout=end - time.monotonic())
    assert found
    return f"http://127.0.0.1:{found['port']}"
