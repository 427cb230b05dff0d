#!/bin/sh
# Started by the Host. Runs in the workbench's own Python: nothing is built.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd -- "$here"
exec "${BKG_PYTHON:-python3}" -m apikeys "$@"
