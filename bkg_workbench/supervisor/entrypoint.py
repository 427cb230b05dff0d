"""Whether a plug-in's start script can run at all, said in words before it is tried.

Owns the checks of the file; does not run anything.
"""

from __future__ import annotations

import os
from pathlib import Path

HEAD_BYTES = 64 * 1024
_BINARIES = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def check_entrypoint(path: Path, cwd: Path, inside: Path | None = None) -> str | None:
    """What keeps `path` from running with `cwd` as its directory, and what to do; None if nothing.

    `inside`: the directory that it has to lie in, symbolic links followed.
    """
    if not cwd.is_dir():
        return f"its directory {cwd} is not there; put it back or remove the plug-in"
    if not path.exists():
        return f"{path} is not there; create it or correct `entrypoint`"
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        return f"{path} lies outside {inside}; correct `entrypoint`"
    if not path.is_file():
        return f"{path} is not a file; correct `entrypoint`"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable; run: chmod +x {path}"
    return _check_head(path)


def _check_head(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); correct its permissions"
    if head.startswith(_BINARIES):
        return None
    if head.startswith(b"\xef\xbb\xbf"):
        return f"{path} begins with a byte order mark; save it as UTF-8 without one"
    if not head.startswith(b"#!"):
        return f"{path} has no interpreter line; let it begin with: #!/usr/bin/env bash"
    if b"\r\n" in head:
        mend = f"sed -i 's/\\r$//' {path}"
        return f"{path} has Windows line ends (CRLF); save it with LF, or run: {mend}"
    words = head.split(b"\n", 1)[0][2:].split()
    if not words:
        return f"{path} names no interpreter after #!; let it begin with: #!/usr/bin/env bash"
    interpreter = os.fsdecode(words[0])
    if not os.access(interpreter, os.X_OK):
        return f"{path} asks for the interpreter {interpreter}, which is not there; install it"
    return None
