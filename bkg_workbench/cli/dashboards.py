"""`bkg dashboard`: the address of a page, served from now on, and the browser that opens it.

Owns which page a name means. The pages are the Host's (`host.pages`).
"""

from __future__ import annotations

import argparse
import os
import webbrowser
from html import escape
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import PluginNotFound, WorkspaceError

HOME = "plugins"
"""The notebook of `/`, which is given without a name."""


def dashboard(arguments: argparse.Namespace, console: Console) -> int:
    """Print a page's address; with `--open` show it in the browser."""
    with _joined(arguments) as bench:
        root = Path(bench.info()["workspace"])
        page = page_of(arguments.name, root, [plugin.name for plugin in bench.plugins()])
        url = address(bench.pages(), page)
    if console.is_json:
        console.data({"url": url})
    else:
        console.line(url)
    if arguments.open:
        _open(url, root / ".bkg" / "open.html")
    return codes.OK


def _joined(arguments: argparse.Namespace) -> Workbench:
    if not arguments.start:
        return attach(arguments.workspace)
    from bkg_workbench.host.host import workbench

    return workbench(arguments.workspace, host="process")


def page_of(name: str | None, root: Path, plugins: list[str]) -> str:
    """The path of the page that `name` means: a plug-in's, else a dashboard's of the workspace.

    Raises `PluginNotFound` with the names that there are.
    """
    if name is None or name == HOME:
        return ""
    if name in plugins:
        return f"plugins/{quote(name)}"
    notebooks = sorted(file.stem for file in (root / "dashboards").glob("*.ipynb"))
    own = [one for one in notebooks if one not in (HOME, "plugin")]
    if name in own:
        return name
    raise PluginNotFound(plugin=name, known=sorted({*plugins, *own}))


def address(home: str, page: str) -> str:
    """The address of `page`, given that of the first one with its token."""
    scheme, place, path, query, _ = urlsplit(home)
    return urlunsplit((scheme, place, f"{path.rstrip('/')}/{page}", query, ""))


def _open(url: str, file: Path) -> None:
    """Show `url` in the browser. By way of a file: every user can read a command line."""
    text = f'<!DOCTYPE html><meta http-equiv="refresh" content="0;url={escape(url)}">\n'
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    if not webbrowser.open(file.as_uri()):
        raise WorkspaceError("No browser was found; open the address above.", path=str(file))
