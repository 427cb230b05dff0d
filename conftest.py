"""For all tests, those of plug-ins too: their packages' places, and the checks for leaks."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent

# A plug-in's package is installed nowhere: it lies beside its tests.
sys.path += [str(project.parent) for project in sorted(ROOT.glob("plugins/*/pyproject.toml"))]

from tests.leaks import (  # noqa: E402
    no_leak as no_leak,
)
from tests.leaks import (
    no_task_left as no_task_left,
)
from tests.leaks import (
    pytest_collection_modifyitems as pytest_collection_modifyitems,
)
