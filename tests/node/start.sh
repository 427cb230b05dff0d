#!/usr/bin/env bash
# Starts the plug-in; `node_modules` with `ws` lies beside it (scripts/node-modules.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec node seed_plugin.mjs
