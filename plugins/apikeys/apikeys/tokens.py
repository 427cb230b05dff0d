"""Secrets that stand for somebody: how they look, and what is kept of them.

A token is `bkg_<id>_<secret>` (API key), `bks_…` (session) or `bkt_…` (child). The id finds its
row, and
the secret has 256 bits of the operating system's random source; SHA-256 of it is all that is kept.
A secret of that strength needs no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, NamedTuple

Kind = Literal["key", "session", "child"]

PREFIXES: dict[str, Kind] = {"bkg": "key", "bks": "session", "bkt": "child"}
_OF_KIND = {kind: prefix for prefix, kind in PREFIXES.items()}
_FORM = re.compile(r"(bkg|bks|bkt)_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LONGEST = 128
"""No token is longer; a longer text is not looked at."""

_NOTHING = bytes(32)


class Issued(NamedTuple):
    """A new token: shown once, then forgotten."""

    id: str
    token: str
    digest: bytes
    last4: str


class Parsed(NamedTuple):
    """A token that has the right form."""

    kind: Kind
    id: str
    digest: bytes


def issue(kind: Kind, identity: str | None = None) -> Issued:
    """A token with a new secret, of a new id unless `identity` is given."""
    secret = secrets.token_urlsafe(32)
    found = identity or secrets.token_hex(6)
    return Issued(found, f"{_OF_KIND[kind]}_{found}_{secret}", _digest(secret), secret[-4:])


def parse(token: str) -> Parsed | None:
    """The parts of a token; None where the text cannot be one."""
    if len(token) > LONGEST:
        return None
    match = _FORM.fullmatch(token)
    if match is None:
        return None
    return Parsed(PREFIXES[match[1]], match[2], _digest(match[3]))


def matches(digest: bytes, kept: bytes | None) -> bool:
    """Whether a digest is the kept one, in a time that does not depend on either."""
    return hmac.compare_digest(digest, kept or _NOTHING) and kept is not None


def masked(kind: Kind, identity: str, last4: str) -> str:
    """The token as lists show it."""
    return f"{_OF_KIND[kind]}_{identity}_…{last4}"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
