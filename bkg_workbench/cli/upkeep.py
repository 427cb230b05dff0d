"""The grammar of the verbs that keep a workspace: backup and restore, plug-ins, and `bkg dev`.

Owns their arguments and help, as `cli.parser` does for the other verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Verb = Callable[..., Any]


def add_upkeep_verbs(verbs: Any, verb: Verb, seconds: Callable[[str], float]) -> None:
    """Add them to `verbs`; `verb` and `seconds` are the parser's own helpers."""
    _add_backups(verbs, verb)


def _add_backups(verbs: Any, verb: Verb) -> None:
    backup = verb(
        verbs,
        "backup",
        "backups:backup",
        "write the workspace's state into one file",
        text="Settings and their history, secrets included, plugins.json, each plug-in's "
        "config.json and data. Works while a Host runs. Code and logs are not in it.",
    )
    backup.add_argument(
        "file", metavar="FILE", nargs="?",
        help="a new file, or a folder (default: a new file in .bkg/backups)",
    )  # fmt: skip
    restore = verb(
        verbs,
        "restore",
        "backups:restore",
        "put a backup's state in place of the present one",
        text="Whole or not at all; the present state is kept in .bkg. No Host may run meanwhile.",
    )
    restore.add_argument("file", metavar="FILE", help="written by `bkg backup`")
