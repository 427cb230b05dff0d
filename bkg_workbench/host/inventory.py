"""Which plug-ins a workspace has: folders taken in, definitions removed, environments made anew.

Owns what happens to a plug-in's files then, and in which order files and definition change. Used by
a running Host, and without one by the command (`offline`). Does not start or stop anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bkg_workbench.errors import AlreadyRegistered, InvalidParams, PluginNotFound
from bkg_workbench.host import backup
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.envelopes import PluginName
from bkg_workbench.store.configs import MIGRATIONS, Configs
from bkg_workbench.store.database import Database
from bkg_workbench.supervisor.entrypoint import check_entrypoint

START = "start.sh"
NOT_COPIED = (
    "__pycache__", "*.pyc", ".git", ".venv", ".bkg", ".pytest_cache", ".mypy_cache", ".ruff_cache",
    ".ipynb_checkpoints", "config.runtime.json",
)  # fmt: skip
REBUILD = "rebuild"
"""The file beside config.runtime.json that `plugin_env` takes as the wish for a new environment."""


@dataclass(frozen=True)
class Removal:
    """What became of a plug-in's folders, as paths below the workspace."""

    deleted: list[str]
    kept: list[str]


class Inventory:
    """The plug-ins of one workspace. `configs` is loaded."""

    def __init__(self, workspace: Workspace, configs: Configs) -> None:
        self._workspace, self._configs = workspace, configs

    async def add(
        self,
        folder: Path,
        *,
        name: str | None = None,
        autostart: bool | None = None,
        capabilities: list[str] | None = None,
        author: str = "",
    ) -> Definition:
        """Make a folder with a start.sh a plug-in: copied to `plugins/<name>`, or taken in place.

        `name` is by default the folder's. A folder of `plugins/` whose definition is there already
        gets what is given. Raises `InvalidParams`, `AlreadyRegistered`, `StoreError`.
        """
        folder = Path(os.path.normpath(folder))
        _check_capabilities(capabilities or [])
        if not folder.is_absolute() or not folder.is_dir():
            raise _wrong("/folder", f"{folder} is no folder")
        chosen = _checked_name(name or folder.name, is_given=name is not None)
        given: dict[str, Any] = {"autostart": autostart, "capabilities": capabilities}
        given = {key: value for key, value in given.items() if value is not None}
        if folder.resolve().parent == self._workspace.plugins.resolve():
            return await self._take(folder, chosen, given, author)
        return await self._copy(folder, chosen, Definition(name=chosen, **given), author)

    async def _take(
        self, folder: Path, name: str, given: dict[str, Any], author: str
    ) -> Definition:
        """A folder of `plugins/` as it is. Under another name it shares its start.sh."""
        _check_program(folder, self._workspace.plugins)
        entrypoint = START if folder.name == name else f"{folder.name}/{START}"
        try:
            present = (await self._configs.get(name)).definition
        except PluginNotFound:
            definition = Definition(name=name, entrypoint=entrypoint)
        else:
            if self._configs.plugin_dir(present).resolve() != folder.resolve():
                raise _taken(name)
            # Its settings as they are kept: masked ones stand for themselves.
            definition = present
        definition = msgspec.structs.replace(definition, **given)
        await self._configs.set_definition(definition, author)
        return definition

    async def _copy(
        self, folder: Path, name: str, definition: Definition, author: str
    ) -> Definition:
        plugins = self._workspace.plugins
        target = plugins / name
        if os.path.lexists(target) or await self._is_defined(name):
            raise _taken(name)
        if plugins.resolve().is_relative_to(folder.resolve()):
            raise _wrong("/folder", f"{folder} has this workspace in it")
        staged = plugins / f".adding-{name}-{secrets.token_hex(4)}"
        try:
            await asyncio.to_thread(_copy_tree, folder, staged)
            _check_program(staged, plugins, shown=folder)
            # The definition first: a folder without one would get one by itself.
            await self._configs.set_definition(definition, author)
            try:
                os.rename(staged, target)
            except OSError as error:
                await self._configs.remove(name, author)
                raise _wrong("/folder", f"{target} cannot be made: {error.strerror}") from None
        finally:
            await asyncio.to_thread(shutil.rmtree, staged, True)
        return definition

    async def _is_defined(self, name: str) -> bool:
        try:
            await self._configs.get(name)
        except PluginNotFound:
            return False
        return True

    async def remove(self, name: str, *, delete_files: bool = False, author: str = "") -> Removal:
        """Remove a plug-in that is stopped; its folders stay unless `delete_files`.

        A folder that another definition shares stays in any case. Raises `PluginNotFound`,
        `StoreError`.
        """
        definition = (await self._configs.get(name)).definition
        await self._configs.remove(name, author)
        others = (await self._configs.present()).definitions
        shared = {self._configs.plugin_dir(other).resolve() for other in others}
        shared |= {(self._workspace.plugins / other.name).resolve() for other in others}
        own = self._workspace.plugins / name
        folders = [self._workspace.hidden / "plugins" / name]
        if self._configs.plugin_dir(definition) == own:
            folders.insert(0, own)
        deleted: list[str] = []
        kept: list[str] = []
        for folder in folders:
            if not os.path.lexists(folder):
                continue
            goes = delete_files and folder.resolve() not in shared
            if goes:
                await asyncio.to_thread(_delete, folder)
            path = folder.relative_to(self._workspace.root).as_posix()
            (deleted if goes else kept).append(path)
        return Removal(deleted, kept)

    async def names(self) -> frozenset[str]:
        """The plug-ins that have a definition."""
        return frozenset(one.name for one in (await self._configs.present()).definitions)

    async def define(self, definition: Definition, *, author: str = "") -> None:
        """Add a definition, or change it. Raises `StoreError`."""
        await self._configs.set_definition(definition, author)

    async def want_rebuild(self, name: str) -> None:
        """Have the plug-in's own environment built anew at its next start.

        Raises `PluginNotFound`, and `InvalidParams` where it has none.
        """
        definition = (await self._configs.get(name)).definition
        folder = self._configs.plugin_dir(definition)
        for part in ("pyproject.toml", "requirements.lock"):
            if not (folder / part).is_file():
                raise _wrong(
                    "/name", f"{name} has no environment of its own: no {part} in {folder}"
                )
        (self._workspace.plugin_folder(name) / REBUILD).touch(mode=0o600)


@asynccontextmanager
async def offline(root: Path) -> AsyncIterator[tuple[Inventory, list[str]]]:
    """The inventory of a workspace without a Host, and the notices of its loading.

    No Host can start meanwhile. Raises `WorkspaceOwned`, `WorkspaceError`, `StoreError`.
    """
    workspace = Workspace(root)
    workspace.prepare()
    workspace.lock()
    database = Database(workspace.database, MIGRATIONS)
    try:
        await asyncio.to_thread(backup.finish, workspace)
        configs = Configs(database, workspace.plugins, workspace.hidden)
        notices = (await configs.load()).notices
        yield Inventory(workspace, configs), notices
    finally:
        await asyncio.to_thread(database.close)
        workspace.unlock()


# -- checks -------------------------------------------------------------------------------------
def _checked_name(name: str, *, is_given: bool) -> str:
    try:
        return msgspec.convert(name, PluginName)
    except msgspec.ValidationError:
        hint = "" if is_given else "; give it another one with `name` (--name)"
        what = f"{name!r} is no name of a plug-in: small letters, digits, - and _, at most 32{hint}"
        raise _wrong("/name" if is_given else "/folder", what) from None


def _check_capabilities(names: Iterable[str]) -> None:
    for index, name in enumerate(names):
        if not is_name(name) or name.startswith("host."):
            raise _wrong(f"/capabilities/{index}", f"{name!r} is no capability, like repo.search")


def _check_program(folder: Path, plugins: Path, shown: Path | None = None) -> None:
    problem = check_entrypoint(folder / START, folder, plugins)
    if problem is None:
        problem = _problem_of_settings(folder / "config.json")
    if problem is not None:
        raise _wrong("/folder", problem.replace(str(folder), str(shown or folder)))


def _problem_of_settings(file: Path) -> str | None:
    try:
        content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        if content.strip() and not isinstance(json.loads(content), dict):
            return f"{file} is no JSON object"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return f"{file} cannot be read: {error}"
    return None


def _taken(name: str) -> AlreadyRegistered:
    return AlreadyRegistered(
        f"This workspace has a plug-in {name} already; give this one another name (--name), or "
        "remove that one first.",
        plugin=name,
    )


def _wrong(where: str, what: str) -> InvalidParams:
    return InvalidParams(f"{what[0].upper()}{what[1:]}.", errors={where: what})


# -- files --------------------------------------------------------------------------------------
def _copy_tree(source: Path, target: Path) -> None:
    """A copy without caches; links stay links, and start.sh can be run."""
    try:
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        program = target / START
        if program.is_file() and not program.is_symlink():
            program.chmod(program.stat().st_mode | 0o111)
    except shutil.Error as error:
        first = error.args[0][0]
        raise _wrong("/folder", f"{first[0]} cannot be copied: {first[2]}") from None
    except OSError as error:
        what = f"{error.filename or source} cannot be copied: {error.strerror or error}"
        raise _wrong("/folder", what) from None


def _delete(folder: Path) -> None:
    """Gone at once under its name, then in full."""
    if folder.is_symlink():
        folder.unlink()
        return
    going = folder.with_name(f".removed-{folder.name}-{secrets.token_hex(4)}")
    os.rename(folder, going)
    shutil.rmtree(going, ignore_errors=True)
