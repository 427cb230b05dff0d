"""For all tests, those of plug-ins too: where packages lie, checks for leaks, the fault rows."""

import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# Seconds of each run: see bkg_workbench/widgets/pages.py.
sys.modules.setdefault("rfc3987_syntax", None)

# A run that was started in the background inherits an ignored SIGINT, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.reliability", "tests.leaks"]

# A plug-in's package is installed nowhere: it lies beside its tests.
_scripts = sorted(Path(__file__).parent.glob("plugins/*/start.sh"))
sys.path += [str(script.parent) for script in _scripts]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed or logged may hold what is no Unicode, which no worker can pass on."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
