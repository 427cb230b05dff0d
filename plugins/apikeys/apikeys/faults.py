"""The sentence of a payload that is not good, with the pointer to what is wrong in it."""

from __future__ import annotations

from bkg_workbench.sdk import InvalidParams


def invalid(pointer: str, what: str) -> InvalidParams:
    """A refusal of the value at a JSON pointer, which is never repeated."""
    return InvalidParams(f"{pointer.strip('/') or 'It'}: {what}.", errors={pointer: what})
