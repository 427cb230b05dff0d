#!/usr/bin/env bash
# Puts the packages of tests/node/package-lock.json into the shared cache, once, and prints the
# folder that holds node_modules. Complete or absent: built aside, then renamed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v npm > /dev/null || { echo "node-modules: npm is not installed" >&2; exit 1; }

cache=${BKG_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/bkg}/node
key=$(cat tests/node/package-lock.json | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)
if [[ ! -d $cache/$key/node_modules ]]; then
    mkdir -p "$cache"
    building=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    cp tests/node/package.json tests/node/package-lock.json "$building"
    (cd "$building" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
    [[ -d $cache/$key ]] || mv "$building" "$cache/$key"
fi
echo "$cache/$key"
