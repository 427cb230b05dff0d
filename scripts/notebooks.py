"""Runs the notebooks and runbooks through nbval, in a workspace of their own.

    python scripts/notebooks.py [notebook ...] [-- further pytest arguments]

Lays out a temporary workspace with `bkg init`, runs each notebook against it in one pytest, and
fails where a cell fails or where a process of that workspace is still there afterwards.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.helpers import eventually, kill, processes_of  # noqa: E402

PATTERNS = ("notebooks/*.ipynb", "notebooks/runbooks/*.ipynb")
CELL_SECONDS = 300  # the first start of a plug-in may build its environment
GONE_SECONDS = 10.0  # the grace of a plug-in, twice


def main(arguments: list[str]) -> int:
    """Exit status: pytest's, or 1 where something was left behind."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    notebooks = arguments[:split] or [
        str(path.relative_to(ROOT)) for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))
    ]
    if not notebooks:
        print("no notebooks yet")
        return 0
    with tempfile.TemporaryDirectory(prefix="bkg-notebooks-") as place:
        workspace = Path(place, "workspace")
        subprocess.run([Path(sys.executable).with_name("bkg"), "init", workspace], check=True)
        status = _validate(notebooks, arguments[split + 1 :], workspace, Path(place))
        # The runner itself is no leftover: it carries no variable of the workspace.
        try:
            eventually(lambda: not processes_of(workspace), timeout=GONE_SECONDS)
        except AssertionError:
            left = processes_of(workspace)
            print(f"left behind by the notebooks: {left}", file=sys.stderr)
            kill(left)
            return 1
    return status


def _validate(notebooks: list[str], further: list[str], workspace: Path, place: Path) -> int:
    environment = os.environ | {
        "BKG_WORKSPACE": str(workspace),
        "ADMIN_PASSWORD": secrets.token_urlsafe(),  # the first start of apikeys
        "IPYTHONDIR": str(place / "ipython"),
        "JUPYTER_CONFIG_DIR": str(place / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(place / "runtime"),
    }
    command = [
        sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env",
        "--nbval-sanitize-with", "tests/nbval_sanitize.cfg",
        f"--nbval-cell-timeout={CELL_SECONDS}", "--nbval-kernel-startup-timeout=120",
        f"--timeout={CELL_SECONDS + 30}", "-m", "", *further, *notebooks,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
