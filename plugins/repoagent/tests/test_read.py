"""Files and ranges of them: the bytes as they are, and what they are (R7, R11, R12)."""

from __future__ import annotations

import hashlib
import random
import resource
import subprocess
import time
from pathlib import Path

import pytest

from bkg_workbench.sdk import Forbidden, InvalidParams
from repoagent import read as reading
from repoagent.ignore import Policy
from repoagent.jail import Root
from repoagent.read import MAX_TEXT, WHOLE, read
from repoagent.shapes import ReadQuery, ReadResult

MIB = 1024 * 1024


def ask(root: Root, path: str, **query: int) -> ReadResult:
    return read(root, ReadQuery(path=path, **query), Policy())


def sed(place: Path, name: str, script: str) -> str:
    done = subprocess.run(
        ["sed", "-n", script, str(place / name)], capture_output=True, check=True, timeout=10
    )
    return done.stdout.decode()


@pytest.mark.parametrize("ending", ["", "\n", "\n\n", "\r\n"])
def test_line_ranges_are_those_of_sed(place: Path, root: Root, ending: str) -> None:
    chance = random.Random(7)
    lines = ["é" * chance.randint(0, 30) for _ in range(200)]
    (place / "x").write_bytes(("\n".join(lines) + ending).encode())
    total = len(sed(place, "x", "p").splitlines(keepends=True))
    for _ in range(40):
        start = chance.randint(1, 210)
        end = chance.randint(start, 215)
        result = ask(root, "x", start_line=start, end_line=end)
        assert result.text == sed(place, "x", f"{start},{end}p")
        assert result.lines == max(0, min(end, total) - start + 1)
        assert result.total_lines == total
        if result.lines:
            assert (result.start_line, result.end_line) == (start, min(end, total))
    assert ask(root, "x", start_line=150).text == sed(place, "x", "150,$p")
    assert ask(root, "x", end_line=3).text == sed(place, "x", "1,3p")


def test_byte_ranges_are_those_of_the_file(place: Path, root: Root) -> None:
    data = b"".join(b"%06d\n" % n for n in range(1000))
    (place / "x").write_bytes(data)
    for start, end in ((0, 7), (3, 10), (6990, 9000), (7000, 7001), (8000, 8000), (5, 5)):
        result = ask(root, "x", start_byte=start, end_byte=end)
        assert result.text == data[start:end].decode()
        assert result.start_byte == start
        assert result.end_byte == start + len(data[start:end])
    assert ask(root, "x", start_byte=6993).text == "000999\n"
    assert ask(root, "x", end_byte=6).text == "000000"


@pytest.mark.parametrize(
    "query",
    [
        {"start_line": 1, "start_byte": 0},
        {"start_line": 3, "end_line": 2},
        {"start_byte": 3, "end_byte": 2},
    ],
)
def test_a_range_that_means_nothing_is_refused(
    place: Path, root: Root, query: dict[str, int]
) -> None:
    (place / "x").write_text("x\n")
    with pytest.raises(InvalidParams):
        ask(root, "x", **query)


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"", "utf-8", ""),
        (b"a\r\nb\r\n", "utf-8", "a\r\nb\r\n"),
        (b"a\rb", "utf-8", "a\rb"),
        ("é\n".encode(), "utf-8", "é\n"),
        (b"\xef\xbb\xbfa\n", "utf-8-sig", "a\n"),
        (b"\xff\xfe" + "é\nb\n".encode("utf-16-le"), "utf-16-le", "é\nb\n"),
        (b"\xfe\xff" + "é\nb\n".encode("utf-16-be"), "utf-16-be", "é\nb\n"),
        ("é\n".encode("latin-1"), "lossy", "\ufffd\n"),
        (b"\xff\xfea", "lossy", "\ufffd"),
    ],
)
def test_an_encoding_is_named_and_the_text_is_not_changed(
    place: Path, root: Root, data: bytes, encoding: str, text: str
) -> None:
    (place / "x").write_bytes(data)
    result = ask(root, "x")
    assert (result.encoding, result.text, result.binary) == (encoding, text, False)
    assert result.total_lines == result.lines
    assert result.size == len(data)


def test_lines_of_utf16_are_its_own(place: Path, root: Root) -> None:
    # U+0A0A and U+0D0A hold the byte of a newline.
    text = "a\u0a0a\nb\u0d0a\n\u0a00c\n"
    (place / "x").write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    (place / "y").write_bytes(b"\xfe\xff" + text.encode("utf-16-be"))
    for name in ("x", "y"):
        assert ask(root, name).total_lines == 3
        assert ask(root, name, start_line=2, end_line=2).text == "b\u0d0a\n"
        assert ask(root, name, start_line=3).text == "\u0a00c\n"


def test_a_binary_file_comes_without_text(place: Path, root: Root) -> None:
    (place / "x").write_bytes(b"a" * 8000 + b"\0")
    (place / "y").write_bytes(b"a" * 8192 + b"\0")
    result = ask(root, "x")
    assert (result.binary, result.text, result.encoding) == (True, None, None)
    assert result.etag.startswith("sha256:")
    assert not ask(root, "y").binary


def test_the_etag_is_the_content(place: Path, root: Root) -> None:
    (place / "x").write_text("one")
    first = ask(root, "x").etag
    assert first == f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    (place / "x").write_text("two")
    assert ask(root, "x").etag != first
    (place / "x").write_text("one")
    assert ask(root, "x", start_line=5).etag == first


def test_a_long_text_is_cut_between_characters_and_can_be_gone_on_with(
    place: Path, root: Root
) -> None:
    data = ("a" + "é" * (MIB + 100)).encode()
    (place / "x").write_bytes(data)
    pieces, at = [], 0
    while at < len(data):
        result = ask(root, "x", start_byte=at)
        assert result.encoding == "utf-8"
        assert result.text
        assert result.end_byte is not None
        assert len(result.text.encode()) <= MAX_TEXT
        assert result.truncated == (result.end_byte < len(data))
        pieces.append(result.text)
        at = result.end_byte
    assert "".join(pieces).encode() == data
    assert ask(root, "x").truncated
    assert ask(root, "x", start_line=1, end_line=1).truncated


def test_a_large_file_is_read_in_part_and_never_whole(place: Path, root: Root) -> None:
    line = b"%09d\n"
    with (place / "x").open("wb") as file:
        for block in range(WHOLE // MIB + 2):
            file.write(b"".join(line % (block * 104858 + n) for n in range(104858)))
    result = ask(root, "x", start_line=1_500_000, end_line=1_500_001)
    assert result.text == "001499999\n001500000\n"
    assert result.total_lines is None
    assert result.etag.startswith("stat:")
    assert ask(root, "x", start_line=99_999_999).text == ""


def test_a_sparse_file_of_5_gib_costs_neither_time_nor_memory(place: Path, root: Root) -> None:
    with (place / "x").open("wb") as file:
        file.write(b"text\n" * 2000)
        file.truncate(5 * 1024 * MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    result = ask(root, "x")
    assert result.truncated
    assert result.size == 5 * 1024 * MIB
    assert ask(root, "x", start_line=2, end_line=2).text == "text\n"
    assert ask(root, "x", start_byte=4 * 1024 * MIB).truncated
    with pytest.raises(InvalidParams, match="startByte"):
        ask(root, "x", start_line=10_000_000)
    assert time.monotonic() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_hard_link_is_read_and_flagged(place: Path, root: Root) -> None:
    outside = place.parent / "outside"
    outside.write_text("x")
    (place / "x").hardlink_to(outside)
    assert ask(root, "x").nlink == 2


def test_a_file_that_nobody_may_read_is_said(
    place: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "x").write_text("x")

    def deny(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("repoagent.jail.open_beneath", deny)
    with pytest.raises(Forbidden, match="permission denied"):
        root.open_file("x")


def test_a_file_that_grows_meanwhile_is_not_read_beyond_the_bound(
    place: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "x").write_text("x" * 100)
    monkeypatch.setattr(reading, "read_all", lambda fd, limit: b"x" * limit)
    assert ask(root, "x").etag.startswith("stat:")
