"""Build hook: carries the workspace that `bkg init` lays out into the wheel.

Owns which files of the checkout travel, and where to. A folder that does not exist is left out. An
editable install carries nothing: there the checkout itself is the source.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("plugins", "notebooks", "dashboards", "docs/protocol.md", "docs/plugins")
TARGET = "bkg_workbench/_workspace"
LEFT_OUT = {"__pycache__", "build", "dist", "node_modules", "tests", "venv"}


class WorkspaceHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files of `CARRIED` to a wheel, below `TARGET`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is made; `version` is `editable` or `standard`."""
        if version == "editable":
            return
        root = Path(self.root)
        for name in CARRIED:
            for file in carried_files(root / name):
                build_data["force_include"][str(file)] = f"{TARGET}/{file.relative_to(root)}"


def carried_files(start: Path) -> list[Path]:
    """The files at and below `start`, sorted, without tests, caches and anything hidden."""
    if start.is_file():
        return [start]
    files: list[Path] = []
    for folder, below, names in os.walk(start):
        below[:] = sorted(n for n in below if n not in LEFT_OUT and not n.startswith("."))
        files += [
            Path(folder, name)
            for name in sorted(names)
            if not name.startswith(".") and not name.endswith((".pyc", ".egg-info"))
        ]
    return files
