#!/usr/bin/env bash
# Writes the hashed locks: requirements.lock (runtime and development), and one for each plug-in
# that has a pyproject.toml. Universal (any platform, Python 3.11 up) and without any host name.
# Versions that stand in a lock stay, unless --upgrade is given.
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
if grep -nE '://|--(index|extra-index|find-links)' requirements.lock plugins/*/requirements.lock 2>/dev/null; then
    echo "lock: a lock names a host (see above)" >&2
    exit 1
fi
