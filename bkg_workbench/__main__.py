"""`python -m bkg_workbench` is the command `bkg`."""

import sys

from bkg_workbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
