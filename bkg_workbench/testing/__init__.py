"""What a plug-in author tests with: a Host in memory, and the conformance kit."""

from bkg_workbench.bus.clock import ManualClock
from bkg_workbench.testing.conformance import Report, conformance
from bkg_workbench.testing.memory import MemoryHost

__all__ = ["ManualClock", "MemoryHost", "Report", "conformance"]
