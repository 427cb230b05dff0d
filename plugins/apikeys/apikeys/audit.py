"""The trail: one row for each thing that was done or refused, chained by hash.

Owns the rows and their check. A row never holds a secret: it has names, ids, scopes and labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from apikeys.store import Transaction
from bkg_workbench.sdk import chain

COLUMNS = ("seq", "at", "actor", "action", "target", "source", "outcome", "detail")
_SELECT = f"SELECT {', '.join(COLUMNS)}, hash FROM audit"


def append(
    tx: Transaction,
    now: int,
    *,
    actor: str,
    action: str,
    target: str = "",
    source: str = "",
    outcome: str = "ok",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write a row in the transaction of what it tells of."""
    seq, previous = head(tx)
    text = json.dumps(detail or {}, sort_keys=True, ensure_ascii=False)
    row = (seq + 1, now, actor, action, target, source, outcome, text)
    found = chain.link(previous, dict(zip(COLUMNS, row, strict=True)))
    tx.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, found))


def head(tx: Transaction) -> tuple[int, str]:
    """(seq, hash) of the newest row; (0, the start) of an empty trail."""
    row = tx.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return (row["seq"], row["hash"]) if row else (0, chain.START)


def rows(
    tx: Transaction, *, after: int | None, limit: int, actor: str | None = None
) -> list[dict[str, Any]]:
    """Rows, oldest first: those after a seq, else the newest `limit`; of one actor where given."""
    whose, values = ("AND actor = ?", [actor]) if actor is not None else ("", [])
    order = "ASC" if after is not None else "DESC"
    found = tx.execute(
        f"{_SELECT} WHERE seq > ? {whose} ORDER BY seq {order} LIMIT ?",
        (after or 0, *values, limit),
    ).fetchall()
    shown = [{**dict(row), "detail": json.loads(row["detail"])} for row in found]
    return shown if after is not None else shown[::-1]


def verify(tx: Transaction, expected: tuple[int, str] | None = None) -> chain.Verdict:
    """Check the chain from its first row."""
    found = tx.execute(f"{_SELECT} ORDER BY seq")
    return chain.check((({k: row[k] for k in COLUMNS}, row["hash"]) for row in found), expected)
