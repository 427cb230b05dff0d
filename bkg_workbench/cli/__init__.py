"""The command `bkg`: a workspace from a shell."""

from bkg_workbench.cli.app import main

__all__ = ["main"]
