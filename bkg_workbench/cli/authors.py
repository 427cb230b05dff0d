"""The part of the command line for authors of plug-ins: `new` and `conformance`.

Owns their grammar; `parser` puts it into the whole.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

LANGUAGES = ("python", "node", "shell")

Verb = Callable[..., argparse.ArgumentParser]
"""`parser`'s way to add a verb."""


class Pairs(argparse.Action):
    """`--capability NAME --payload JSON`, any number of times: a payload goes with its name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Keep a name, or the payload of the last one."""
        pairs: list[list[str | None]] = list(getattr(namespace, "samples", None) or [])
        if option_string == "--capability":
            pairs.append([str(values), None])
        elif not pairs or pairs[-1][1] is not None:
            parser.error("--payload belongs after the --capability that it is for")
        else:
            pairs[-1] = [pairs[-1][0], str(values)]
        namespace.samples = pairs


def add_author_verbs(
    verbs: argparse._SubParsersAction[Any], verb: Verb, seconds: Callable[[str], float]
) -> None:
    """Add the verbs; `seconds` reads an option's value."""
    _add_new(verbs, verb)
    _add_conformance(verbs, verb, seconds)


def _add_new(verbs: argparse._SubParsersAction[Any], verb: Verb) -> None:
    new = verbs.add_parser(
        "new",
        help="make the beginnings of something of your own",
        description="Make the beginnings of something of your own.",
        allow_abbrev=False,
    )
    below = new.add_subparsers(title="verbs", metavar="VERB", required=True)
    plugin = verb(
        below,
        "plugin",
        "new:plugin",
        "make a plug-in that works at once",
        text="A folder with start.sh, settings, program and test, a page in docs/plugins/, and its "
        "definition in plugins.json. Works with and without a Host.",
    )
    plugin.add_argument("name", metavar="NAME", help="small letters, digits, - and _")
    plugin.add_argument(
        "--lang", choices=LANGUAGES, default="python", help="what it is written in (default python)"
    )
    plugin.add_argument("--description", metavar="TEXT", help="what it is for, in a few words")
    plugin.add_argument(
        "--dir",
        metavar="DIR",
        help="make its folder in DIR instead of the workspace's plugins/; no definition then",
    )
    plugin.add_argument(
        "--own-environment",
        action="store_true",
        help="Python alone: with requirements of its own, in an environment of its own",
    )


def _add_conformance(
    verbs: argparse._SubParsersAction[Any], verb: Verb, seconds: Callable[[str], float]
) -> None:
    parser = verb(
        verbs,
        "conformance",
        "conformance:conformance",
        "check a plug-in of any language against docs/protocol.md",
        text="Needs neither Host nor workspace: it has a bus of its own. Ends with 1 where a "
        "required check fails.",
    )
    parser.add_argument(
        "program",
        metavar="COMMAND",
        nargs="*",
        help="what starts the plug-in, with its arguments: -- ./start.sh",
    )
    parser.command_argument = "program"  # type: ignore[attr-defined]
    parser.add_argument(
        "--name", metavar="NAME", help="as in its definition (by default its folder's name)"
    )
    parser.add_argument(
        "--capability",
        dest="samples",
        action=Pairs,
        metavar="NAME",
        help="a capability that may be asked; give it a good payload by the next --payload",
    )
    parser.add_argument(
        "--payload",
        dest="samples",
        action=Pairs,
        metavar="JSON",
        help="for the --capability before it: JSON, or @FILE",
    )
    parser.add_argument(
        "--settings", metavar="JSON", help="settings over those of its config.json: JSON, or @FILE"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        default=10.0,
        help="for each answer (default %(default)g)",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="CHECK",
        help="this check, or all of an area such as `answer`; may be repeated",
    )
    parser.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML too")
