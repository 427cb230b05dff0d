"""`bkg users list`, `add`, `password`, `scopes`, `disable`, `enable` and `delete`."""

from __future__ import annotations

import argparse
from typing import Any

from bkg_workbench.cli import codes, secret
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.words import count, moment
from bkg_workbench.client.attach import attach
from bkg_workbench.client.workbench import Workbench

ADMIN = "admin"
FIRST_START = "first-start"
"""The key of the Host's banner as long as apikeys waits for its first password."""


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """Show users."""
    with attach(arguments.workspace) as bench:
        users = bench.call("auth.users.list")
    if console.is_json:
        console.data(users)
        return codes.OK
    headers = ["NAME", "STATE", "SCOPES", "SINCE", "LAST LOGIN"]
    rows: list[list[str | Cell]] = [
        [
            user["name"],
            Cell("disabled", "red") if user["disabled"] else Cell("enabled", "green"),
            " ".join(user["scopes"]) or "none",
            moment(user["created_at"]),
            moment(user["last_login_at"]),
        ]
        for user in users
    ]
    console.table(headers, rows, whole=set(headers) - {"SCOPES"})
    return codes.OK


def add(arguments: argparse.Namespace, console: Console) -> int:
    """Add a user."""
    with attach(arguments.workspace) as bench:
        password = _chosen(arguments)
        payload = {
            "name": arguments.name, "password": password, "scopes": arguments.scopes or [],
        }  # fmt: skip
        user = bench.call("auth.users.create", payload)
    scopes = " ".join(user["scopes"]) or "nothing yet; `bkg users scopes` changes that"
    return _done(arguments, console, user, f"{arguments.name}: added, may {scopes}.", password)


def password(arguments: argparse.Namespace, console: Console) -> int:
    """Set a password, or begin with the first one."""
    with attach(arguments.workspace) as bench:
        chosen = _chosen(arguments)
        if arguments.name == ADMIN and waits_for_first_start(bench):
            bench.call("host.auth.begin", {"password": chosen}, timeout=120)
            sentence = "admin: this is the password now, and apikeys is up."
            return _done(arguments, console, {"name": ADMIN, "first": True}, sentence, chosen)
        done = bench.call("auth.users.setPassword", {"user": arguments.name, "password": chosen})
    ended = count(done["sessionsEnded"], "session")
    sentence = f"{arguments.name}: the password is changed, {ended} ended."
    return _done(arguments, console, {"name": arguments.name, **done}, sentence, chosen)


def waits_for_first_start(bench: Workbench) -> bool:
    """Whether apikeys has no password to begin with yet."""
    return any(notice.key == FIRST_START for notice in bench.state.notices)


def scopes(arguments: argparse.Namespace, console: Console) -> int:
    """Set scopes."""
    text = f"{arguments.name}: may {' '.join(arguments.scopes)}."
    return _update(arguments, console, {"scopes": arguments.scopes}, text)


def disable(arguments: argparse.Namespace, console: Console) -> int:
    """Keep a user out."""
    text = f"{arguments.name}: disabled; sessions have ended, keys are refused."
    return _update(arguments, console, {"disabled": True}, text)


def enable(arguments: argparse.Namespace, console: Console) -> int:
    """Let a user in again."""
    return _update(arguments, console, {"disabled": False}, f"{arguments.name}: enabled.")


def _update(
    arguments: argparse.Namespace, console: Console, changes: dict[str, Any], sentence: str
) -> int:
    with attach(arguments.workspace) as bench:
        user = bench.call("auth.users.update", {"name": arguments.name, **changes})
    return _done(arguments, console, user, sentence)


def delete(arguments: argparse.Namespace, console: Console) -> int:
    """Remove a user."""
    with attach(arguments.workspace) as bench:
        done = bench.call("auth.users.delete", {"name": arguments.name})
    text = f"{arguments.name}: removed with all keys and sessions."
    return _done(arguments, console, done, text)


def _chosen(arguments: argparse.Namespace) -> str:
    if arguments.generate:
        return secret.generated()
    return secret.ask(f"Password of {arguments.name}", twice=True)


def _done(
    arguments: argparse.Namespace,
    console: Console,
    data: dict[str, Any],
    sentence: str,
    made: str = "",
) -> int:
    is_made = bool(getattr(arguments, "generate", False))
    if console.is_json:
        console.data({**data, "password": made} if is_made else data)
    elif is_made:
        console.note(f"{sentence} The password is shown this once:")
        console.line(made)
    else:
        console.line(sentence)
    return codes.OK
