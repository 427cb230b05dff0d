"""A plug-in's definition: one row of the `plugins` table, one object of plugins.json.

Owns its fields, bounds and defaults. `settings` is the operator's config (the `config` column),
with secrets masked wherever it is shown.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from bkg_workbench.protocol.envelopes import PluginName

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class HealthCheck(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """A path of the plug-in's own HTTP port that must answer 2xx."""

    path: str
    interval_seconds: Seconds = 10.0


class Limits(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Resource limits of a plug-in's process tree; None is no limit."""

    memory_mb: Annotated[int, msgspec.Meta(ge=16)] | None = None
    open_files: Annotated[int, msgspec.Meta(ge=32)] | None = None
    processes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] | None = None


class Definition(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """What the workspace knows of a plug-in before it runs.

    `entrypoint` is relative to the plug-in's directory (or to `plugins/` where two definitions
    share one) and never leaves `plugins/`.
    """

    name: PluginName
    description: str = ""
    entrypoint: str = "start.sh"
    args: list[str] = []
    env: dict[str, str] = {}
    autostart: bool = False
    capabilities: list[str] = []
    settings: dict[str, Any] = {}
    healthcheck: HealthCheck | None = None
    restart: Literal["never", "on-failure", "always"] = "on-failure"
    start_timeout_seconds: Seconds = 30.0
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 5.0
    calls: list[str] = []
    limits: Limits = Limits()
    version: str | None = None
