"""`bkg config`: a plug-in's settings, their versions, and going back."""

from __future__ import annotations

import argparse
import getpass
import json
from typing import Any

from bkg_workbench.cli.console import Console, encoded
from bkg_workbench.cli.payload import read_json
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.words import DASH, change, moment
from bkg_workbench.client.attach import attach
from bkg_workbench.errors import InvalidParams

DOCUMENT = {"name", "version", "settings", "schema"}
"""Keys by which what `config get --json` printed is known again."""


def get(arguments: argparse.Namespace, console: Console) -> int:
    """Print settings, what is in effect, and what is wrong with it."""
    with attach(arguments.workspace) as bench:
        found = bench.config(arguments.name)
    if console.is_json:
        console.data({"name": arguments.name, **found})
        return 0
    console.line(f"{arguments.name}, version {found['version']}", "bold")
    for title, key in (("settings", "settings"), ("in effect", "effective")):
        console.line(f"{title}:")
        console.data(found.get(key))
    for where, what in (found.get("errors") or {}).items():
        console.line(f"not valid: {where or '/'}: {what}", "yellow")
    return 0


def save(arguments: argparse.Namespace, console: Console) -> int:
    """Save settings: the object given, or what `config get --json` printed."""
    given = read_json(arguments.payload)
    settings, version = _settings(arguments.name, given)
    if arguments.at is not None:
        version = arguments.at
    if version is None:
        raise InvalidParams(
            "Give --version, the version that the settings were read at; "
            f"`bkg config get {arguments.name}` shows it."
        )
    with attach(arguments.workspace) as bench:
        reply = bench.save_config(
            arguments.name, settings, version, reason=arguments.reason, author=_author()
        )
    _say_saved(console, arguments.name, reply)
    return 0


def _settings(name: str, given: Any) -> tuple[dict[str, Any], int | None]:
    if not isinstance(given, dict):
        raise InvalidParams(f"The settings of {name} must be a JSON object.")
    if given.keys() < DOCUMENT or given.get("name") != name:
        return given, None
    settings, version = given.get("settings"), given.get("version")
    if isinstance(settings, dict) and isinstance(version, int) and "schema" in given:
        return settings, version
    return given, None


def history(arguments: argparse.Namespace, console: Console) -> int:
    """Print every version, newest first, with what it changed."""
    with attach(arguments.workspace) as bench:
        versions = bench.config_history(arguments.name)
    if console.is_json:
        console.data({"name": arguments.name, "versions": list(versions)})
        return 0
    if not versions:
        console.line(f"The settings of {arguments.name} have not been changed yet.")
    for one in versions:
        head = f"version {one['version']}  {moment(one.get('at'))}  {one.get('author') or DASH}"
        reason = one.get("reason")
        console.line(f"{head}  {reason}" if reason else head, "bold")
        for difference in one.get("diff") or []:
            line = change(difference, _short)
            style = {"+": "green", "-": "red"}.get(line[0])
            console.line(f"  {line}", style)
    return 0


def _short(value: Any) -> str:
    return encoded(value, compact=True) if not isinstance(value, str) else json.dumps(value)


def restore(arguments: argparse.Namespace, console: Console) -> int:
    """Make an earlier version the present one."""
    with attach(arguments.workspace) as bench:
        reply = bench.restore_config(arguments.name, arguments.version, author=_author())
    _say_saved(console, arguments.name, reply)
    return 0


def _say_saved(console: Console, name: str, reply: dict[str, Any]) -> None:
    if console.is_json:
        console.data({"name": name, **reply})
        return
    console.line(f"{name}: version {reply['version']} is saved.")
    if reply.get("applied") == "live":
        console.pairs([("", Cell("It is in effect already.", "green"))])
    else:
        console.line(f"It counts from the next start on: bkg restart {name}")


def _author() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return None
