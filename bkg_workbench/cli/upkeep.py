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
    _add_plugins(verbs, verb, seconds)
    _add_dev(verbs, verb)


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


def _add_plugins(verbs: Any, verb: Verb, seconds: Callable[[str], float]) -> None:
    plugins = verbs.add_parser(
        "plugins",
        help="add, remove and rebuild plug-ins",
        description="Add, remove and rebuild plug-ins.",
        allow_abbrev=False,
    )
    below = plugins.add_subparsers(title="verbs", metavar="VERB", required=True)
    add = verb(
        below,
        "add",
        "inventory:add",
        "make a folder with a start.sh a plug-in",
        "host.plugins.add",
        text="It is copied to plugins/NAME; a folder of plugins/ is taken as it is. Works with and "
        "without a Host.",
    )
    add.add_argument("folder", metavar="FOLDER", help="holds start.sh, and config.json if need be")
    add.add_argument("--name", metavar="NAME", help="by default the folder's")
    add.add_argument(
        "--autostart", action="store_true", default=None, help="start it with the Host"
    )
    add.add_argument(
        "--capability", dest="serves", action="append", metavar="CAPABILITY",
        help="one that it serves; may be repeated",
    )  # fmt: skip
    remove = verb(
        below,
        "remove",
        "inventory:remove",
        "stop a plug-in and remove it",
        "host.plugins.remove",
        text="Its folders stay unless --delete-files. Works with and without a Host.",
    )
    remove.add_argument("name", metavar="NAME", help="a plug-in")
    remove.add_argument(
        "--delete-files", action="store_true", help="delete plugins/NAME and its data too"
    )
    rebuild = verb(
        below,
        "rebuild",
        "inventory:rebuild",
        "build a plug-in's own environment anew",
        "host.plugin.rebuild",
        text="One that is up is restarted for it; any other gets it at its next start. If it "
        "cannot be built, the present one stays.",
    )
    rebuild.add_argument("name", metavar="NAME", help="a plug-in")
    rebuild.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", default=700.0,
        help="wait at most so long (default %(default)g)",
    )  # fmt: skip


def _add_dev(verbs: Any, verb: Verb) -> None:
    dev = verb(
        verbs,
        "dev",
        "dev:dev",
        "restart a plug-in whenever its files change, and show its log",
        "host.plugin.start",
        "host.plugin.restart",
        "host.logs.query",
        "host.subscribe",
        text="No request is lost. Ctrl-C ends the watching; the plug-in goes on.",
    )
    dev.add_argument("name", metavar="NAME", help="a plug-in")
