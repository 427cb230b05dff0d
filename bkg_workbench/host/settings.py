"""The workspace's own settings: the optional file bkg.toml.

Owns their names, bounds and defaults. Settings of plug-ins are elsewhere (`host.configurator`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bkg_workbench.errors import WorkspaceError
from bkg_workbench.store.logfiles import LogFile

FILE = "bkg.toml"
LIMIT_BYTES = 1024 * 1024
DAY_MS = 24 * 3600 * 1000

Rows = Annotated[int, msgspec.Meta(ge=1_000, le=100_000_000)]
Days = Annotated[float, msgspec.Meta(gt=0, le=3660)]


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of each plug-in's log: `files` files of `file_mb` MiB, the oldest given up."""

    file_mb: Annotated[float, msgspec.Meta(ge=0.1, le=10_000)] = 10.0
    files: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that are kept: the newest, and none older than so many days."""

    rows: Rows = 200_000
    days: Days = 1.0


class PageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dashboards: kernels started ahead, and how long a page may be unheard of."""

    spare_kernels: Annotated[int, msgspec.Meta(ge=0, le=16)] = 1
    lease_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0


class WorkspaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of bkg.toml; every part may be left out."""

    logs: LogSettings = LogSettings()
    telemetry: Kept = Kept()
    calls: Kept = Kept()
    events: Kept = Kept(rows=100_000, days=30.0)
    pages: PageSettings = PageSettings()

    def log_file(self, folder: Path, name: str) -> LogFile:
        """The files of one plug-in's log, for `store.logs`."""
        size = round(self.logs.file_mb * 1024 * 1024)
        return LogFile(folder, name, file_bytes=size, files=self.logs.files)

    def kept(self) -> dict[str, tuple[int, int]]:
        """{table: (rows, milliseconds)} for `store.samples`."""
        tables = {"samples": self.telemetry, "events": self.events, "calls": self.calls}
        return {name: (one.rows, round(one.days * DAY_MS)) for name, one in tables.items()}


def read(root: Path) -> WorkspaceSettings:
    """The settings of a workspace. Raises `WorkspaceError` that names the field at fault."""
    file = root / FILE
    try:
        with file.open("rb") as stream:
            content = stream.read(LIMIT_BYTES)
        found: dict[str, Any] = tomllib.loads(content.decode("utf-8-sig"))
        defaults = WorkspaceSettings()
        for name, table in found.items():
            # What a table leaves out has the default of that table, not of its type.
            if isinstance(table, dict) and (default := getattr(defaults, name, None)) is not None:
                found[name] = {**msgspec.to_builtins(default), **table}
        return msgspec.convert(found, WorkspaceSettings)
    except FileNotFoundError:
        return WorkspaceSettings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise WorkspaceError(
            f"{file} cannot be used: {why}. Mend it, or remove it for the defaults.",
            path=str(root),
        ) from None
