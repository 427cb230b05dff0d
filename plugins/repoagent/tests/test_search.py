"""The same lines as other programs find, ranked, within bounds (R10-R13, R27)."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bkg_workbench.sdk import InvalidParams
from repoagent import matcher, notebook
from repoagent.ignore import Policy
from repoagent.jail import Jail, Root
from repoagent.search import MAX_LINE, Limits, search
from repoagent.shapes import MAX_HITS, Hit, SearchQuery, SearchResult

Git = Callable[..., str]
SOURCES = Path(os.__file__).parent


def ask(root: Root, query: str, limits: Limits = Limits(), **more: object) -> SearchResult:  # noqa: B008
    return search(root, SearchQuery(query=query, **more), Policy(), limits=limits)  # type: ignore[arg-type]


def places(result: SearchResult) -> set[tuple[str, int]]:
    return {(hit.path, hit.line) for hit in result.hits}


# --- the same lines as other programs -------------------------------------------------------------


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred files of the standard library's sources, in awkward variants too."""
    place = tmp_path_factory.mktemp("sources")
    chance = random.Random(3)
    for number, path in enumerate(sorted(SOURCES.glob("*.py"))[:150]):
        folder = place / f"d{number % 7}"
        folder.mkdir(exist_ok=True)
        data = path.read_bytes()
        if chance.random() < 0.1:
            data = data.replace(b"\n", b"\r\n")
        if chance.random() < 0.2:
            data = data.rstrip(b"\n")
        (folder / path.name).write_bytes(data)
    (place / "umlauts.txt").write_text("größe\nGRÖSSE\nGröße der Größe\nxgröße\n")
    return place


def grep(place: Path, git: Git, *arguments: str) -> set[tuple[str, int]]:
    said = git("-C", str(place), "grep", "--no-index", "-n", "-I", "-z", *arguments, "--", ".")
    found = set()
    for line in said.split("\n"):
        if line:
            path, number, _ = line.split("\0", 2)
            found.add((path, int(number)))
    return found


@pytest.mark.parametrize(
    ("query", "more", "options"),
    [
        ("import os", {}, ["-F"]),
        ("self", {}, ["-F"]),
        ("Error", {"word": True}, ["-F", "-w"]),
        ("error", {"case": False}, ["-F", "-i"]),
        ("größe", {}, ["-F"]),
        ("größe", {"word": True}, ["-F", "-w"]),
        ("a.b", {}, ["-F"]),
        ("(", {}, ["-F"]),
        (r"def [a-z]+_[a-z]+\(", {"regex": True}, ["-E"]),
        (r"^import", {"regex": True}, ["-E"]),
        (r"(os|sys)\.path", {"regex": True, "word": True}, ["-E", "-w"]),
        (r"raise \w+error", {"regex": True, "case": False}, ["-P", "-i"]),
        (r"^class (?!_)\w+", {"regex": True}, ["-P"]),
    ],
)
def test_git_grep_finds_the_same_lines(
    sources: Path, git: Git, query: str, more: dict[str, object], options: list[str]
) -> None:
    roots = Jail([str(sources)], "", sources)
    result = ask(roots.root(None), query, limit=MAX_HITS, **more)
    roots.close()
    expected = grep(sources, git, *options, "-e", query)
    assert result.matches == len(expected) > 0
    assert result.files == len({path for path, _ in expected})
    assert result.truncated == (len(expected) > MAX_HITS)
    assert places(result) <= expected
    assert len(result.hits) == min(len(expected), MAX_HITS)


TEXTS = st.lists(st.text("abAB_ é\t.\u0130ß", max_size=12), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=TEXTS,
    ending=st.sampled_from(["", "\n", "\r\n"]),
    query=st.text("abAB_ é.ß", min_size=1, max_size=3),
    case=st.booleans(),
    word=st.booleans(),
)
@example(lines=["xa", "a"], ending="\n", query="a", case=True, word=True)
def test_python_finds_the_same_columns(
    place: Path, root: Root, lines: list[str], ending: str, query: str, case: bool, word: bool
) -> None:
    separator = ending or "\n"
    (place / "x").write_bytes((separator.join(lines) + ending).encode())
    pattern = matcher.compile_pattern(re.escape(query), case, word)
    expected = {}
    for number, line in enumerate(lines, 1):
        match = pattern.search(line)
        if match:
            expected[number] = (match.start() + 1, match.end() + 1, line)
    hits = ask(root, query, case=case, word=word).hits
    assert {h.line: (h.column, h.end_column, h.text) for h in hits} == expected


@settings(max_examples=300, deadline=None)
@given(
    text=st.text("ab \n\r.", max_size=30),
    pattern=st.lists(
        st.sampled_from(
            ["a", "b", ".", r"\s", "[^a]", "^", "$", r"\b", "(?:a|b)", "*", "+", "?", "|", "(a)",
             r"\W", "*?", "{1,2}", r"\A", r"\Z", "(?=a)", "(?!b)", "(?<=a)", r"\B", "++"]
        ),
        min_size=1,
        max_size=5,
    ).map("".join),
)  # fmt: skip
def test_the_sieve_never_loses_a_line(text: str, pattern: str) -> None:
    try:
        compiled = matcher.compile_pattern(pattern, True, False)
        sieve = matcher.compile_sieve(pattern, True)
    except re.error:
        return
    data = text.encode()
    assert matcher.sift(compiled, sieve, [data]) == [matcher.match_lines(compiled, data)]


# --- ranking --------------------------------------------------------------------------------------


def best(root: Root, query: str) -> Hit:
    return ask(root, query).hits[0]


@pytest.mark.parametrize(
    "definition",
    [
        "def flock(a):", "    async def flock(self):", "class flock:", "flock = 1",
        "flock: int = 1", "const flock = () => 1", "export default function flock() {}",
        "export async function flock() {}", "pub fn flock() {}", "pub(crate) struct flock;",
        "func (f *File) flock() {}", "#define flock 1", "type flock struct {", "impl flock {",
        "interface flock {", "let mut flock = 1;",
    ],
)  # fmt: skip
def test_a_definition_comes_before_its_uses(place: Path, root: Root, definition: str) -> None:
    (place / "a.txt").write_text("flock(1)\nx = flock\nflock == 1\nflocks\nreturn flock\n")
    (place / "z.txt").write_text(f"{definition}\n")
    hit = best(root, "flock")
    assert (hit.path, hit.kind) == ("z.txt", "definition")
    kinds = {(h.path, h.line): h.kind for h in ask(root, "flock").hits}
    assert [kinds["a.txt", n] for n in (1, 2, 3, 4, 5)] == ["word"] * 3 + ["text", "word"]


def test_the_file_named_like_it_comes_before_other_words(place: Path, root: Root) -> None:
    (place / "a.py").write_text("use flock now\n")
    (place / "flock_tools.py").write_text("use flocks now\n")
    (place / "z.py").write_text("reflocked\n")
    assert [h.path for h in ask(root, "flock").hits] == ["flock_tools.py", "a.py", "z.py"]
    assert [h.kind for h in ask(root, "flock").hits] == ["name", "word", "text"]


def test_recency_decides_between_equals_only(place: Path, root: Root) -> None:
    for name, text in (("a", "word flock"), ("b", "word flock"), ("c", "xflockx")):
        (place / name).write_text(f"{text}\n")
    os.utime(place / "a", (0, 0))
    assert [h.path for h in ask(root, "flock").hits] == ["b", "a", "c"]


def test_the_best_hits_are_kept_wherever_they_lie(place: Path, root: Root) -> None:
    (place / "a").write_text("x flocks\n" * 5000)
    (place / "z").write_text("def flock(): ...\n")
    result = ask(root, "flock", limit=3)
    assert [h.path for h in result.hits] == ["z", "a", "a"]
    assert (result.matches, result.files) == (5001, 2)
    assert (result.truncated, result.truncated_by) == (True, ["hits"])


# --- what is searched, and what a hit says --------------------------------------------------------


def test_globs_choose_the_files(place: Path, root: Root) -> None:
    for path in ("a.py", "a.txt", "src/b.py", "src/deep/c.py", "tests/d.py", "tests/e.txt"):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text("needle\n")

    def found(**more: object) -> set[str]:
        return {hit.path for hit in ask(root, "needle", **more).hits}

    assert found(include=["*.py"]) == {"a.py", "src/b.py", "src/deep/c.py", "tests/d.py"}
    assert found(include=["*.py"], exclude=["tests/"]) == {"a.py", "src/b.py", "src/deep/c.py"}
    assert found(include=["src"]) == {"src/b.py", "src/deep/c.py"}
    assert found(include=["/src/*.py"]) == {"src/b.py"}
    assert found(include=["*", "!*.txt"]) == found(exclude=["*.txt"])
    assert found(path="src") == {"src/b.py", "src/deep/c.py"}
    assert found(path="src/b.py") == {"src/b.py"}


def test_context_lines_surround_a_hit(place: Path, root: Root) -> None:
    (place / "x").write_bytes(b"1\r\n2\n\nhit\n4\n5")
    hit = ask(root, "hit", context_lines=2).hits[0]
    assert (hit.line, hit.before, hit.after) == (4, ["2", ""], ["4", "5"])
    first = ask(root, "1", context_lines=3).hits[0]
    assert (first.before, first.after) == ([], ["2", "", "hit"])
    last = ask(root, "5", context_lines=20).hits[0]
    assert (last.before, last.after) == (["1", "2", "", "hit", "4"], [])


def test_a_long_line_is_cut_around_the_hit(place: Path, root: Root) -> None:
    line = "é" * 5000 + "needle" + "z" * 5000
    (place / "x").write_text(line)
    hit = ask(root, "needle").hits[0]
    assert len(hit.text) == MAX_LINE
    assert hit.column == 5001
    begin = hit.column - hit.text_column
    assert hit.text[begin : begin + 6] == "needle"


def test_text_in_other_encodings_is_found_and_binary_is_passed_over(
    place: Path, root: Root
) -> None:
    (place / "utf16").write_bytes(b"\xff\xfe" + "die größe\n".encode("utf-16-le"))
    (place / "latin1").write_bytes("die größe\n".encode("latin-1"))
    (place / "binary").write_bytes(b"die\0\n")
    (place / "bom").write_bytes(b"\xef\xbb\xbfdie\n")
    result = ask(root, "die")
    assert {h.path for h in result.hits} == {"utf16", "latin1", "bom"}
    assert (result.scanned, result.skipped.binary) == (3, 1)
    assert [h.path for h in ask(root, "größe").hits] == ["utf16"]


def test_a_notebook_is_searched_by_cell_and_without_its_outputs(place: Path, root: Root) -> None:
    output = {"output_type": "stream", "text": "needle in an output\n" * 100_000}
    book = {
        "cells": [
            {"cell_type": "markdown", "source": "# needle\ntext"},
            {"cell_type": "code", "source": ["x = 1\n", "needle = x"], "outputs": [output]},
        ],
        "metadata": {"needle": 1},
        "nbformat": 4,
    }
    (place / "book.ipynb").write_text(json.dumps(book))
    for regex in (False, True):
        hits = ask(root, "needle", regex=regex, context_lines=1).hits
        found = {(h.cell, h.cell_type, h.line, h.column, h.kind) for h in hits}
        assert found == {(0, "markdown", 1, 3, "word"), (1, "code", 2, 1, "definition")}
    assert ask(root, "needle").matches == 2
    assert ask(root, "NEEDLE", case=False).matches == 2
    assert ask(root, "output").matches == 0


def test_what_only_claims_to_be_a_notebook_is_plain_text(place: Path, root: Root) -> None:
    (place / "a.ipynb").write_text("needle\n")
    (place / "b.ipynb").write_text("[" * 100_000 + "needle")
    (place / "c.ipynb").write_text('{"cells": [{"source": 1}], "x": "needle"}')
    result = ask(root, "needle")
    assert {(h.path, h.cell) for h in result.hits} == {
        ("a.ipynb", None), ("b.ipynb", None), ("c.ipynb", None),
    }  # fmt: skip
    assert notebook.cells(b'{"worksheets": [{"cells": [{"source": "x"}]}]}') == [("code", b"x")]


@pytest.mark.parametrize("query", ["a\nb", "a\0b"])
def test_a_query_of_more_than_a_line_is_refused(root: Root, query: str) -> None:
    with pytest.raises(InvalidParams):
        ask(root, query)


# --- bounds ---------------------------------------------------------------------------------------


def test_a_hostile_expression_is_cut_short(place: Path, root: Root) -> None:
    (place / "a").write_text("fine\n")
    (place / "x").write_text("a" * 30 + "!\n")
    begun = time.monotonic()
    result = ask(root, "(a+)+$", Limits(regex_seconds=0.5), regex=True)
    assert time.monotonic() - begun < 20
    assert result.truncated_by == ["regex"]


def test_an_expression_that_takes_for_ever_to_compile_is_cut_short(root: Root) -> None:
    result = ask(root, "(" * 3 + "a{1,9999}" + "){1,9999}" * 3, Limits(regex_seconds=0.5),
                 regex=True)  # fmt: skip
    assert result.matches == 0


@pytest.mark.parametrize("query", ["(", "a{2,1}", "[", "(?P<a>x)(?P<a>y)", "\\", "(?z)"])
def test_an_expression_that_is_none_is_refused_with_the_reason(root: Root, query: str) -> None:
    with pytest.raises(InvalidParams, match=r"is not a regular expression: ."):
        ask(root, query, regex=True)


def test_too_many_files_end_the_search(place: Path, root: Root) -> None:
    for number in range(30):
        (place / f"{number:02d}").write_text("needle\n")
    result = ask(root, "needle", Limits(files=10))
    assert (result.scanned, result.truncated_by) == (10, ["files"])
    assert {h.path for h in result.hits} == {f"{n:02d}" for n in range(10)}


def test_large_files_are_passed_over_and_counted(place: Path, root: Root) -> None:
    with (place / "sparse").open("wb") as file:
        file.truncate(5 * 1024**3)
    (place / "large").write_bytes(b"needle\n" * 200_000)
    (place / "small").write_bytes(b"needle\n")
    result = ask(root, "needle")
    assert (result.matches, result.skipped.large, result.truncated) == (1, 2, False)


def test_time_up_ends_the_search(place: Path, root: Root) -> None:
    (place / "x").write_text("needle\n")
    for regex in (False, True):
        result = ask(root, "needle", Limits(seconds=0.0), regex=regex)
        assert (result.matches, result.truncated_by) == (0, ["time"])


def test_an_asker_who_has_gone_ends_the_search(place: Path, root: Root) -> None:
    (place / "x").write_text("needle\n" * 10_000)
    asked = iter([False] * 3)
    result = search(root, SearchQuery(query="needle"), Policy(),
                    cancelled=lambda: next(asked, True))  # fmt: skip
    assert "cancelled" in result.truncated_by


def test_a_file_that_goes_or_is_locked_meanwhile_is_counted(
    place: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "x").write_text("needle\n")
    monkeypatch.setattr("repoagent.search.jail.open_entry", _deny)
    result = ask(root, "needle")
    assert (result.scanned, result.skipped.unreadable) == (0, 1)


def _deny(dir_fd: int, name: str, flags: int) -> int:
    raise PermissionError(13, "Permission denied")
