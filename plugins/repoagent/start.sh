#!/bin/sh
# Started by the Host. Builds the environment once, then becomes the plug-in.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
export BKG_WORKSPACE="${BKG_WORKSPACE:-$here/../..}"
python=$("${BKG_PYTHON:-python3}" -m bkg_workbench.plugin_env "$here")
cd -- "$here"
exec "$python" -m repoagent "$@"
