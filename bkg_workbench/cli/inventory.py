"""`bkg plugins add`, `remove` and `rebuild`.

Owns the choice between the running Host and, without one, the workspace's own files.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bkg_workbench.cli.console import Console
from bkg_workbench.cli.progress import Progress
from bkg_workbench.client.attach import attach, find_workspace
from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import HostNotFound

if TYPE_CHECKING:
    from bkg_workbench.host.inventory import Inventory

T = TypeVar("T")
AUTHOR = "bkg plugins"


def add(arguments: argparse.Namespace, console: Console) -> int:
    """Make a folder a plug-in."""
    folder = Path(arguments.folder).expanduser().absolute()
    given = {
        "name": arguments.name,
        "autostart": arguments.autostart,
        "capabilities": arguments.serves,
        "author": AUTHOR,
    }
    bench = _attached(arguments)
    if bench is not None:
        with bench:
            definition = bench.add_plugin(folder, **given).definition
    else:
        definition = _without_host(
            arguments, console, lambda inventory: inventory.add(folder, **given)
        )
        # Without a Host nothing has masked them.
        definition = msgspec.structs.replace(definition, settings={})
    if console.is_json:
        console.data({"definition": definition, "host": bench is not None})
        return 0
    console.line(f"{definition.name}: added; `bkg start {definition.name}` starts it.")
    if not definition.capabilities:
        console.line(
            "It declares no capabilities, so no request will reach it: say which with "
            "--capability, or in plugins/plugins.json.",
            "yellow",
        )
    return 0


def remove(arguments: argparse.Namespace, console: Console) -> int:
    """Stop a plug-in and remove it."""
    name, delete = arguments.name, arguments.delete_files
    bench = _attached(arguments)
    done: dict[str, Any]
    if bench is not None:
        with bench:
            done = bench.remove_plugin(name, delete_files=delete, author=AUTHOR)
    else:
        removal = _without_host(
            arguments,
            console,
            lambda inventory: inventory.remove(name, delete_files=delete, author=AUTHOR),
        )
        done = {"name": name, "deleted": removal.deleted, "kept": removal.kept}
    if console.is_json:
        console.data(done)
        return 0
    console.line(f"{name}: removed.")
    for folder in done["deleted"]:
        console.line(f"  deleted: {folder}")
    for folder in done["kept"]:
        console.line(f"  kept: {folder}")
    if done["kept"] and not delete:
        console.line(f"`bkg plugins add plugins/{name}` brings it back.")
    return 0


def rebuild(arguments: argparse.Namespace, console: Console) -> int:
    """Build a plug-in's environment anew, now or at its next start."""
    name = arguments.name
    bench = _attached(arguments)
    if bench is None:
        _without_host(arguments, console, lambda inventory: inventory.want_rebuild(name))
        return _said_later(console, name)
    with bench:
        return asyncio.run(_rebuild(bench, name, arguments.timeout, console))


async def _rebuild(bench: Workbench, name: str, timeout: float, console: Console) -> int:
    async with Progress(bench, [name], console):
        plugin = await bench.arebuild(name, timeout=timeout)
    if plugin.wanted != "up":
        return _said_later(console, name)
    if console.is_json:
        console.data({"name": name, "rebuilt": True, "state": plugin.state})
    else:
        console.line(f"{name}: {plugin.state} in a new environment.")
    return 0


def _said_later(console: Console, name: str) -> int:
    if console.is_json:
        console.data({"name": name, "rebuilt": False})
    else:
        console.line(f"{name}: its environment is built anew at its next start.")
    return 0


def _attached(arguments: argparse.Namespace) -> Workbench | None:
    try:
        return attach(arguments.workspace)
    except HostNotFound:
        return None


def _without_host(
    arguments: argparse.Namespace, console: Console, work: Callable[[Inventory], Awaitable[T]]
) -> T:
    from bkg_workbench.host.inventory import offline

    async def run() -> T:
        async with offline(find_workspace(arguments.workspace)) as (inventory, notices):
            for notice in notices:
                console.note(notice, "yellow")
            return await work(inventory)

    return asyncio.run(run())
