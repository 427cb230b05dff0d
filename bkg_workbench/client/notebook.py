"""A helper for notebooks: run a coroutine from a plain cell or a widget's callback.

Owns the one use of nest-asyncio (nest-asyncio2 where it is installed). The library itself never
applies it: its loop runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where this thread's loop runs already (a notebook cell)."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    try:
        import nest_asyncio2 as nest
    except ImportError:
        import nest_asyncio as nest
    nest.apply(loop)
    return loop.run_until_complete(coroutine)
