"""How often somebody may try: logins by user and by address, requests by key.

Failed logins are counted in the database, so that a restart forgets none. Nobody is locked out for
good: the wait doubles up to a quarter of an hour, and the operator's own console never asks for a
password. Requests are counted in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from apikeys.store import Transaction
from bkg_workbench.sdk import Overloaded

FREE_FAILURES = 5
BURST = 8
"""Logins of one user at a time, as long as few have failed."""
FIRST_WAIT_MS, LONGEST_WAIT_MS = 30_000, 15 * 60_000
FORGET_MS = 24 * 3_600_000
"""After a day without a failure the count begins anew."""
PER_ADDRESS, ADDRESS_WINDOW_MS = 20, 60_000


class Attempts:
    """Logins under way. Its methods belong to the event loop."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._told: dict[str, int] = {}

    def enter(self, tx: Transaction, user: str, source: str, now: int) -> None:
        """Admit an attempt, to be followed by `leave`. Raises `Overloaded` with the wait."""
        for name, wait in (
            (_user(user), self._wait_of_user(tx, user, now)),
            (_address(source), self._wait_of_address(tx, source, now) if source else 0),
        ):
            if wait > 0:
                raise Throttled(name, now + wait, wait)
        self._open[_user(user)] += 1
        self._open[_address(source)] += 1

    def leave(self, user: str, source: str) -> None:
        """The attempt is over."""
        for name in (_user(user), _address(source)):
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def is_news(self, refusal: Throttled) -> bool:
        """Whether this is the first refusal of its wait: one row tells of them all."""
        known = self._told.get(refusal.name, 0)
        self._told = {n: u for n, u in self._told.items() if u > refusal.until - LONGEST_WAIT_MS}
        if known >= refusal.until - 1_000:
            return False
        self._told[refusal.name] = refusal.until
        return True

    def _wait_of_user(self, tx: Transaction, user: str, now: int) -> int:
        row = _row(tx, _user(user))
        count, until = (row[0], row[2]) if row and now - row[1] < FORGET_MS else (0, 0)
        # Those under way may fail too: a burst has no more tries than there is room for.
        room = BURST - count if count < FREE_FAILURES else 1
        return max(until - now, 1_000 if self._open[_user(user)] >= room else 0)

    def _wait_of_address(self, tx: Transaction, source: str, now: int) -> int:
        row = _row(tx, _address(source))
        count, since = (row[0], row[1]) if row else (0, now)
        if now - since >= ADDRESS_WINDOW_MS:
            count, since = 0, now
        if count + self._open[_address(source)] < PER_ADDRESS:
            return 0
        return since + ADDRESS_WINDOW_MS - now


class Throttled(Overloaded):
    """An attempt that was not even looked at."""

    def __init__(self, name: str, until: int, wait_ms: int) -> None:
        seconds = math.ceil(wait_ms / 1000)
        super().__init__(
            f"Too many attempts to log in; try again in {seconds} s.", retryAfterSeconds=seconds
        )
        self.name, self.until = name, until


def failed(tx: Transaction, user: str, source: str, now: int) -> None:
    """Count a failed attempt of a user, known or not, and of an address."""
    row = _row(tx, _user(user))
    count = (row[0] if row and now - row[1] < FORGET_MS else 0) + 1
    wait = 0
    if count >= FREE_FAILURES:
        wait = min(FIRST_WAIT_MS << min(count - FREE_FAILURES, 16), LONGEST_WAIT_MS)
    _keep(tx, _user(user), count, now, now + wait)
    if source:
        _counted(tx, source, now)


def succeeded(tx: Transaction, user: str, source: str, now: int) -> None:
    """Forget a user's failures; an address keeps its count."""
    forget(tx, user)
    if source:
        _counted(tx, source, now)


def forget(tx: Transaction, user: str) -> None:
    """Let a user try again at once."""
    tx.execute("DELETE FROM throttle WHERE name = ?", (_user(user),))


def purge(tx: Transaction, now: int) -> None:
    """Remove what counts no more."""
    tx.execute("DELETE FROM throttle WHERE since < ? AND until < ?", (now - FORGET_MS, now))


def _counted(tx: Transaction, source: str, now: int) -> None:
    row = _row(tx, _address(source))
    is_open = row is not None and now - row[1] < ADDRESS_WINDOW_MS
    count, since = (row[0] + 1, row[1]) if row and is_open else (1, now)
    _keep(tx, _address(source), count, since, 0)


def _keep(tx: Transaction, name: str, count: int, since: int, until: int) -> None:
    tx.execute("INSERT OR REPLACE INTO throttle VALUES (?, ?, ?, ?)", (name, count, since, until))


def _row(tx: Transaction, name: str) -> tuple[int, int, int] | None:
    row = tx.execute("SELECT count, since, until FROM throttle WHERE name = ?", (name,)).fetchone()
    return (row["count"], row["since"], row["until"]) if row else None


def _user(user: str) -> str:
    return f"user {user}"


def _address(source: str) -> str:
    return f"address {source}"


@dataclass
class _Bucket:
    left: float
    at: int


@dataclass
class Rates:
    """Requests a minute of each key that has a limit: a bucket that fills steadily."""

    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def take(self, identity: str, per_minute: int, now: int) -> None:
        """Count one request. Raises `Overloaded` with the wait where there is none left."""
        bucket = self._buckets.setdefault(identity, _Bucket(per_minute, now))
        passed = now - bucket.at
        bucket.left = min(per_minute, bucket.left + passed * per_minute / 60_000)
        bucket.at = now
        if bucket.left < 1:
            seconds = math.ceil((1 - bucket.left) * 60 / per_minute)
            raise Overloaded(
                f"The key {identity} may be used {per_minute} times a minute; try again in "
                f"{seconds} s.",
                limit=per_minute,
                retryAfterSeconds=seconds,
            )
        bucket.left -= 1

    def forget(self, identity: str) -> None:
        """The key has gone, or its limit was changed."""
        self._buckets.pop(identity, None)
