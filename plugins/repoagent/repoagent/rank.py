"""How good a hit is: definition of the symbol, then file name, then whole word, then the rest.

Owns the order and its weights. A class outweighs all that are below it together; how recently the
file changed only decides within a class.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["definition", "name", "word", "text"]

DEFINITION, NAME, WORD = 8.0, 4.0, 2.0
_HALF_LIFE_MS = 30 * 24 * 3600 * 1000
_KEYWORDS = (
    "abstract|async|class|const|def|default|define|enum|export|extern|final|fn|func|function|"
    "impl|inline|interface|let|local|macro|mod|module|mut|namespace|override|package|private|"
    "protected|protocol|pub|public|record|sealed|static|struct|sub|trait|type|typedef|union|"
    "unsafe|val|var|virtual"
)
_DEFINES = re.compile(
    rf"^[ \t]*(?:#[ \t]*)?(?:(?:{_KEYWORDS})(?:\([^()]*\))?[ \t*]+(?:\([^()]*\)[ \t]*)?)+$"
)
_ASSIGNS = re.compile(r"[ \t]*(?::[^=]{1,200})?=(?![=~>])")
_SYMBOL = re.compile(r"[^\W\d][\w$]*\Z")


def kind_of(line: str, start: int, end: int) -> Kind:
    """What the match [start, end) of a line is, apart from its file's name."""
    is_word = not (start > 0 and _is_word(line[start - 1]) and _is_word(line[start])) and not (
        start < end < len(line) and _is_word(line[end]) and _is_word(line[end - 1])
    )
    if start == end or not is_word:
        return "text"
    if _SYMBOL.match(line[start:end]):
        before = line[:start] if start <= 200 else "."
        if not before.strip():
            if _ASSIGNS.match(line, end):
                return "definition"
        elif _DEFINES.match(before):
            return "definition"
    return "word"


def names_match(path: str, query: str) -> bool:
    """Whether the file's own name holds the query, letter case aside."""
    return query.casefold() in path.rpartition("/")[2].casefold()


def score(kind: Kind, is_named: bool, mtime_ms: int, now_ms: int) -> float:
    """Higher is better; at most 1 of it is recency (half after 30 days)."""
    points = {"definition": DEFINITION + WORD, "word": WORD}.get(kind, 0.0)
    age = max(0, now_ms - mtime_ms)
    return points + (NAME if is_named else 0.0) + float(0.5 ** min(age / _HALF_LIFE_MS, 60.0))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
