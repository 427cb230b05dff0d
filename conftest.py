"""For all tests, those of plug-ins too: where packages lie, checks for leaks, the fault rows."""

import signal
import sys
from pathlib import Path

# Seconds of each run: see bkg_workbench/widgets/pages.py.
sys.modules.setdefault("rfc3987_syntax", None)

# A run that was started in the background inherits an ignored SIGINT, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.reliability", "tests.leaks"]

# A plug-in's package is installed nowhere: it lies beside its tests.
_scripts = sorted(Path(__file__).parent.glob("plugins/*/start.sh"))
sys.path += [str(script.parent) for script in _scripts]
