"""A plug-in of any language in a Host of its own, as a process, for its author's tests.

Owns the temporary workspace and the copy of the plug-in's folder in it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bkg_workbench.client.workbench import Workbench
from bkg_workbench.host.host import Host

LEFT_OUT = ("__pycache__", ".*", "tests", "node_modules", "venv")


@contextmanager
def plugin_host(
    folder: Path | str,
    *,
    capabilities: Sequence[str],
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **definition: Any,
) -> Iterator[Workbench]:
    """A Host in which the plug-in of `folder` is running; ended, and removed, afterwards.

    Parameters: `capabilities` that its definition declares; `name` is by default that of the
    folder; `settings` are the operator's; further fields of its definition as in plugins.json.
    Raises `StartFailed` with its last lines where it does not come up.
    """
    source = Path(folder).resolve()
    name = name or source.name
    place = Path(tempfile.mkdtemp(prefix="bkg-test-"))
    try:
        copy = place / "plugins" / name
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        modules = source / "node_modules"
        if modules.exists():
            (copy / "node_modules").symlink_to(modules.resolve())
        entry = {
            "name": name, "capabilities": list(capabilities), "settings": dict(settings or {}),
            **definition,
        }  # fmt: skip
        (place / "plugins" / "plugins.json").write_text(json.dumps([entry]))
        with Host(place) as host:
            host.start(name)
            yield host
    finally:
        shutil.rmtree(place, ignore_errors=True)
