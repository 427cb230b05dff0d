"""Who asks: the bearer token of a request, judged by apikeys.

Owns the reading of `Authorization` and what becomes of apikeys' answer. Nothing is kept: a token is
asked about each time, so that a revocation is in force when the revoking call answers. What cannot
be checked is refused (503), whatever the reason.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import msgspec

from bkg_workbench.bus.identity import Caller
from bkg_workbench.errors import (
    Forbidden,
    InvalidParams,
    Overloaded,
    ProtocolError,
    Unauthenticated,
    WorkbenchError,
)
from bkg_workbench.gateway.door import Door, schema_of
from bkg_workbench.gateway.errors import AuthUnavailable
from bkg_workbench.protocol.capabilities import covers
from bkg_workbench.protocol.envelopes import raw

GATEWAY = Caller("gateway", ("auth.validate", "auth.login"))
"""What the gateway asks in its own name, and nothing else."""

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]{1,1024})\Z")

REFUSAL = "No valid token came with the request; send `Authorization: Bearer <key or session>`."


class Validated(msgspec.Struct, rename={"key_id": "keyId"}):
    """apikeys' answer. `expires_at` is in ms since 1970, None for never; `id` the credential's."""

    user: str
    scopes: list[str]
    expires_at: float | None = None
    key_id: str | None = None
    id: str | None = None


_decoder = msgspec.json.Decoder(Validated)


def bearer(values: Sequence[str]) -> str:
    """The token of the `Authorization` fields. Raises `Unauthenticated`, the same for all."""
    found = _BEARER.match(values[0]) if len(values) == 1 else None
    if found is None:
        raise refusal()
    return found[1]


def refusal() -> Unauthenticated:
    """What every wrong token is told: none learns which part of it was wrong."""
    return Unauthenticated(REFUSAL)


async def validate(
    door: Door,
    token: str,
    method: str,
    path: str,
    scope: str | None,
    *,
    timeout: float,
    traceparent: str | None,
) -> Caller:
    """The caller that a token stands for.

    Raises `Unauthenticated`, `Forbidden` or `Overloaded` where apikeys says so, and
    `AuthUnavailable` for everything else.
    """
    asked = {"token": token, "method": method, "path": path}
    schema = (schema_of(door.state, "auth.validate") or {}).get("input")
    if scope is not None and "scope" in ((schema or {}).get("properties") or {}):
        asked["scope"] = scope  # it keeps book of which scopes a key is used for
    payload = raw(asked)
    try:
        answer = await door.call(
            "auth.validate", payload, GATEWAY, timeout=timeout, traceparent=traceparent
        )
        known = _decoder.decode(answer)
    except (Unauthenticated, InvalidParams):
        raise refusal() from None
    except Forbidden as error:
        if error.facts.get("who") == GATEWAY.name:
            raise AuthUnavailable() from None
        raise
    except Overloaded:
        raise
    except (WorkbenchError, ProtocolError, msgspec.MsgspecError, ValueError):
        raise AuthUnavailable() from None
    if known.expires_at is not None and known.expires_at <= time.time() * 1000:
        raise refusal()
    return Caller(
        known.user,
        tuple(known.scopes),
        user=known.user,
        credential=known.id or known.key_id,
    )


def require(caller: Caller, scope: str) -> None:
    """Raise `Forbidden` unless the token covers the scope of the route."""
    if not any(covers(grant, scope) for grant in caller.scopes):
        raise Forbidden(
            f"The token of {caller.name} does not cover {scope}; an admin can make one that does.",
            who=caller.name,
            scope=scope,
        )
