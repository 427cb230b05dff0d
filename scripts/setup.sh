#!/usr/bin/env bash
# Builds .venv from requirements.lock and installs this checkout into it (editable).
# Done already for this lock, this Python and this place: returns at once.
# PYTHON names the interpreter; uv is used where it is on PATH, else venv and pip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    found=$("$python" --version 2>&1 || true)
    echo "setup: Python 3.11 or newer is needed; '$python' is: ${found:-not found}." >&2
    echo "       Install one, or name it: make setup PYTHON=/path/to/python3" >&2
    exit 1
fi

# Through links, so that an activated .venv names the Python that it was made from.
python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
key=$("$python" - <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(f"{sys.version}\0{sys.executable}\0{pathlib.Path.cwd()}".encode())
for name in ("requirements.lock", "pyproject.toml"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
)
stamp=.venv/.setup-stamp
if [[ -x .venv/bin/bkg && -f $stamp && $(<"$stamp") == "$key" ]]; then
    exit 0
fi

rm -f "$stamp"
wanted=$("$python" -c 'import sys; print(*sys.version_info[:2])')
usable() { # of the same Python, and not moved here from another place
    [[ -x .venv/bin/python ]] || return
    [[ $(.venv/bin/python -c 'import sys; print(*sys.version_info[:2])') == "$wanted" ]] || return
    [[ ! -f .venv/bin/bkg ]] || grep -qF "$PWD/.venv/" .venv/bin/bkg
}
if command -v uv > /dev/null; then
    echo "setup: building .venv with uv"
    usable || uv venv --quiet --clear --python "$python" .venv
    install=(uv pip install --quiet --compile-bytecode --python .venv/bin/python)
else
    echo "setup: building .venv with pip (uv on PATH would be quicker)"
    if ! usable || ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
        rm -rf .venv
        "$python" -m venv .venv || {
            rm -rf .venv
            echo "setup: '$python' cannot make environments; on Debian: apt-get install python3-venv" >&2
            exit 1
        }
    fi
    install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
fi
"${install[@]}" --require-hashes -r requirements.lock
"${install[@]}" --no-deps --no-build-isolation -e .
echo "$key" > "$stamp"
