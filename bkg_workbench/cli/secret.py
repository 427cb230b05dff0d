"""Passwords at the keyboard: asked for without echo, read from a pipe, or made.

Owns their way in and the alphabet of those that are made. None is ever an argument, where others
on the machine could read it.
"""

from __future__ import annotations

import getpass
import secrets
import sys

from bkg_workbench.errors import WorkbenchError

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 signs that nobody mistakes for another: five bits each."""
GROUPS, GROUP = 5, 5


def generated() -> str:
    """A strong password, 125 bits, in groups that can be typed."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def ask(prompt: str, *, twice: bool = False) -> str:
    """The password that is typed, or the first line of stdin. Raises `WorkbenchError`."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise WorkbenchError("A password is needed on stdin; a terminal would be asked.")
        return line
    try:
        first = getpass.getpass(f"{prompt}: ")
        if twice and getpass.getpass("The same again: ") != first:
            raise WorkbenchError("The two were not the same; nothing was changed.")
    except EOFError:
        raise WorkbenchError("No password was given.") from None
    return first
