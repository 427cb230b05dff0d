"""Keys, sessions and child tokens: made, found, rotated, revoked.

Owns the rows of `credentials`. All three kinds are one: a digest that stands for a user, with an
end and with scopes that never exceed those of the user, nor of the credential that it came from.
Whatever is judged is read from the database then, so nothing has to be told of a revocation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apikeys import tokens, users
from apikeys.faults import invalid
from apikeys.scopes import cut
from apikeys.store import Transaction
from apikeys.tokens import Issued, Kind
from bkg_workbench.sdk import Unauthenticated

MAX_DEPTH = 4
"""How long a line of child tokens may be."""
KEPT_MS = 30 * 86_400_000
"""How long a key that ended is still listed."""


@dataclass(frozen=True)
class Credential:
    """A row of `credentials`; times in ms since 1970. `scopes` None: those of the user."""

    id: str
    kind: Kind
    user: str
    scopes: tuple[str, ...] | None
    label: str
    last4: str
    parent: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    rate_per_minute: int | None
    old_until: int | None
    rotated_at: int | None
    source: str

    def ended(self, now: int) -> str | None:
        """Why it is not valid any more; None while it is."""
        if self.revoked_at is not None:
            return "was revoked"
        return "has expired" if self.expires_at is not None and now >= self.expires_at else None


@dataclass(frozen=True)
class Proof:
    """Who a token proved its bearer to be. `expires_at` is the earliest end on its line.

    `limited` is the nearest on the line that has a limit of requests, which all below share.
    """

    credential: Credential
    user: str
    scopes: tuple[str, ...]
    expires_at: int | None
    limited: Credential | None = None


def create(
    tx: Transaction,
    kind: Kind,
    user: str,
    now: int,
    *,
    scopes: Sequence[str] | None = None,
    label: str = "",
    expires_at: int | None = None,
    rate_per_minute: int | None = None,
    parent: str | None = None,
    source: str = "",
) -> tuple[Credential, Issued]:
    """A new credential and the one sight of its token."""
    issued = tokens.issue(kind)
    tx.execute(
        "INSERT INTO credentials (id, kind, digest, last4, user, scopes, label, parent, "
        "created_at, expires_at, rate_per_minute, source) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            issued.id, kind, issued.digest, issued.last4, user,
            None if scopes is None else json.dumps(list(scopes)), label, parent,
            now, expires_at, rate_per_minute, source,
        ),
    )  # fmt: skip
    found = find(tx, issued.id)
    assert found is not None
    return found, issued


def prove(tx: Transaction, token: str, now: int) -> Proof:
    """Who bears the token. Raises `Unauthenticated`; only the right secret learns why."""
    parsed = tokens.parse(token)
    row = _row(tx, parsed.id) if parsed else None
    is_right = parsed is not None and tokens.matches(parsed.digest, row["digest"] if row else None)
    if parsed and row and not is_right and row["old_until"] is not None:
        is_right = tokens.matches(parsed.digest, row["old_digest"]) and now < row["old_until"]
    if parsed is None or row is None or not is_right or row["kind"] != parsed.kind:
        raise Unauthenticated("The token is not valid.")
    return standing(tx, _credential(row), now)


def standing(tx: Transaction, credential: Credential, now: int) -> Proof:
    """What a credential is worth now, along its whole line. Raises `Unauthenticated`."""
    user = users.find(tx, credential.user)
    if user is None or user.disabled:
        raise Unauthenticated("The token's user is disabled or has gone.")
    scopes, ends = list(user.scopes), []
    limited: Credential | None = None
    one: Credential | None = credential
    for _ in range(MAX_DEPTH + 1):
        assert one is not None
        if (why := one.ended(now)) is not None:
            raise Unauthenticated(f"The {_WORD[one.kind]} {one.id} {why}.")
        if one.scopes is not None:
            scopes = cut(one.scopes, scopes)
        if one.expires_at is not None:
            ends.append(one.expires_at)
        if limited is None and one.rate_per_minute is not None:
            limited = one
        if one.parent is None:
            end = min(ends, default=None)
            return Proof(credential, user.name, tuple(scopes), end, limited)
        one = find(tx, one.parent)
        if one is None:
            break
    raise Unauthenticated("The token that this one came from has gone.")


def depth(tx: Transaction, credential: Credential) -> int:
    """How many credentials it came from."""
    count, parent = 0, credential.parent
    while parent is not None and count <= MAX_DEPTH:
        found = find(tx, parent)
        count, parent = count + 1, found.parent if found else None
    return count


def find(tx: Transaction, identity: str) -> Credential | None:
    """The credential of an id."""
    row = _row(tx, identity)
    return _credential(row) if row else None


def of_user(tx: Transaction, user: str, kind: Kind) -> list[Credential]:
    """A user's credentials of one kind, oldest first."""
    found = tx.execute(
        "SELECT * FROM credentials WHERE user = ? AND kind = ? ORDER BY created_at, id",
        (user, kind),
    )
    return [_credential(row) for row in found]


def rotate(tx: Transaction, key: Credential, now: int, overlap_ms: int) -> Issued:
    """A new secret of the same id; the present one is valid for `overlap_ms` more."""
    issued = tokens.issue(key.kind, key.id)
    tx.execute(
        "UPDATE credentials SET old_digest = digest, old_until = ?, digest = ?, last4 = ?, "
        "rotated_at = ? WHERE id = ?",
        (now + overlap_ms, issued.digest, issued.last4, now, key.id),
    )
    return issued


def revoke(tx: Transaction, credential: Credential, now: int) -> None:
    """End it; what came from it ends with it."""
    tx.execute(
        "UPDATE credentials SET revoked_at = ?, old_digest = NULL, old_until = NULL "
        "WHERE id = ? AND revoked_at IS NULL",
        (now, credential.id),
    )


def revoke_sessions(tx: Transaction, user: str, now: int) -> int:
    """End every session of a user; how many there were."""
    return tx.execute(
        "UPDATE credentials SET revoked_at = ? WHERE user = ? AND kind = 'session' "
        "AND revoked_at IS NULL AND expires_at > ?",
        (now, user, now),
    ).rowcount


def keep_newest_sessions(tx: Transaction, user: str, count: int, now: int) -> None:
    """End the oldest sessions of a user beyond `count`."""
    live = [one for one in of_user(tx, user, "session") if one.ended(now) is None]
    for one in live[: max(0, len(live) - count)]:
        revoke(tx, one, now)


def touch(tx: Transaction, used: dict[str, int], uses: dict[tuple[str, str, int], int]) -> None:
    """Keep when credentials were last used, and how often for which scope on which day."""
    tx.executemany(
        "UPDATE credentials SET last_used_at = ? WHERE id = ?",
        [(at, identity) for identity, at in used.items()],
    )
    tx.executemany(
        "INSERT INTO uses SELECT id, ?, ?, ? FROM credentials WHERE id = ? AND kind = 'key' "
        "ON CONFLICT (credential, scope, day) DO UPDATE SET count = count + excluded.count",
        [(scope, day, count, identity) for (identity, scope, day), count in uses.items()],
    )


def used_scopes(tx: Transaction, identity: str, since_day: int) -> dict[str, int]:
    """How often a key was used for each scope since a day (days since 1970)."""
    found = tx.execute(
        "SELECT scope, sum(count) AS uses FROM uses WHERE credential = ? AND day >= ? "
        "GROUP BY scope ORDER BY scope",
        (identity, since_day),
    )
    return {row["scope"]: row["uses"] for row in found}


def purge(tx: Transaction, now: int) -> None:
    """Remove what ended: sessions and child tokens at once, keys a month later."""
    tx.execute(
        "UPDATE credentials SET old_digest = NULL, old_until = NULL WHERE old_until <= ?", (now,)
    )
    tx.execute(
        "DELETE FROM credentials WHERE kind IN ('session', 'child') "
        "AND (expires_at <= ? OR revoked_at IS NOT NULL)",
        (now,),
    )
    ended = now - KEPT_MS
    tx.execute(
        "DELETE FROM credentials WHERE kind = 'key' AND (expires_at <= ? OR revoked_at <= ?)",
        (ended, ended),
    )
    tx.execute("DELETE FROM uses WHERE day < ?", ((now - 3 * KEPT_MS) // 86_400_000,))


def require_future(expires_at: int | None, now: int) -> None:
    """Raise `InvalidParams` for an end that has been."""
    if expires_at is not None and expires_at <= now:
        raise invalid("/expires_at", "it lies in the past")


_WORD = {"key": "key", "session": "session", "child": "child token"}


def _row(tx: Transaction, identity: str) -> Any:
    return tx.execute("SELECT * FROM credentials WHERE id = ?", (identity,)).fetchone()


def _credential(row: Any) -> Credential:
    return Credential(
        id=row["id"],
        kind=row["kind"],
        user=row["user"],
        scopes=None if row["scopes"] is None else tuple(json.loads(row["scopes"])),
        label=row["label"],
        last4=row["last4"],
        parent=row["parent"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        rate_per_minute=row["rate_per_minute"],
        old_until=row["old_until"],
        rotated_at=row["rotated_at"],
        source=row["source"],
    )
