"""What a request carries: its body as strict JSON, and its path and query as fields.

Owns what the bus leaves to its door: duplicate keys, numbers beyond a double, depth and lone
surrogates are refused here, so that nobody behind reads another object than the one checked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from bkg_workbench.errors import InvalidParams, ProtocolError
from bkg_workbench.gateway.errors import BadJson
from bkg_workbench.protocol.envelopes import from_outside

_decoder = msgspec.json.Decoder(dict[str, Any])


async def read_object(body: bytes, off_loop_bytes: int) -> tuple[dict[str, Any], msgspec.Raw]:
    """The body's object, and the same undecoded. Raises `BadJson`."""
    if len(body) > off_loop_bytes:
        return await asyncio.to_thread(parse_object, body)
    return parse_object(body)


def parse_object(body: bytes) -> tuple[dict[str, Any], msgspec.Raw]:
    """The same, at once."""
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
