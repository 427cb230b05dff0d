"""`bkg login`."""

from __future__ import annotations

import argparse

from bkg_workbench.cli import codes, secret
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.words import moment
from bkg_workbench.client.attach import attach


def login(arguments: argparse.Namespace, console: Console) -> int:
    """Begin a session; its token alone goes to stdout."""
    with attach(arguments.workspace) as bench:
        password = secret.ask(f"Password of {arguments.user}")
        session = bench.call("auth.login", {"username": arguments.user, "password": password})
    if console.is_json:
        console.data(session)
        return codes.OK
    console.note(
        f"Session of {session['user']} until {moment(session['expires_at'])}; send it as "
        "`Authorization: Bearer <token>`:"
    )
    console.line(session["token"])
    return codes.OK
