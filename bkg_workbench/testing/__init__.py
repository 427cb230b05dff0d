"""For the tests of plug-ins, panels and scripts: a Host in memory, time by hand, a pilot, the kit.

Re-exports, each loaded when it is first used: the pilot alone needs the notebook libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bkg_workbench.bus.clock import ManualClock as ManualClock
    from bkg_workbench.testing.conformance.report import Report as Report
    from bkg_workbench.testing.conformance.run import check_conformance as check_conformance
    from bkg_workbench.testing.hosting import plugin_host as plugin_host
    from bkg_workbench.testing.memory import MemoryHost as MemoryHost
    from bkg_workbench.testing.pilot import Pilot as Pilot
    from bkg_workbench.testing.scripted import ScriptedBench as ScriptedBench

_PLACES = {
    "ManualClock": "bkg_workbench.bus.clock",
    "MemoryHost": "bkg_workbench.testing.memory",
    "Pilot": "bkg_workbench.testing.pilot",
    "Report": "bkg_workbench.testing.conformance.report",
    "ScriptedBench": "bkg_workbench.testing.scripted",
    "check_conformance": "bkg_workbench.testing.conformance.run",
    "plugin_host": "bkg_workbench.testing.hosting",
}

__all__ = [
    "ManualClock",
    "MemoryHost",
    "Pilot",
    "Report",
    "ScriptedBench",
    "check_conformance",
    "plugin_host",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
