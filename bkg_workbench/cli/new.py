"""`bkg new plugin`: a plug-in that works at once.

Owns where its files go and that its definition comes into the workspace, through the Host that runs
or, where none does, by the store itself. Either all of it is made or nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.scaffold import Scaffold, shown
from bkg_workbench.client.attach import attach, find_workspace
from bkg_workbench.errors import HostNotFound, WorkspaceError
from bkg_workbench.host.inventory import offline
from bkg_workbench.protocol.definition import Definition

DESCRIPTION = "Says hello, and counts"


def plugin(arguments: argparse.Namespace, console: Console) -> int:
    """Make the plug-in and say what to do with it."""
    scaffold = Scaffold(
        arguments.name, arguments.lang, arguments.description or DESCRIPTION,
        own_environment=arguments.own_environment,
    )  # fmt: skip
    if arguments.dir is not None:
        folder = Path(arguments.dir).expanduser().resolve() / scaffold.name
        with _made(scaffold, folder):
            (folder / "README.md").write_text(_readme(scaffold), encoding="utf-8")
        _tell(console, scaffold, folder, None, None)
        return 0
    root = find_workspace(arguments.workspace)
    folder = root / "plugins" / scaffold.name
    with _definitions(root, console) as known:
        if scaffold.name in known.names:
            raise WorkspaceError(
                f"The workspace has a plug-in {scaffold.name} already; take another name, or "
                "remove its definition first.",
                path=str(root),
            )
        with _made(scaffold, folder):
            known.add(scaffold.definition())
        page = _page(scaffold, root)
    _tell(console, scaffold, folder, root, page)
    return 0


# -- files --------------------------------------------------------------------------------------
@contextmanager
def _made(scaffold: Scaffold, folder: Path) -> Iterator[None]:
    """Make the folder; take it away again where what follows fails."""
    if folder.exists() or folder.is_symlink():
        raise WorkspaceError(f"{folder} is there already; take another name, or move it away.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{scaffold.name}.", dir=folder.parent))
        try:
            aside.chmod(0o755)
            for place, content in scaffold.files().items():
                file = aside / place
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content, encoding="utf-8")
                if content.startswith("#!"):
                    file.chmod(0o755)
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename})"
        raise WorkspaceError(path=str(folder), reason=reason) from None
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _readme(scaffold: Scaffold) -> str:
    return scaffold.page(".").replace("](../../././", "](").replace("](../.././", "](")


def _page(scaffold: Scaffold, root: Path) -> Path | None:
    """The page in docs/plugins; one that is there already stays as it is."""
    page = root / "docs" / "plugins" / f"{scaffold.name}.md"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("x", encoding="utf-8") as file:
            file.write(scaffold.page(f"plugins/{scaffold.name}"))
    except OSError:
        return None
    return page


# -- definitions --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Definitions:
    """The definitions of a workspace: their names, and the way to add one."""

    names: frozenset[str]
    add: Callable[[Definition], object]


@contextmanager
def _definitions(root: Path, console: Console) -> Iterator[Definitions]:
    try:
        bench = attach(root)
    except HostNotFound:
        with _alone(root, console) as known:
            yield known
        return
    with bench:
        names = frozenset(bench.state.plugins)
        yield Definitions(names, lambda definition: bench.define(definition, author=_author()))


@contextmanager
def _alone(root: Path, console: Console) -> Iterator[Definitions]:
    """As the workspace's owner for a moment: no Host can begin meanwhile."""
    with asyncio.Runner() as runner:
        place = offline(root)
        inventory, notices = runner.run(place.__aenter__())
        try:
            for notice in notices:
                console.note(notice, "yellow")
            names = runner.run(inventory.names())
            author = _author() or ""
            yield Definitions(names, lambda one: runner.run(inventory.define(one, author=author)))
        finally:
            runner.run(place.__aexit__(None, None, None))


def _author() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return None


# -- what is said -------------------------------------------------------------------------------
def _tell(
    console: Console, scaffold: Scaffold, folder: Path, root: Path | None, page: Path | None
) -> None:
    definition = scaffold.definition()
    if console.is_json:
        console.data(
            {
                "plugin": scaffold.name,
                "folder": str(folder),
                "files": sorted(scaffold.files()),
                "page": str(page) if page else None,
                "definition": msgspec.to_builtins(definition),
                "defined": root is not None,
            }
        )
        return
    place = shlex.quote(min(os.path.relpath(folder), str(folder), key=len))
    console.line(f"{scaffold.name} is in {place}.", "bold")
    if root is None:
        console.line("To use it, put its folder into a workspace's plugins/ and this into")
        console.line(f"plugins.json: {shown(definition)}")
    elif page is None:
        console.line(f"docs/plugins/{scaffold.name}.md was left as it is.")
    console.line("Next:")
    if root is not None:
        console.line(f"  bkg start {scaffold.name}")
        console.line(f'  bkg call {scaffold.area}.greet \'{{"name": "Ada"}}\'')
    console.line(f"  bkg conformance -- {place}/start.sh")
    console.line(f"  python -m pytest {place}/tests")
