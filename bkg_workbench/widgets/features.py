"""What a plug-in can do, as cards: a heading and a few lines each.

Owns where they come from: `meta.features` of its last register, else the first paragraph of its
page or README, else nothing. Text only: markup in it is shown as it is written, by nobody run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import PluginState
from bkg_workbench.widgets.live import Data, script, style
from bkg_workbench.widgets.panel import Moment, Panel

MOST = 24
"""Cards of a plug-in."""
MAX_TITLE = 80
MAX_TEXT = 600
MAX_FILE_BYTES = 256 * 1024

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"(\*\*|__|`)")
_NOT_PROSE = ("#", "|", "```", "- ", "* ", "> ", "<", "[!", "![")

Card = dict[str, str]


def cards(plugin: PluginState, about: str | None = None) -> list[Card]:
    """The cards of `plugin`; `about` is what `read_about` found, for one that gives none itself."""
    given = plugin.meta.get("features")
    listed = given[:MOST] if isinstance(given, (list, tuple)) else ()
    found = [card for one in listed if (card := _card(one))]
    if not found and about:
        found = [{"title": "About", "text": about}]
    return found


def read_about(workspace: str, definition: Definition) -> str | None:
    """The first paragraph of the plug-in's page or README, or None. Reads files.

    Looks at `docs/plugins/<name>.md` and the README in its folder in the workspace, then at the
    page that came with the package.
    """
    for place in _places(Path(workspace), definition):
        try:
            with place.open("rb") as file:
                text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        if paragraph := first_paragraph(text):
            return paragraph
    return None


def first_paragraph(markdown: str) -> str:
    """The first paragraph of prose, as plain text: no heading, table, list or code."""
    is_code = False
    lines: list[str] = []
    for line in markdown.splitlines():
        line = line.strip()
        if line.startswith("```"):
            is_code = not is_code
        prose = line and not is_code and not line.startswith(_NOT_PROSE)
        if prose:
            lines.append(line)
        elif lines:
            break
    text = _MARKS.sub("", _LINK.sub(r"\1", " ".join(lines)))
    return _cut(text, MAX_TEXT)


def _places(workspace: Path, definition: Definition) -> Iterator[Path | Traversable]:
    name = definition.name
    yield workspace / "docs" / "plugins" / f"{name}.md"
    folder = (workspace / "plugins" / name / definition.entrypoint).parent
    for place in (workspace / "plugins" / name, folder):
        yield place / "README.md"
    yield files("bkg_workbench") / "_workspace" / "docs" / "plugins" / f"{name}.md"


def _card(given: Any) -> Card | None:
    if not isinstance(given, dict):
        return None
    title, text = given.get("title"), given.get("text")
    card = {
        "title": _cut(title, MAX_TITLE) if isinstance(title, str) else "",
        "text": _cut(text, MAX_TEXT) if isinstance(text, str) else "",
    }
    return card if any(card.values()) else None


def _cut(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1].rstrip() + "…"


class FeatureCards(Panel):
    """The feature cards of `plugin`."""

    _esm = script("features.js")
    _css = style("plugin.css")

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self._about: str | None = None
        self._is_read = False
        super().__init__()

    def fold(self, moment: Moment) -> Data:
        """The cards, as far as they are known."""
        plugin = moment.state.plugins.get(self.plugin)
        return {"cards": cards(plugin, self._about) if plugin else []}

    def step(self, moment: Moment) -> None:
        """Redraw; look once into the plug-in's page where it gives no cards itself."""
        plugin = moment.state.plugins.get(self.plugin)
        if plugin is not None and not self._is_read and not cards(plugin):
            self._is_read = True
            self.work(lambda _: self._read(moment.state.workspace, plugin.definition), "Features")
        super().step(moment)

    def _read(self, workspace: str, definition: Definition) -> None:
        self._about = read_about(workspace, definition)
