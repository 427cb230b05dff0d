"""Small helps for widgets that set their traits one by one."""

from __future__ import annotations

from typing import Any


def put(widget: Any, trait: str, value: Any) -> None:
    """Set a trait if it differs; nothing is sent otherwise."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)
