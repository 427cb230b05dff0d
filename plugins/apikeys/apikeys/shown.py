"""Rows as the capabilities show them: tokens masked, hashes left out."""

from __future__ import annotations

from typing import Any

import msgspec

from apikeys import shapes, tokens
from apikeys.credentials import Credential
from apikeys.tokens import Issued
from apikeys.users import User


def key(one: Credential, now: int, used_scopes: dict[str, int]) -> shapes.Key:
    """A key in a list, with how often each scope was used."""
    return shapes.Key(**_fields(one, now), used_scopes=used_scopes)


def new_key(one: Credential, issued: Issued, now: int) -> shapes.KeyResult:
    """A key with its token, this once."""
    return shapes.KeyResult(**_fields(one, now), token=issued.token)


def user(one: User) -> shapes.UserResult:
    """A user without the password's hash."""
    return msgspec.convert(one, shapes.UserResult, from_attributes=True)


def _fields(one: Credential, now: int) -> dict[str, Any]:
    return {
        "id": one.id,
        "user": one.user,
        "scopes": list(one.scopes or ()),
        "label": one.label,
        "masked": tokens.masked(one.kind, one.id, one.last4),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "revoked_at": one.revoked_at,
        "last_used_at": one.last_used_at,
        "rotated_at": one.rotated_at,
        "overlap_until": one.old_until if (one.old_until or 0) > now else None,
        "rate_per_minute": one.rate_per_minute,
        "is_valid": one.ended(now) is None,
    }
