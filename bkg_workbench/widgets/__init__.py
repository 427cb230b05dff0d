"""The notebook's face of a workbench: panels, live log, DataFrames, dashboards.

Owns everything that needs ipywidgets, anywidget, plotly or pandas; nothing else imports them.
Loaded on first use only (`import bkg_workbench` does not load it).
"""

from bkg_workbench.widgets.display import ControlCentre, display_bench, page, show, text
from bkg_workbench.widgets.frames import frame
from bkg_workbench.widgets.logs import LogTail

__all__ = ["ControlCentre", "LogTail", "display_bench", "frame", "page", "show", "text"]
