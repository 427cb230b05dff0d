"""What a path may look like, and how one that is not UTF-8 is shown.

Owns the input rules and the percent form. Touches no file system; `jail` opens what passes here.
Inside repoagent a path is a `str` relative to its root with `/` between components, "" is the
root itself, and bytes that are not UTF-8 are surrogates (as `os.fsdecode` gives them).
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from repoagent import faults

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")


def clean(path: str, *, percent: bool = False) -> str:
    """The path as repoagent uses it; `./` and `//` are taken out, nothing else is changed.

    `percent` says that the path is in the percent form. Raises `Forbidden` for absolute paths,
    `..`, `~`, URLs, NUL and over-long paths. Names are compared raw: never stripped or normalised.
    """
    shown = path
    if percent:
        path = os.fsdecode(unquote_to_bytes(path))
    if "\0" in path:
        raise faults.bad_path(shown, "it holds a NUL character")
    if path.startswith("/"):
        raise faults.bad_path(shown, "it is absolute")
    if path.startswith("~"):
        raise faults.bad_path(shown, "it begins with '~'")
    if _URL.match(path):
        raise faults.bad_path(shown, "it is a URL")
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise faults.bad_path(shown, "it holds half a surrogate pair") from None
    if size > MAX_PATH_BYTES:
        raise faults.bad_path(shown, f"it is longer than {MAX_PATH_BYTES} bytes")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise faults.bad_path(shown, "it holds '..'")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        raise faults.bad_path(shown, f"a name in it is longer than {MAX_NAME_BYTES} bytes")
    return "/".join(parts)


def show(path: str) -> tuple[str, bool]:
    """The path for the wire, and whether it is in the percent form (it was not UTF-8)."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return to_percent(path), True
    return path, False


def to_percent(path: str) -> str:
    """Every byte but letters, digits and `_.-~/` as `%XX`."""
    return quote_from_bytes(os.fsencode(path))


def is_protected(name: str) -> bool:
    """Whether no verb may ever enter this name: git's and the workbench's own directories.

    Also in the spellings that some file systems take for `.git`: other letter case, trailing
    dots and spaces, `git~1`, invisible characters.
    """
    if not name.isascii():
        name = _INVISIBLE.sub("", name)
    return name.rstrip(" .").lower() in _PROTECTED


_PROTECTED = frozenset({".git", "git~1", ".bkg"})
