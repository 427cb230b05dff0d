"""What a request carries: its body as strict JSON, and its path and query as fields.

Owns what the bus leaves to its door: duplicate keys, numbers beyond a double, depth and lone
surrogates are refused here, so that nobody behind reads another object than the one checked.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any

import msgspec

from bkg_workbench.errors import InvalidParams, ProtocolError
from bkg_workbench.gateway.errors import BadJson
from bkg_workbench.protocol.envelopes import MAX_DEPTH, from_outside

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_decoder = msgspec.json.Decoder(dict[str, Any])


class Parser:
    """Parses bodies; large ones one after another in a thread, so that the bus goes on."""

    def __init__(self, off_loop_bytes: int) -> None:
        self._off_loop_bytes = off_loop_bytes
        # One thread: many at work would take turns with the loop, and delay it by as many turns.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-json")

    async def object(self, body: bytes) -> tuple[dict[str, Any], msgspec.Raw]:
        """The body's object, and the same undecoded. Raises `BadJson`."""
        if len(body) <= self._off_loop_bytes:
            return parse_object(body)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, parse_large, body)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def parse_large(body: bytes) -> tuple[dict[str, Any], msgspec.Raw]:
    """As `parse_object`, in steps that let other threads run meanwhile.

    One call of a C library over megabytes holds the interpreter for a quarter of a second; hooks
    in Python let go of it every few milliseconds.
    """
    if _SURROGATE.search(body):
        return parse_object(body)  # json would let half a character through
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_float,
        )
    except _Twice as twice:
        raise BadJson(reason=f"the key {str(twice)[:80]!r} stands there twice") from None
    except (ValueError, RecursionError) as error:
        raise BadJson(reason=str(error)) from None
    if not isinstance(value, dict):
        raise BadJson(reason=f"it is a {type(value).__name__}")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH - 1):
        level = [child for parent in level for child in _children(parent)]
    if level:
        raise BadJson(reason=f"it nests deeper than {MAX_DEPTH - 1} levels")
    return value, msgspec.Raw(body)


def _children(parent: Any) -> list[Any]:
    values = parent.values() if isinstance(parent, dict) else parent
    return [child for child in values if isinstance(child, (dict, list))]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _unique(pairs)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is out of range")
    return number


def parse_object(body: bytes) -> tuple[dict[str, Any], msgspec.Raw]:
    """The body's object, and the same undecoded. Raises `BadJson`."""
    if not body.strip(b" \t\r\n"):
        return {}, msgspec.Raw(b"{}")
    try:
        payload = from_outside(body)
        value = _decoder.decode(body)
        if body.count(b":") > 1:
            # msgspec takes the last of two equal keys, as the bus does.
            json.loads(body, object_pairs_hook=_unique)
    except ProtocolError as error:
        raise BadJson(reason=str(error.facts.get("reason", error))) from None
    except _Twice as twice:
        raise BadJson(reason=f"the key {str(twice)[:80]!r} stands there twice") from None
    except msgspec.ValidationError as error:
        raise BadJson(reason=str(error)) from None
    except (ValueError, RecursionError) as error:
        raise BadJson(reason=str(error)) from None
    return value, payload


class _Twice(Exception):
    """A key that an object has twice."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise _Twice(key)
        seen.add(key)


def from_query(
    capability: str, query: list[tuple[str, str]], schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The query's fields, numbers and booleans as the schema has them. Raises `InvalidParams`."""
    known = (schema or {}).get("properties")
    properties: Mapping[str, Any] = known if isinstance(known, dict) else {}
    found: dict[str, Any] = {}
    for name, text in query:
        if name in found:
            raise InvalidParams(capability=capability, errors={f"/{name}": "it is given twice"})
        found[name] = _typed(text, properties.get(name))
    return found


def _typed(text: str, schema: Any) -> Any:
    """A query's text as what its schema takes; text that does not fit is left to the schema."""
    kinds = _kinds(schema)
    if not kinds or kinds & {"integer", "number"}:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 16:
            return int(text)
    if "number" in kinds:
        try:
            number = float(text)
        except ValueError:
            return text
        return number if abs(number) < float("inf") else text
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    return text


def _kinds(schema: Any) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ())
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        kinds |= _kinds(one)
    return kinds or {"string"}
