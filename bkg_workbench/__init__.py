"""BKG Workbench: a plug-in bus and its control centre, in a notebook or a script.

Re-exports the public names, each loaded when it is first used, so that importing the package costs
little and loads no Jupyter.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bkg_workbench._version import __version__

if TYPE_CHECKING:
    from bkg_workbench import errors as errors
    from bkg_workbench.client.attach import attach as attach
    from bkg_workbench.client.notebook import run as run
    from bkg_workbench.client.workbench import Workbench as Workbench
    from bkg_workbench.host.host import Host as Host
    from bkg_workbench.host.host import workbench as workbench
    from bkg_workbench.widgets import page as page
    from bkg_workbench.widgets import query as query

_PLACES = {
    "Host": "bkg_workbench.host.host",
    "Workbench": "bkg_workbench.client.workbench",
    "attach": "bkg_workbench.client.attach",
    "errors": "bkg_workbench",
    "page": "bkg_workbench.widgets",
    "query": "bkg_workbench.widgets",
    "run": "bkg_workbench.client.notebook",
    "workbench": "bkg_workbench.host.host",
}

_HOOKS = {
    "display": "bkg_workbench.widgets.display:show",
    "frame": "bkg_workbench.widgets.frames:frame",
}

__all__ = [
    "Host",
    "Workbench",
    "__version__",
    "attach",
    "errors",
    "page",
    "query",
    "run",
    "workbench",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return importlib.import_module("bkg_workbench.errors")
    hooks = importlib.import_module("bkg_workbench.client.hooks")
    for hook, target in _HOOKS.items():
        hooks.register(hook, target)
    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
