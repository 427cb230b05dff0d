"""Payloads and results against their schemas, large ones off the loop.

Owns nothing but the choice of the thread; what a schema says is `protocol.schema`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import msgspec

from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol import schema as schemas
from bkg_workbench.protocol.envelopes import value

OFF_LOOP_BYTES = 64 * 1024


def check(
    capability: str, way: str, schema: dict[str, Any], data: msgspec.Raw
) -> Awaitable[None] | None:
    """Raise `InvalidParams` where `data` does not fit; for large data when awaited.

    `way` is "input" or "output".
    """
    if len(bytes(data)) > OFF_LOOP_BYTES:
        return asyncio.to_thread(_check, capability, schema, data)
    _check(capability, schema, data)
    return None


def _check(capability: str, schema: dict[str, Any], data: msgspec.Raw) -> None:
    errors = schemas.compiled(schema).errors(value(data))
    if errors:
        raise InvalidParams(capability=capability, errors=errors)
