"""Writes what can be derived into docs/: capabilities.md, and tables of cli.md and authors.md.

    python scripts/generate_docs.py [--check]

Owns docs/capabilities.md whole, and in docs/cli.md and docs/authors.md the parts between
`<!-- begin: … -->` and `<!-- end: … -->`. With --check nothing is written; the exit status says
whether all is fresh.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bkg_workbench.cli import codes  # noqa: E402
from bkg_workbench.cli.parser import make_parser  # noqa: E402
from bkg_workbench.protocol.capabilities import HOST, PLUGINS, Capability  # noqa: E402
from bkg_workbench.testing.conformance import CHECKS  # noqa: E402

CAPABILITIES = ROOT / "docs" / "capabilities.md"
CLI = ROOT / "docs" / "cli.md"
AUTHORS = ROOT / "docs" / "authors.md"
BY_HAND = "python scripts/generate_docs.py"
EVERYWHERE = ("--help", "--workspace", "--json", "--debug")


def main(arguments: Sequence[str]) -> int:
    """Exit status: 1 where `--check` finds a file that is not fresh."""
    stale = [path for path, text in generated().items() if text != _read(path)]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not fresh; run: {BY_HAND}", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def generated() -> dict[Path, str]:
    """Every file with the content that it should have."""
    parts = {"verbs": _verbs(), "exit-codes": _exit_codes()}
    authors = fill(_read(AUTHORS), {"checks": _checks()})
    return {CAPABILITIES: capabilities(), CLI: fill(_read(CLI), parts), AUTHORS: authors}


def fill(text: str, parts: dict[str, str]) -> str:
    """The text with each part between its marks replaced. Raises `ValueError` without marks."""
    for name, content in parts.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the text has no place {begin} … {end}")
        filled = f"{begin}\n{content.strip()}\n{end}"
        text = pattern.sub(lambda _, filled=filled: filled, text)
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar in a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in lines
    )


def code(text: str) -> str:
    """The text as code, nothing for nothing."""
    return f"`{text}`" if text else ""


# -- capabilities -------------------------------------------------------------------------------
def capabilities() -> str:
    """docs/capabilities.md."""
    owners = list(dict.fromkeys(row.plugin for row in PLUGINS))
    parts = [
        "# Capabilities",
        f"Generated from `bkg_workbench/protocol/capabilities.py` by `{BY_HAND}`.",
        "A request names a capability; whoever serves it answers. `bench.call(name, payload)` and "
        "`bkg call name '{…}'` reach every one of them, also those of plug-ins that are not in "
        "this table: names are data. A running plug-in's `meta.schemas` has the schemas of its "
        "own. Over HTTP each is `POST /api/capabilities/<name>`; the column HTTP lists "
        "further routes ([gateway.md](gateway.md)).",
        "## The Host's own",
        "`?` marks what may be left out. The method is that of `Workbench`; its async twin has an "
        "`a` in front. A scope covers what names it, `area.*` all of an area, `admin` everything.",
        table(
            ["capability", "what", "payload", "scope", "method", "HTTP", "notes"],
            (
                [code(r.name), r.summary, ", ".join(fields(r)) or "–", code(r.scope),
                 code(r.verb or "") or "–", _routes(r), _notes(r)]
                for r in HOST
            ),
        ),
        "## The plug-ins'",
        "The scope is the capability's own name.",
    ]  # fmt: skip
    for owner in owners:
        rows = ([code(r.name), r.summary, _routes(r)] for r in PLUGINS if r.plugin == owner)
        parts += [f"### {owner}", table(["capability", "what", "HTTP"], rows)]
    return "\n\n".join(parts) + "\n"


def fields(row: Capability) -> Iterator[str]:
    """The payload's fields: name, `?` where optional, and the default where it says something."""
    if row.params is None:
        return
    for field in msgspec.structs.fields(row.params):
        default = field.default
        if default is msgspec.NODEFAULT:
            yield f"`{field.encode_name}`"
        elif default is None:
            yield f"`{field.encode_name}?`"
        else:
            yield f"`{field.encode_name}?` ({msgspec.json.encode(default).decode()})"


def _routes(row: Capability) -> str:
    return ", ".join(code(f"{route.method} {route.path}") for route in row.routes) or "–"


def _notes(row: Capability) -> str:
    words = [word for word in ("idempotent", "destructive", "stream") if getattr(row, word)]
    return ", ".join(words) or "–"


def _checks() -> str:
    rows = ([code(check.id), check.requirement, check.title] for check in CHECKS)
    return table(["check", "", "what"], rows)


# -- the command line ---------------------------------------------------------------------------
def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """(words, parser, summary) of each verb, those below `config` too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {a.dest: a.help or "" for a in action._choices_actions}
            for name, below in action.choices.items():
                nested = list(verbs(below))
                yield from ((f"{name} {words}", p, s) for words, p, s in nested)
                if not nested:
                    yield name, below, summaries[name]


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """A verb's own arguments and options."""
    return [a for a in parser._actions if not set(a.option_strings) & set(EVERYWHERE)]


def usage(words: str, parser: argparse.ArgumentParser) -> str:
    """`bkg call CAPABILITY [JSON] [--timeout SECONDS]`"""
    shown = sorted(actions(parser), key=lambda a: bool(a.option_strings))
    return " ".join(["bkg", words, *(_form(action) for action in shown)])


def _form(action: argparse.Action) -> str:
    value = _value(action)
    if action.option_strings:
        return f"[{' '.join(filter(None, (action.option_strings[0], value)))}]"
    return {"?": f"[{value}]", "+": f"{value}…"}.get(str(action.nargs), value)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _verbs() -> str:
    parts = []
    for words, parser, _ in verbs(make_parser()):
        about = (parser.description or "").strip()
        defaults: dict[str, Any] = parser._defaults
        asked = ", ".join(code(name) for name in defaults.get("capabilities", ()))
        parts.append(f"### bkg {words}\n\n```text\n{usage(words, parser)}\n```\n\n{about}")
        rows = [[_names(action), _help(parser, action)] for action in actions(parser)]
        if rows:
            parts.append(table(["argument", "what it does"], rows))
        if asked:
            parts.append(f"Asks for {asked}.")
    return "\n\n".join(parts)


def _names(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = _value(action)
    return code(f"{names} {value}".strip() if names else value)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _exit_codes() -> str:
    rows = (
        [
            str(row.number),
            row.meaning,
            ", ".join([*map(code, row.codes), *(f"HTTP {status}" for status in row.statuses)])
            or "–",
        ]
        for row in codes.TABLE
    )
    return table(["code", "meaning", "errors that end so"], rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
