"""The conformance kit: any plug-in, in any language, against docs/protocol.md."""

from bkg_workbench.testing.conformance.report import Report, Result
from bkg_workbench.testing.conformance.run import CHECKS, check_conformance, check_plugin, chosen
from bkg_workbench.testing.conformance.stage import Options

__all__ = ["CHECKS", "Options", "Report", "Result", "check_conformance", "check_plugin", "chosen"]
