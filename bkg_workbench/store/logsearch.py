"""The answer to a question about log records: from the index, or from records at hand.

Owns the SQL of `store.logindex`'s tables, the ways of finding a text or a regular expression in
them, and the bound on a regular expression that runs away.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import regex

from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.capabilities import QueryLogs
from bkg_workbench.store.logtext import LEVELS

RECENT_ROWS = 4_000
"""How many of the newest rows are simply read through before the full-text index is asked."""
PAGE_ROWS = 2_000
REGEX_SECONDS = 2.0

_COLUMNS = "seq, at, plugin, source, level, message, timestamp"


def answer(connection: sqlite3.Connection, query: QueryLogs) -> list[dict[str, Any]]:
    """The records of an index that match, oldest first. Raises `InvalidParams`."""
    if query.regex is not None:
        rows = _by_regex(connection, query)
    elif query.text:
        rows = _by_text(connection, query)
    else:
        where, values = _conditions(query)
        order = _order(query)
        sql = f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY seq {order} LIMIT ?"
        rows = connection.execute(sql, (*values, query.limit)).fetchall()
    records = [_record(row) for row in rows]
    return records if query.after is not None else records[::-1]


def _order(query: QueryLogs) -> str:
    return "DESC" if query.after is None else "ASC"


def _conditions(query: QueryLogs) -> tuple[str, list[Any]]:
    parts: list[tuple[str, Any]] = []
    lowest = LEVELS.index(query.level) if query.level else 0
    if query.plugin is not None:
        # The plus keeps SQLite from this column's index where that of warnings serves better.
        parts.append(("+plugin = ?" if lowest >= 2 else "plugin = ?", query.plugin))
    if lowest:
        parts.append(("level >= ?", lowest))
    if query.source is not None:
        parts.append(("source = ?", query.source))
    if query.since is not None:
        parts.append(("at >= ?", query.since))
    if query.until is not None:
        parts.append(("at <= ?", query.until))
    if query.after is not None:
        parts.append(("seq > ?", query.after))
    if query.before is not None:
        parts.append(("seq < ?", query.before))
    where = " AND ".join(sql for sql, _ in parts) or "1"
    if lowest >= 2:
        where += " AND level >= 2"  # in the very words of the index of warnings
    return where, [value for _, value in parts]


def _by_text(connection: sqlite3.Connection, query: QueryLogs) -> list[tuple[Any, ...]]:
    """Read through the nearest rows first, since a common text is found there at once."""
    where, values = _conditions(query)
    order, text = _order(query), query.text or ""
    match = "message LIKE ? ESCAPE '!'"
    pattern = "%" + re.sub("([!%_])", r"!\1", text) + "%"
    nearest = f"FROM records WHERE {where} ORDER BY seq {order} LIMIT {RECENT_ROWS}"
    found = connection.execute(
        f"SELECT * FROM (SELECT {_COLUMNS} {nearest}) WHERE {match} ORDER BY seq {order} LIMIT ?",
        (*values, pattern, query.limit),
    ).fetchall()
    if len(found) == query.limit:
        return found
    edge = "MIN" if order == "DESC" else "MAX"
    last, count = connection.execute(
        f"SELECT {edge}(seq), COUNT(*) FROM (SELECT seq {nearest})", values
    ).fetchone()
    if count < RECENT_ROWS:
        return found
    where += " AND seq < ?" if order == "DESC" else " AND seq > ?"
    values.append(last)
    source = "records"
    if len(text) >= 3:
        # Only LIKE without ESCAPE uses the trigrams: its wildcards find too much, which `match`
        # sorts out. Rows that have not entered the full-text index yet are read through. The
        # CROSS JOIN keeps SQLite from reading through the others too.
        source = (
            "(SELECT rowid AS hit FROM texts WHERE message LIKE ? UNION ALL SELECT id FROM records "
            "WHERE id > (SELECT id FROM texts_position)) CROSS JOIN records ON id = hit"
        )
        values.insert(0, f"%{text}%")
    found += connection.execute(
        f"SELECT {_COLUMNS} FROM {source} WHERE {where} AND {match} ORDER BY seq {order} LIMIT ?",
        (*values, pattern, query.limit - len(found)),
    ).fetchall()
    return found


def _by_regex(connection: sqlite3.Connection, query: QueryLogs) -> list[tuple[Any, ...]]:
    end = time.monotonic() + REGEX_SECONDS
    pattern = _compile(query.regex or "")
    where, values = _conditions(query)
    text = (query.text or "").lower()
    order, hits = _order(query), list[int]()
    beyond = "seq < ?" if order == "DESC" else "seq > ?"
    edge = 2**62 if order == "DESC" else 0
    # A page comes as one value: SQLite lets go of the interpreter once, not once a row.
    page_sql = (
        "SELECT json_group_array(json_array(seq, message)) FROM (SELECT seq, message FROM records "
        f"WHERE {where} AND {beyond} ORDER BY seq {order} LIMIT {PAGE_ROWS})"
    )
    page: list[Any] = [None] * PAGE_ROWS
    while len(page) == PAGE_ROWS and len(hits) < query.limit:
        page = msgspec.json.decode(connection.execute(page_sql, (*values, edge)).fetchone()[0])
        edge = page[-1][0] if page else edge
        fits = _matching(pattern, page, end)
        if fits is None:
            raise _wrong("/regex", f"takes longer than {REGEX_SECONDS:g} s; narrow the query")
        hits += [seq for seq, message in fits if text in message.lower()]
    chosen = msgspec.json.encode(hits[: query.limit]).decode()
    return connection.execute(
        f"SELECT {_COLUMNS} FROM records WHERE seq IN (SELECT value FROM json_each(?)) "
        f"ORDER BY seq {order}",
        (chosen,),
    ).fetchall()


def _matching(pattern: Any, page: list[Any], end: float) -> list[Any] | None:
    """The (seq, message) that fit; None when the time is up."""
    if time.monotonic() >= end:
        return None
    quantifiers = sum(map(pattern.pattern.count, "*+{"))
    if quantifiers <= 1 and all(len(message) <= 1_000 for _, message in page):
        # Too little to run away, and a clock would cost four times the search.
        search = pattern.search
        return [row for row in page if search(row[1])]
    found = []
    for row in page:
        fits = matches(pattern, row[1], end - time.monotonic())
        if fits is None:
            return None
        if fits:
            found.append(row)
    return found


def _compile(pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise _wrong("/regex", f"is not a regular expression ({error})") from None


def matches(pattern: Any, message: str, seconds: float) -> bool | None:
    """Whether a compiled pattern is found; None when it takes longer than `seconds`."""
    if seconds <= 0:
        return None
    with contextlib.suppress(TimeoutError):
        return pattern.search(message, timeout=min(seconds, 0.01)) is not None
    # A line that takes long must not hold the interpreter meanwhile.
    with contextlib.suppress(TimeoutError):
        return pattern.search(message, timeout=seconds, concurrent=True) is not None
    return None


def _wrong(where: str, what: str) -> InvalidParams:
    return InvalidParams(capability="host.logs.query", errors={where: what})


def _record(row: tuple[Any, ...]) -> dict[str, Any]:
    seq, at, plugin, source, level, message, timestamp = row
    record = {
        "seq": seq,
        "at": at,
        "plugin": plugin,
        "source": source,
        "level": LEVELS[level],
        "message": message,
    }
    if timestamp is not None:
        record["timestamp"] = msgspec.json.decode(timestamp)
    return record


def select(records: Iterator[dict[str, Any]], query: QueryLogs) -> list[dict[str, Any]]:
    """What a query finds among records at hand (oldest first), for when there is no index."""
    pattern = _compile(query.regex) if query.regex is not None else None
    lowest = LEVELS.index(query.level) if query.level else 0
    text = (query.text or "").lower()
    found = [
        record
        for record in records
        if query.plugin in (None, record["plugin"])
        and query.source in (None, record["source"])
        and LEVELS.index(record["level"]) >= lowest
        and (query.since is None or record["at"] >= query.since)
        and (query.until is None or record["at"] <= query.until)
        and (query.after is None or record["seq"] > query.after)
        and (query.before is None or record["seq"] < query.before)
        and text in record["message"].lower()
        and (pattern is None or matches(pattern, record["message"], 0.1))
    ]
    return found[: query.limit] if query.after is not None else found[-query.limit :]
