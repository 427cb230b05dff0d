"""The files of a new plug-in, made from the templates of its language.

Owns the templates and how they are filled; does not write into a workspace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.definition import Definition

TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".template"
PAGE = "docs.md"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MAX_DESCRIPTION = 200
TAKEN = {"host"}
"""Areas of capabilities that no plug-in can serve."""
ABOUT = {
    "plugin.py": "settings, capabilities and what serves them",
    "plugin.cjs": "settings, capabilities and what serves them",
    "bus.cjs": "the plug-in's side of the bus",
    "plugin.sh": "reads requests and answers them, line by line",
    "register.json": "capabilities, their schemas and the schema of the settings",
    "start.sh": "how it is started",
    "config.json": "the default settings",
    "package.json": "what it needs; `npm install` renews the lock beside it",
    "pyproject.toml": "what its environment needs; the lock beside it has the versions",
}


@dataclass(frozen=True)
class Scaffold:
    """A plug-in to be made. Raises `InvalidParams` for a name or a description that cannot be."""

    name: str
    lang: str
    description: str
    own_environment: bool = False

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise InvalidParams(
                f"{self.name!r} cannot name a plug-in: a small letter, then up to 31 small "
                "letters, digits, - or _, such as load-test."
            )
        if self.area in TAKEN:
            raise InvalidParams(f"The capabilities {self.area}.* are the Host's own; rename it.")
        if self.own_environment and self.lang != "python":
            raise InvalidParams("--own-environment is for --lang python.")
        if len(self.description) > MAX_DESCRIPTION or not self.description.isprintable():
            raise InvalidParams(
                f"Describe it in one line of at most {MAX_DESCRIPTION} characters; "
                "docs/plugins is for the rest."
            )

    @property
    def area(self) -> str:
        """The first word of its capabilities."""
        return self.name.replace("-", "_")

    def definition(self) -> Definition:
        """What plugins.json says of it."""
        capabilities = [f"{self.area}.greet", f"{self.area}.count"]
        return Definition(name=self.name, description=self.description, capabilities=capabilities)

    def files(self) -> dict[str, str]:
        """The content of each file, by its place in the plug-in's folder."""
        return {
            place: self._filled(file.read_text(encoding="utf-8"))
            for place, file in self._templates()
            if place != PAGE
        }

    def page(self, place: str) -> str:
        """The page of docs/plugins; `place` is the plug-in's folder as a reader types it."""
        rows = [
            f"| [`{name}`](../../{place}/{name}) | {ABOUT[name]} |"
            for name in sorted(self.files())
            if name in ABOUT
        ]
        text = (TEMPLATES / "common" / f"{PAGE}{SUFFIX}").read_text(encoding="utf-8")
        table = "\n".join(["| file | what it holds |", "|---|---|", *rows])
        return self._filled(text.replace("@FILES@", table).replace("@PLACE@", place))

    def _templates(self) -> Iterator[tuple[str, Path]]:
        found: dict[str, Path] = {}
        for folder in ("common", self.lang, *(["own-environment"] * self.own_environment)):
            for file in sorted((TEMPLATES / folder).rglob(f"*{SUFFIX}")):
                place = file.relative_to(TEMPLATES / folder).as_posix().removesuffix(SUFFIX)
                found[place] = file
        yield from found.items()

    def _filled(self, text: str) -> str:
        words = re.split(r"[-_]+", self.name)
        values = {
            "NAME": self.name,
            "AREA": self.area,
            "CLASS": "".join(word[:1].upper() + word[1:] for word in words),
            "DESCRIPTION": self.description,
        }
        return re.sub("@([A-Z]+)@", lambda m: values.get(m[1], m[0]), text)


def shown(definition: Definition) -> str:
    """A definition as it may be put into plugins.json by hand."""
    fields = {
        "name": definition.name,
        "description": definition.description,
        "capabilities": definition.capabilities,
    }
    return json.dumps(fields, ensure_ascii=False)
