"""`bkg logs --export`: the records that match, in a file.

Owns the forms of the file (JSON lines, CSV) and that it is whole or not there at all. Records are
asked for piece by piece, so that the size of the log does not matter.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from bkg_workbench.client.workbench import Workbench
from bkg_workbench.errors import WorkspaceError

PIECE = 5_000
"""Records asked for at once."""
BEHIND_TRIES = 50
BEHIND_SECONDS = 0.1
"""How often, and how far apart, a Host in a flood is asked where its records end."""
COLUMNS = ("seq", "at", "time", "plugin", "source", "level", "message", "timestamp")

Record = dict[str, Any]


def export(
    bench: Workbench,
    file: Path,
    plugin: str | None,
    filters: dict[str, Any],
    *,
    newest: int | None = None,
) -> dict[str, Any]:
    """Write what matches as of now, or the `newest` of it, oldest first: {file, records}.

    CSV where the name ends in .csv, else JSON lines. Mode 0600: logs are nobody else's business.
    Raises `WorkspaceError` where the file cannot be written.
    """
    write = _csv if file.suffix.lower() == ".csv" else _json_lines
    if newest is not None:
        found: Iterable[Record] = bench.logs(plugin, limit=newest, **filters) if newest else []
    else:
        found = matching(bench, plugin, filters)
    place = file.expanduser().absolute()
    try:
        count = _whole(place, lambda stream: write(stream, found))
    except OSError as error:
        raise WorkspaceError(
            f"{place} cannot be written: {(error.strerror or str(error)).lower()}.",
            path=str(place),
        ) from None
    return {"file": str(place), "records": count}


def matching(bench: Workbench, plugin: str | None, filters: dict[str, Any]) -> Iterator[Record]:
    """Every record that matches and was there when this began, by rising number."""
    # What was said before the question is in its answer, so nothing older comes later.
    for _ in range(BEHIND_TRIES):
        newest = bench.logs(limit=1)
        if not newest.behind:
            break
        time.sleep(BEHIND_SECONDS)
    last, after = (newest[-1]["seq"] if newest else 0), 0
    while after < last:
        found = bench.logs(plugin, after=after, limit=PIECE, **filters)
        for record in found:
            if record["seq"] > last:
                return
            yield record
        if len(found) < PIECE:
            return
        after = found[-1]["seq"]


def _json_lines(stream: TextIO, records: Iterable[Record]) -> int:
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        stream.write(msgspec.json.encode(record).decode() + "\n")
    return count


def _csv(stream: TextIO, records: Iterable[Record]) -> int:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        at = datetime.fromtimestamp(record["at"] / 1000, UTC)
        told = {**record, "time": at.isoformat(timespec="milliseconds")}
        writer.writerow([told.get(column, "") for column in COLUMNS])
    return count


def _whole(place: Path, write: Callable[[TextIO], int]) -> int:
    """What `write` writes is at `place` (0600) once it is complete, not before."""
    descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            count = write(stream)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return count
