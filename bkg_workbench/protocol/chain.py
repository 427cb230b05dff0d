"""A chain of records: each carries the hash of the one before, so that no change goes unseen.

Owns the hash and the check. Does not own where records are kept. A chain shows a record that was
changed, removed from the middle or put in between; that its end was cut off, or all of it written
anew, shows only against a head that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

START = "0" * 64
"""What stands for the hash before the first record."""


def link(previous: str, record: Mapping[str, Any]) -> str:
    """The hash of a record (JSON values; without its own hash) that follows `previous`."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What a check found. `broken_at` is the `seq` of the first record that does not fit."""

    records: int
    head: str
    broken_at: int | None = None
    why: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every record fits."""
        return self.broken_at is None


def check(
    records: Iterable[tuple[Mapping[str, Any], str]], expected: tuple[int, str] | None = None
) -> Verdict:
    """Walk along (record, hash) pairs, oldest first; records count by `seq` from 1.

    `expected` is a head that was noted earlier: (seq, hash); the chain must still hold it.
    """
    head, count = START, 0
    for record, found in records:
        seq = record.get("seq")
        if seq != count + 1:
            return Verdict(count, head, count + 1, f"record {count + 1} is missing")
        head, count = link(head, record), count + 1
        if not hmac.compare_digest(head.encode(), found.encode("utf-8", "replace")):
            return Verdict(count, head, count, f"record {count} was changed")
        if expected and expected[0] == count and expected[1] != head:
            return Verdict(count, head, count, f"record {count} is not the one that was noted")
    if expected and expected[0] > count:
        why = f"the chain ends at record {count}; record {expected[0]} was noted"
        return Verdict(count, head, count + 1, why)
    return Verdict(count, head)
