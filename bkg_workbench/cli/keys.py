"""`bkg keys create`, `list`, `revoke` and `rotate`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.tables import Cell
from bkg_workbench.cli.words import DASH, moment
from bkg_workbench.client.attach import attach


def create(arguments: argparse.Namespace, console: Console) -> int:
    """Make a key; the key alone goes to stdout."""
    payload = {
        "user": arguments.user,
        "scopes": arguments.scopes,
        "label": arguments.label,
        "expiresInSeconds": arguments.expires or None,
        "ratePerMinute": arguments.rate,
    }
    with attach(arguments.workspace) as bench:
        key = bench.call("auth.createKey", {k: v for k, v in payload.items() if v is not None})
    _show_once(console, key, f"Key {key['id']} of {key['user']}: {' '.join(key['scopes'])}.")
    return codes.OK


def rotate(arguments: argparse.Namespace, console: Console) -> int:
    """Give a key a new secret."""
    payload: dict[str, Any] = {"id": arguments.id}
    if arguments.overlap is not None:
        payload["overlapSeconds"] = arguments.overlap
    with attach(arguments.workspace) as bench:
        key = bench.call("auth.rotateKey", payload)
    until = key["overlap_until"]
    old = f"the old secret is valid until {moment(until)}" if until else "the old secret has ended"
    _show_once(console, key, f"Key {key['id']} has a new secret; {old}.")
    return codes.OK


def _show_once(console: Console, key: dict[str, Any], sentence: str) -> None:
    if console.is_json:
        console.data(key)
        return
    console.note(f"{sentence} It is shown this once:")
    console.line(key["token"])


def revoke(arguments: argparse.Namespace, console: Console) -> int:
    """End a key."""
    with attach(arguments.workspace) as bench:
        done = bench.call("auth.revokeKey", {"id": arguments.id})
    if console.is_json:
        console.data(done)
    elif done["revoked"]:
        console.line(f"{arguments.id}: revoked, in force now.")
    else:
        console.trouble(f"there is no valid key {arguments.id}; `bkg keys list` shows them")
    return codes.OK if done["revoked"] else codes.FAILED


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """Show keys."""
    payload = {"ended": arguments.ended, "user": arguments.user}
    with attach(arguments.workspace) as bench:
        keys = bench.call("auth.listKeys", {k: v for k, v in payload.items() if v is not None})
    if console.is_json:
        console.data(keys)
        return codes.OK
    if not keys:
        console.line("No keys. `bkg keys create --scope SCOPE` makes one.")
        return codes.OK
    headers = ["ID", "USER", "STATE", "SCOPES", "LABEL", "EXPIRES", "LAST USED"]
    console.table(headers, [_row(key) for key in keys], whole=set(headers) - {"SCOPES", "LABEL"})
    return codes.OK


def _row(key: dict[str, Any]) -> list[str | Cell]:
    now = time.time() * 1000
    state: str | Cell = Cell("valid", "green")
    if key["revoked_at"] is not None:
        state = Cell("revoked", "red")
    elif not key["isValid"]:
        state = Cell("expired", "yellow")
    elif key["overlap_until"] is not None and key["overlap_until"] > now:
        state = Cell("rotated", "cyan")
    return [
        key["id"],
        key["user"],
        state,
        " ".join(key["scopes"]),
        key["label"] or DASH,
        moment(key["expires_at"]),
        moment(key["last_used_at"]),
    ]
