"""JSON from the command line: given there, in a file, or on stdin.

Owns reading it and saying what is wrong with it, and where.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from bkg_workbench.errors import InvalidParams

LIMIT_BYTES = 16 * 1024 * 1024
AROUND = 16
"""Characters that are shown before and after the place of a mistake."""


def read_json(argument: str | None) -> Any:
    """The value of `JSON`, `@FILE` or `-`; {} for None. Raises `InvalidParams`."""
    if argument is None:
        return {}
    text, place = _text(argument)
    return parse(text, place)


def parse(text: str, place: str) -> Any:
    """The value of a JSON text. Raises `InvalidParams` that names `place`, line and column."""
    if not text.strip():
        raise InvalidParams(f"{place} is empty; give JSON, for example {{}}.")
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        start, end = max(0, error.pos - AROUND), error.pos + AROUND
        near = text[start:end].replace("\n", " ").strip() or "its end"
        raise InvalidParams(
            f"{place} is not valid JSON: {error.msg[0].lower()}{error.msg[1:]} at line "
            f"{error.lineno}, column {error.colno}, near {near!r}.",
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise InvalidParams(f"{place} is nested too deeply; make it flatter.") from None
    except ValueError as error:
        raise InvalidParams(f"{place} is not valid JSON: {error}.") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _text(argument: str) -> tuple[str, str]:
    if argument == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidParams("Nothing is piped into stdin; give the JSON itself or @FILE.")
        data, place = sys.stdin.buffer.read(LIMIT_BYTES + 1), "What came on stdin"
    elif argument.startswith("@"):
        file = Path(argument[1:]).expanduser()
        place = f"The file {file}"
        try:
            with file.open("rb") as stream:
                data = stream.read(LIMIT_BYTES + 1)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise InvalidParams(f"{place} cannot be read: {why}.", path=str(file)) from None
    else:
        return argument, "The JSON argument"
    if len(data) > LIMIT_BYTES:
        raise InvalidParams(f"{place} is larger than {LIMIT_BYTES >> 20} MiB.")
    try:
        return data.decode("utf-8-sig"), place
    except UnicodeDecodeError as error:
        raise InvalidParams(f"{place} is not UTF-8 (at byte {error.start}).") from None
