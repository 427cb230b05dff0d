"""The sentences with which repoagent refuses: what, which one, what now.

Owns the wording and the machine-readable fact `reason` of each refusal. The classes are the
workbench's; this is the only module of the domain that knows them.
"""

from __future__ import annotations

from bkg_workbench.sdk import CapabilityUnavailable, Forbidden, InvalidParams, RequestError

__all__ = [
    "CapabilityUnavailable",
    "Forbidden",
    "InvalidParams",
    "RequestError",
    "bad_param",
    "bad_path",
    "busy",
    "hidden",
    "no_root",
    "not_found",
    "not_kind",
    "outside",
    "root_changed",
    "unknown_root",
    "unreadable",
]


def bad_param(name: str, why: str) -> InvalidParams:
    """A parameter that no schema can catch, such as a regular expression that does not compile."""
    return InvalidParams(f"{name} {why}.", reason="bad_param", errors={f"/{name}": why})


def bad_path(path: str, why: str) -> Forbidden:
    """A path that breaks the input rules; it is refused before anything is opened."""
    return Forbidden(
        f"The path {_short(path)} is refused: {why}; give one relative to the root.",
        reason="bad_path",
        path=_short(path),
    )


def outside(path: str) -> Forbidden:
    """A path that leads out of its root through a symbolic link."""
    return Forbidden(
        f"{_short(path)} leads out of its root through a symbolic link; only what lies "
        "beneath a workspace root can be opened.",
        reason="outside",
        path=_short(path),
    )


def hidden(path: str, why: str) -> Forbidden:
    """A path that the ignore rules or the protection of secrets hide."""
    return Forbidden(
        f"{_short(path)} is hidden: {why}.",
        reason="hidden",
        path=_short(path),
    )


def not_found(path: str) -> InvalidParams:
    """Nothing is there."""
    return InvalidParams(
        f"There is no {_short(path)} in this root; repo.tree lists what there is.",
        reason="not_found",
        errors={"/path": "not found"},
    )


def not_kind(path: str, wanted: str, found: str) -> InvalidParams:
    """Something else is there, e.g. a pipe where a file is wanted."""
    return InvalidParams(
        f"{_short(path)} is {found}, not {wanted}.",
        reason="not_regular" if wanted == "a regular file" else "not_directory",
        errors={"/path": f"{found}, not {wanted}"},
    )


def unreadable(path: str, why: str) -> Forbidden:
    """The operating system says no."""
    return Forbidden(
        f"{_short(path)} cannot be opened: {why}.", reason="unreadable", path=_short(path)
    )


def busy(path: str) -> CapabilityUnavailable:
    """The path changes faster than it can be opened safely."""
    return CapabilityUnavailable(
        f"{_short(path)} is being moved about; try again in a moment.",
        reason="busy",
        path=_short(path),
    )


def no_root() -> Forbidden:
    """No root is configured, so there is nothing that may be opened."""
    return Forbidden(
        "No workspace root is configured, so nothing may be opened; "
        "set workspaceRoots in the settings of repoagent.",
        reason="no_root",
    )


def unknown_root(root: str, known: list[str]) -> InvalidParams:
    """The request (or `defaultRoot`) names a root that is not configured."""
    names = ", ".join(known)
    return InvalidParams(
        f"{_short(root)} is not a workspace root; there are: {names}.",
        reason="unknown_root",
        errors={"/root": f"not one of: {names}"},
    )


def root_changed(root: str, what: str) -> CapabilityUnavailable:
    """The root's directory is not the one that was opened at the start."""
    return CapabilityUnavailable(
        f"The workspace root {_short(root)} {what}; put it right, then restart repoagent.",
        reason="root_changed",
        root=_short(root),
    )


def _short(text: str) -> str:
    # A path may hold any bytes; a message is valid UTF-8 on one line.
    clean = text.encode("utf-8", "replace").decode()
    clean = "".join(c if c.isprintable() else "\ufffd" for c in clean)
    return f"'{clean if len(clean) <= 200 else clean[:197] + '...'}'"
