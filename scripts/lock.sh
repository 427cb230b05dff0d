#!/usr/bin/env bash
# Writes the hashed locks: requirements.lock (runtime and development), one for each plug-in that
# has a pyproject.toml, and one for the template of new ones. Universal (any platform, Python 3.11
# up) and without any host name. Versions that stand in a lock stay, unless --upgrade is given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v uv > /dev/null || { echo "lock: uv is needed (pip install uv)" >&2; exit 1; }

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header "$@" > /dev/null
}

compile pyproject.toml --group dev --all-extras -o requirements.lock "$@"
for project in plugins/*/pyproject.toml; do
    [[ -f $project ]] || continue
    compile "$project" -o "$(dirname "$project")/requirements.lock" "$@"
done
# What `bkg new plugin --own-environment` begins with.
template=bkg_workbench/cli/templates/own-environment
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
sed 's/@NAME@/name/' "$template/pyproject.toml.template" > "$aside/pyproject.toml"
cp "$template/requirements.lock.template" "$aside/requirements.lock"
compile "$aside/pyproject.toml" -o "$aside/requirements.lock" "$@"
cp "$aside/requirements.lock" "$template/requirements.lock.template"
if grep -nE '://|--(index|extra-index|find-links)' requirements.lock plugins/*/requirements.lock \
    "$template/requirements.lock.template" 2>/dev/null; then
    echo "lock: a lock names a host (see above)" >&2
    exit 1
fi
