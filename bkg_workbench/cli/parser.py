"""The command line: verbs, arguments, options, and their help.

Owns the grammar alone. Each verb names the function that carries it out (`module:function` below
`bkg_workbench.cli`) and the capabilities that it asks for; docs/cli.md is made from here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from bkg_workbench._version import __version__
from bkg_workbench.cli import codes
from bkg_workbench.cli.accounts import add_account_verbs
from bkg_workbench.cli.authors import add_author_verbs
from bkg_workbench.cli.upkeep import add_upkeep_verbs

EPILOG = f"""\
A workspace is the folder with plugins/plugins.json: --workspace, else BKG_WORKSPACE, else the
nearest folder above this one. All verbs but init, host, doctor, new, conformance, backup, restore
and plugins need its Host to run.

exit codes:
{codes.listed()}
"""

PAYLOAD = "JSON, @FILE to read it from a file, or - to read it from stdin"
LEVELS = ("debug", "info", "warn", "error")


class VerbParser(argparse.ArgumentParser):
    """A parser that takes options between arguments: `call repo.search --timeout 9 '{…}'`.

    Without this, argparse sees the optional argument as absent once an option has come. What stands
    after `--` goes as it is to the argument that `command_argument` names, where it names one.
    """

    command_argument: str | None = None
    _is_inside = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As the base class's, which it is called by in turn."""
        is_nested = any(isinstance(a, argparse._SubParsersAction) for a in self._actions)
        if self._is_inside or is_nested:
            return super().parse_known_args(args, namespace)
        self._is_inside = True
        given, command = list(args or ()), []
        if self.command_argument and "--" in given:
            cut = given.index("--")
            given, command = given[:cut], given[cut + 1 :]
        try:
            found, unknown = self.parse_known_intermixed_args(given, namespace)
        finally:
            self._is_inside = False
        if self.command_argument:
            setattr(
                found, self.command_argument, [*getattr(found, self.command_argument), *command]
            )
        return found, unknown


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="bkg",
        description="A workspace's Host and plug-ins, from a shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bkg-workbench {__version__}")
    _add_common(parser, default=True)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=VerbParser)
    _add_workspace_verbs(verbs)
    _add_plugin_verbs(verbs)
    _add_request_verbs(verbs)
    _add_config(verbs)
    add_author_verbs(verbs, _verb, seconds)
    add_upkeep_verbs(verbs, _verb, seconds)
    add_account_verbs(verbs, _verb, whole_number)
    return parser


Verbs = argparse._SubParsersAction  # the type of add_subparsers() has no public name


def _add_common(parser: argparse.ArgumentParser, *, default: bool) -> None:
    """Options that may stand before or after the verb."""
    off = False if default else argparse.SUPPRESS
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--workspace",
        metavar="DIR",
        default=None if default else argparse.SUPPRESS,
        help="the workspace (by default BKG_WORKSPACE, else the nearest folder that is one)",
    )
    group.add_argument(
        "--json", action="store_true", default=off, help="results and errors as JSON, for machines"
    )
    group.add_argument("--debug", action="store_true", default=off, help="show tracebacks")


def _verb(
    verbs: Verbs[VerbParser],
    name: str,
    command: str,
    summary: str,
    *capabilities: str,
    text: str = "",
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {text}".strip(),
        allow_abbrev=False,
    )
    _add_common(parser, default=False)
    parser.set_defaults(command=command, capabilities=capabilities)
    return parser


def _add_workspace_verbs(verbs: Verbs[VerbParser]) -> None:
    init = _verb(
        verbs,
        "init",
        "workspaces:init",
        "lay out a workspace",
        text="Plug-ins, notebooks and dashboards; a file that you changed is kept as it is.",
    )
    init.add_argument("dir", metavar="DIR", help="made where it does not exist")
    host = _verb(
        verbs,
        "host",
        "hosting:host",
        "run the workspace's Host here until Ctrl-C",
        text="Plug-ins are stopped in order at the end; a second Ctrl-C lets go of them at once. "
        "It ends with 0 whenever it could close in order.",
    )
    host.add_argument("--web", action="store_true", help="serve the dashboards too")
    host.add_argument(
        "--no-autostart", action="store_true", help="start no plug-in by itself this time"
    )
    dashboard = _verb(
        verbs,
        "dashboard",
        "dashboards:dashboard",
        "print the address of a page in the browser",
        "host.info",
        "host.pages",
        "host.plugins.list",
        text="The address holds the token. The Host serves its pages from the first time on.",
    )
    dashboard.add_argument(
        "name", metavar="NAME", nargs="?",
        help="a plug-in, or a notebook in dashboards/ (default: all plug-ins)",
    )  # fmt: skip
    dashboard.add_argument("--open", action="store_true", help="open it in the browser")
    dashboard.add_argument(
        "--start", action="store_true", help="start a Host in the background where none runs"
    )
    _verb(verbs, "ports", "workspaces:ports", "show who listens where", "host.ports")
    _verb(
        verbs,
        "doctor",
        "doctor:doctor",
        "say what is missing or broken on this machine, and how to mend it",
        text="Works without a Host and without a workspace; ends with 1 where something is broken.",
    )


def _add_plugin_verbs(verbs: Verbs[VerbParser]) -> None:
    status = _verb(
        verbs,
        "status",
        "plugins:status",
        "show the plug-ins and how they are",
        "host.info",
        "host.plugins.list",
        "host.plugin.get",
        "host.telemetry.query",
    )
    status.add_argument("name", metavar="NAME", nargs="?", help="this plug-in, with its story")
    for name, summary in (
        ("start", "start plug-ins and wait until they are up"),
        ("stop", "stop plug-ins and wait until their processes are gone"),
        ("restart", "restart plug-ins without losing a request"),
    ):
        verb = _verb(verbs, name, "plugins:wish", summary, f"host.plugin.{name}")
        verb.set_defaults(verb=name)
        verb.add_argument("names", metavar="NAME", nargs="+", help="a plug-in")
        verb.add_argument("--no-wait", action="store_true", help="do not wait for it")
        verb.add_argument(
            "--timeout", type=seconds, metavar="SECONDS", default=700.0,
            help="wait at most so long (default %(default)g)",
        )  # fmt: skip


def _add_request_verbs(verbs: Verbs[VerbParser]) -> None:
    logs = _verb(
        verbs,
        "logs",
        "logs:logs",
        "show log records",
        "host.logs.query",
        "host.subscribe",
        text="With --json each record is one line.",
    )
    logs.add_argument("name", metavar="NAME", nargs="?", help="of this plug-in only")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they come")
    logs.add_argument("--level", choices=LEVELS, help="this level and those above it")
    logs.add_argument("--text", help="with this text in them, upper and lower case alike")
    logs.add_argument("--regex", help="that match this regular expression somewhere")
    logs.add_argument("--since", metavar="TIME", help="not older: 10m, 2h, 3d, or ISO 8601")
    logs.add_argument("--until", metavar="TIME", help="not newer than this")
    logs.add_argument(
        "-n", "--lines", type=whole_number, metavar="N",
        help="the newest N (default 100; with --export all)",
    )  # fmt: skip
    logs.add_argument(
        "--export", metavar="FILE", help="write all that match: CSV by its ending, else JSON lines"
    )
    call = _verb(
        verbs,
        "call",
        "requests:call",
        "ask for a capability and print its result",
        text="Any capability: a plug-in's (repo.search) or the Host's own (host.stop ends it).",
    )
    call.add_argument("capability", metavar="CAPABILITY", help="for example repo.search")
    call.add_argument("payload", metavar="JSON", nargs="?", help=f"{PAYLOAD} (default {{}})")
    call.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="default 30, with --stream none"
    )
    call.add_argument(
        "--stream", action="store_true", help="print the pieces as they come, one a line"
    )


def _add_config(verbs: Verbs[VerbParser]) -> None:
    config = verbs.add_parser(
        "config",
        help="read, save and restore a plug-in's settings",
        description="Read, save and restore a plug-in's settings.",
        allow_abbrev=False,
    )
    below = config.add_subparsers(title="verbs", metavar="VERB", required=True)
    get = _verb(
        below,
        "get",
        "config:get",
        "show settings, secrets masked",
        "host.config.get",
        text="With --json in a form that `config save` takes, version included.",
    )
    save = _verb(
        below,
        "save",
        "config:save",
        "save settings in place of the present ones",
        "host.config.save",
        text='A secret given as "***" keeps its value.',
    )
    history = _verb(
        below, "history", "config:history", "show earlier versions", "host.config.history"
    )
    restore = _verb(
        below, "restore", "config:restore", "go back to a version", "host.config.restore"
    )
    for parser in (get, save, history, restore):
        parser.add_argument("name", metavar="NAME", help="a plug-in")
    save.add_argument(
        "payload", metavar="JSON", nargs="?", default="-",
        help=f"the settings: {PAYLOAD} (default -)",
    )  # fmt: skip
    save.add_argument(
        "--version", type=whole_number, metavar="N", dest="at",
        help="the version that they were read at, so that nobody's change is lost",
    )  # fmt: skip
    save.add_argument("--reason", metavar="TEXT", help="kept with the new version")
    restore.add_argument("version", metavar="VERSION", type=whole_number, help="a number")


def seconds(text: str) -> float:
    """An option's value as a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return value


def whole_number(text: str) -> int:
    """An option's value as a whole number from 0."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)
