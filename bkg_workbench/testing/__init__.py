"""What a plug-in author tests with: a real Host in a temporary workspace, and the conformance kit."""

from bkg_workbench.testing.conformance import Report, conformance

__all__ = ["Report", "conformance"]
