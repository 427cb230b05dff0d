"""For all tests, those of plug-ins too: their packages' places, and the checks for leaks."""

import sys
from pathlib import Path

pytest_plugins = ["tests.leaks"]

# A plug-in's package is installed nowhere: it lies beside its tests.
_projects = sorted(Path(__file__).parent.glob("plugins/*/pyproject.toml"))
sys.path += [str(project.parent) for project in _projects]
