"""The notebook's face of a workbench: panels, live log, DataFrames, dashboards.

Owns everything that needs ipywidgets, anywidget, plotly or pandas; nothing else imports them. Each
name is loaded when it is first used: the dashboards' server shows no panel, and a page no table.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bkg_workbench.widgets.dashboards import page as page
    from bkg_workbench.widgets.dashboards import query as query
    from bkg_workbench.widgets.display import ControlCentre as ControlCentre
    from bkg_workbench.widgets.display import display_bench as display_bench
    from bkg_workbench.widgets.display import show as show
    from bkg_workbench.widgets.display import text as text
    from bkg_workbench.widgets.forms import FormWidget as FormWidget
    from bkg_workbench.widgets.frames import frame as frame
    from bkg_workbench.widgets.logs import LogTail as LogTail

_PLACES = {
    "ControlCentre": "display",
    "FormWidget": "forms",
    "LogTail": "logs",
    "display_bench": "display",
    "frame": "frames",
    "page": "dashboards",
    "query": "dashboards",
    "show": "display",
    "text": "display",
}

__all__ = [
    "ControlCentre",
    "FormWidget",
    "LogTail",
    "display_bench",
    "frame",
    "page",
    "query",
    "show",
    "text",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
