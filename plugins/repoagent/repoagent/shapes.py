"""What the capabilities take and give, as types: names, bounds and descriptions of the wire.

Owns the payloads of `repo.tree`, `repo.search` and `repo.file.read`; the schemas in
`meta.schemas` come from here. Times are integer milliseconds since 1970; lines and columns count
from 1, columns in characters; byte positions count from 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_DEPTH = 32
MAX_ENTRIES = 10_000
MAX_HITS = 500

RootName = Annotated[str, Meta(description="A workspace root by its name; default: defaultRoot")]
Beneath = Annotated[str, Meta(description="Relative to the root; '' is the root itself")]
Percent = (
    Annotated[
        Literal["percent"],
        Meta(description="'percent': the path is percent-encoded, since its bytes are not UTF-8"),
    ]
    | None
)
Glob = Annotated[str, Meta(min_length=1, max_length=256)]
Line = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Position = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class Query(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Base of the payloads."""

    root: RootName | None = None
    path_encoding: Percent = None


class Result(msgspec.Struct, rename="camel", kw_only=True):
    """Base of the results."""


class TreeQuery(Query):
    """What to list."""

    path: Beneath = ""
    depth: Annotated[
        int, Meta(ge=1, le=MAX_DEPTH, description="Levels below path; 1 is its own entries")
    ] = 3
    limit: (
        Annotated[int, Meta(ge=1, le=MAX_ENTRIES, description="Entries a page; default: maxFiles")]
        | None
    ) = None
    after: Annotated[str, Meta(description="`next` of the page before")] | None = None


class Entry(Result, omit_defaults=True):
    """One file or directory. `size` in bytes, for files; `mtime` in ms since 1970."""

    path: str
    kind: Literal["file", "directory", "symlink", "other"]
    size: int | None = None
    mtime: int | None = None
    path_encoding: Percent = None


class TreeResult(Result):
    """A page of entries, parents before their children; `next` is null on the last one."""

    root: str
    path: str
    entries: list[Entry]
    next: str | None
    truncated: bool
    truncated_by: list[str]


class SearchQuery(Query):
    """What to look for, and where."""

    query: Annotated[str, Meta(min_length=1, max_length=1000, description="Text, within one line")]
    path: Beneath = ""
    regex: Annotated[bool, Meta(description="`query` is a regular expression (Python's re)")] = (
        False
    )
    case: Annotated[bool, Meta(description="Whether letter case counts")] = True
    word: Annotated[bool, Meta(description="Whole words only")] = False
    include: Annotated[
        list[Glob], Meta(max_length=64, description="Only paths that match one (gitignore form)")
    ] = []
    exclude: Annotated[
        list[Glob], Meta(max_length=64, description="No paths that match one (gitignore form)")
    ] = []
    context_lines: Annotated[int, Meta(ge=0, le=20, description="Lines before and after")] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS, description="The best so many hits")] = 100


class Hit(Result, omit_defaults=True):
    """One line that matches; `column` to `endColumn` (exclusive) is its first match.

    A long line is cut: `text` then begins at column `textColumn`. In a notebook `cell` is the
    cell's index (from 0) and `line` counts in that cell's source.
    """

    path: str
    line: int
    column: int
    end_column: int
    text: str
    score: float
    kind: Literal["definition", "name", "word", "text"]
    before: list[str] = msgspec.field(default_factory=list)
    after: list[str] = msgspec.field(default_factory=list)
    text_column: int = 1
    cell: int | None = None
    cell_type: str | None = None
    path_encoding: Percent = None


class Skipped(Result):
    """Files that were passed over, and why."""

    binary: int = 0
    large: int = 0
    unreadable: int = 0


class SearchResult(Result):
    """Best hits first. `matches` counts all lines that matched, `files` those with any."""

    root: str
    hits: list[Hit]
    matches: int
    files: int
    scanned: int
    skipped: Skipped
    truncated: bool
    truncated_by: list[str]
    engine: str
    elapsed_ms: float


class ReadQuery(Query):
    """Which file, and which part: lines (1-based, inclusive) or bytes (0-based, end exclusive)."""

    path: Annotated[str, Meta(min_length=1, description="Relative to the root")]
    start_line: Line | None = None
    end_line: Line | None = None
    start_byte: Position | None = None
    end_byte: Position | None = None


class ReadResult(Result):
    """The text and what it is.

    `lines` counts those in `text`, `totalLines` those of the file (null where it was not read
    whole). `etag` is strong (`sha256:`) for files up to 16 MiB, else made of the file's status
    (`stat:`). `endLine` and `endByte` say where the text ends, to go on from there.
    """

    root: str
    path: str
    text: str | None
    encoding: str | None
    binary: bool
    truncated: bool
    lines: int
    total_lines: int | None
    start_line: int | None
    end_line: int | None
    start_byte: int | None
    end_byte: int | None
    size: int
    mtime: int
    etag: str
    nlink: int
    path_encoding: Percent = None
