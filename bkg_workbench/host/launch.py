"""How a plug-in's process is made ready: its command, environment and runtime config.

Owns the environment allow-list and the `BKG_*` variables of DESIGN's contract, and the check of the
entrypoint. Does not start anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bkg_workbench.errors import StartFailed
from bkg_workbench.host import firststart
from bkg_workbench.host.firststart import FirstStart
from bkg_workbench.host.workspace import Workspace
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.supervisor.process import LaunchSpec

ALLOWED = {
    "PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER", "LOGNAME", "SHELL",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "XDG_CACHE_HOME", "BKG_CACHE_DIR",
}  # fmt: skip
ALLOWED_PREFIXES = ("LC_",)
BUILD_PREFIXES = ("PIP_", "UV_")
"""Settings of the installers, so that an environment is built the way this machine wants it."""
REFUSED_PREFIXES = ("UV_PUBLISH_",)
"""Credentials for putting packages up, which no plug-in needs."""


def environment(
    definition: Definition,
    workspace: Workspace,
    *,
    port: int,
    token: str,
    instance: str,
    outer: Mapping[str, str],
    first_start: FirstStart | None = None,
) -> dict[str, str]:
    """The environment variables of one process of a plug-in."""
    folder = workspace.plugin_folder(definition.name)
    env = {
        name: value
        for name, value in outer.items()
        if name in ALLOWED
        or (
            name.startswith(ALLOWED_PREFIXES + BUILD_PREFIXES)
            and not name.startswith(REFUSED_PREFIXES)
        )
    }
    if definition.name == firststart.PLUGIN:
        env |= (first_start or FirstStart(workspace)).variables(outer)
    env |= definition.env
    env |= {
        "BKG_PLUGIN_BUS_HOST": "127.0.0.1",
        "BKG_PLUGIN_BUS_PORT": str(port),
        "BKG_PLUGIN_BUS_TOKEN": token,
        "BKG_PLUGIN_NAME": definition.name,
        "BKG_PLUGIN_CONFIG_PATH": str(folder / "config.runtime.json"),
        "BKG_PLUGIN_HISTORY_PATH": str(folder / "data" / "history.json"),
        "BKG_DATABASE_PATH": str(folder / "data" / f"{definition.name}.db"),
        "BKG_PYTHON": sys.executable,
        "BKG_INSTANCE": instance,
        "BKG_WORKSPACE": str(workspace.root),
        "PYTHONUNBUFFERED": "1",
    }
    return env


def entrypoint(definition: Definition, plugins: Path) -> Path:
    """The entrypoint's absolute path: below the plug-in's directory, else below `plugins/`.

    Raises `StartFailed` where it leaves `plugins/` or is missing, and names the file.
    """
    if Path(definition.entrypoint).is_absolute():
        raise _bad(definition, f"its entrypoint {definition.entrypoint} must be a relative path")
    candidates = [plugins / definition.name / definition.entrypoint]
    candidates.append(plugins / definition.entrypoint)
    root = os.path.realpath(plugins)
    for candidate in candidates:
        place = os.path.normpath(candidate)
        if not place.startswith(str(plugins) + os.sep):
            raise _bad(definition, f"its entrypoint {definition.entrypoint} leaves plugins/")
        if os.path.isfile(place):
            real = os.path.realpath(place)
            if not real.startswith(root + os.sep):
                raise _bad(definition, f"its entrypoint {place} is a link out of plugins/")
            return Path(place)
    raise _bad(definition, f"its entrypoint {candidates[0]} does not exist")


def spec(definition: Definition, plugins: Path, env: dict[str, str]) -> LaunchSpec:
    """The command line, working directory and limits of one process of a plug-in."""
    script = entrypoint(definition, plugins)
    return LaunchSpec(
        argv=(str(script), *definition.args),
        cwd=script.parent,
        env=env,
        limits=definition.limits,
        inside=plugins,
    )


def _bad(definition: Definition, reason: str) -> StartFailed:
    return StartFailed(plugin=definition.name, reason=reason)
