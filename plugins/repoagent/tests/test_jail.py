"""Nothing outside the roots is ever opened (FAULTS group R: R1-R8, R28, R29)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bkg_workbench.sdk import CapabilityUnavailable, Forbidden, InvalidParams, WorkbenchError
from repoagent.ignore import Policy
from repoagent.jail import Jail, Root
from repoagent.paths import clean, is_protected, show, to_percent
from repoagent.read import read
from repoagent.search import search
from repoagent.shapes import ReadQuery, SearchQuery, TreeQuery
from repoagent.tree import tree

SECRET = "outside-secret"


def text_of(root: Root, path: str) -> str | None:
    return read(root, ReadQuery(path=path), Policy()).text


def reason_of(error: WorkbenchError) -> object:
    return error.facts["reason"]


# --- R1, R6: what a path may look like ------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../../x", "a/..", "..", "/etc/passwd", "//etc/passwd", "~/x", "~root/x",
        "file://", "file:///etc/passwd", "http://host/x", "a\0b", "x" * 256, "a/" * 2500, "é" * 128,
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_opened(path: str) -> None:
    with pytest.raises(Forbidden) as caught:
        clean(path)
    assert reason_of(caught.value) == "bad_path"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("a/./b", "a/b"), ("a//b", "a/b"), ("./a/", "a"), (".", ""), ("", ""), ("a/...", "a/...")],
)
def test_normal_forms_are_taken(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize("path", ["a ", " a", "a.", 'a"', "A", "e\u0301", "a\u200b"])
def test_names_are_compared_raw(place: Path, root: Root, path: str) -> None:
    (place / "a").write_text("plain")
    (place / "é").write_text("composed")
    assert clean(path) == path
    with pytest.raises(InvalidParams) as caught:
        text_of(root, path)
    assert reason_of(caught.value) == "not_found"


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".Git", ".git.", ".git ", ".g\u200bit", "git~1", "GIT~1", ".bkg"]
)
def test_git_and_the_workbench_keep_their_own_folders_in_every_spelling(
    place: Path, root: Root, name: str
) -> None:
    assert is_protected(name)
    (place / name).mkdir()
    (place / name / "config").write_text(SECRET)
    with pytest.raises(Forbidden) as caught:
        text_of(root, f"{name}/config")
    assert reason_of(caught.value) == "hidden"
    assert tree(root, TreeQuery(), Policy()).entries == []
    assert search(root, SearchQuery(query=SECRET), Policy()).matches == 0


def test_a_name_that_is_not_utf8_is_listed_and_read_in_the_percent_form(
    place: Path, root: Root
) -> None:
    (place / os.fsdecode(b"\xff%.txt")).write_text("odd")
    entry = tree(root, TreeQuery(), Policy()).entries[0]
    assert (entry.path, entry.path_encoding) == ("%FF%25.txt", "percent")
    query = ReadQuery(path=entry.path, path_encoding="percent")
    assert read(root, query, Policy()).text == "odd"
    hit = search(root, SearchQuery(query="odd"), Policy()).hits[0]
    assert (hit.path, hit.path_encoding) == ("%FF%25.txt", "percent")


def test_the_percent_form_does_not_smuggle_anything() -> None:
    for path in ("%2e%2e/x", "%2Fetc", "a%00b"):
        with pytest.raises(Forbidden):
            clean(path, percent=True)
    assert show("é") == ("é", False)
    assert clean(to_percent("a b/é%"), percent=True) == "a b/é%"


# --- R2, R3: prefixes and links -------------------------------------------------------------------


def test_a_sibling_with_the_same_prefix_is_outside(place: Path, root: Root) -> None:
    evil = place.with_name("ws-evil")
    evil.mkdir()
    (evil / "x").write_text(SECRET)
    (place / "link").symlink_to("../ws-evil")
    for path in ("link/x", "../ws-evil/x", str(evil / "x")):
        with pytest.raises(Forbidden):
            text_of(root, path)


@pytest.mark.usefixtures("both_ways")
def test_no_link_leads_out(place: Path, root: Root) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text(SECRET)
    (place / "d").mkdir()
    links = {
        "absolute": str(outside / "x"),
        "relative": "../outside/x",
        "directory": str(outside),
        "d/up": "../../outside",
        "chain": "d/up",
        "proc": f"/proc/self/root{outside}",
        "cwd": "/proc/self/cwd",
        "inside-absolute": str(place / "d"),
    }
    for name, target in links.items():
        (place / name).symlink_to(target)
    tried = [*links, *(f"{name}/x" for name in links)]
    for path in tried:
        with pytest.raises(WorkbenchError) as caught:
            text_of(root, path)
        assert isinstance(caught.value, (Forbidden, InvalidParams)), path
        with pytest.raises(WorkbenchError):
            tree(root, TreeQuery(path=path), Policy())
        with pytest.raises(WorkbenchError):
            search(root, SearchQuery(query=SECRET, path=path), Policy())
    assert search(root, SearchQuery(query=SECRET), Policy()).matches == 0


@pytest.mark.usefixtures("both_ways")
def test_a_circle_of_links_ends_at_once(place: Path, root: Root) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    begun = time.monotonic()
    with pytest.raises(Forbidden):
        text_of(root, "a")
    assert time.monotonic() - begun < 5
    assert {e.kind for e in tree(root, TreeQuery(), Policy()).entries} == {"symlink"}


def test_a_link_inside_the_root_is_followed_where_the_kernel_can_hold_it(
    place: Path, root: Root, both_ways: str
) -> None:
    (place / "d").mkdir()
    (place / "d" / "x").write_text("inside")
    (place / "link").symlink_to("d/x")
    if both_ways == "openat2":
        assert text_of(root, "link") == "inside"
    else:
        with pytest.raises(Forbidden):
            text_of(root, "link")


def test_a_link_does_not_show_what_its_target_hides(place: Path, root: Root) -> None:
    (place / ".env").write_text(SECRET)
    (place / ".bkg").mkdir()
    (place / ".bkg" / "host.json").write_text(SECRET)
    (place / "plain.txt").symlink_to(".env")
    (place / "folder").symlink_to(".bkg")
    for path in ("plain.txt", "folder/host.json"):
        with pytest.raises(Forbidden) as caught:
            text_of(root, path)
        assert reason_of(caught.value) == "hidden"
        with pytest.raises(Forbidden):
            search(root, SearchQuery(query=SECRET, path=path), Policy())
    with pytest.raises(Forbidden):
        tree(root, TreeQuery(path="folder"), Policy())


def test_something_new_under_a_linked_folder_is_refused(place: Path, root: Root) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    (place / "link").symlink_to(outside)
    with pytest.raises(Forbidden) as caught:
        text_of(root, "link/not-there-yet")
    assert reason_of(caught.value) == "outside"


# --- R5: the swap race ----------------------------------------------------------------------------

SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
a, b = (p.encode() for p in sys.argv[1:])
print("swapping", flush=True)
while True:
    libc.renameat2(-100, a, -100, b, 2)
"""


@contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """Meanwhile two names change places as fast as the machine can."""
    command = [sys.executable, "-I", "-c", SWAPPER, str(first), str(second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
@pytest.mark.usefixtures("both_ways")
def test_a_swap_in_the_middle_of_a_request_lets_nothing_out(place: Path, root: Root) -> None:
    outside = place.parent / "outside"
    outside.mkdir()
    (place / "d").mkdir()
    for folder, text in ((outside, SECRET), (place / "d", "inside")):
        (folder / "x").write_text(text)
    (place / "link").symlink_to(outside)
    seen: set[str | None] = set()
    policy, tries = Policy(), 0
    with swapping(place / "d", place / "link"):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            tries += 1
            try:
                fd, _ = root.open_file("d/x")
            except WorkbenchError:
                continue
            seen.add(os.read(fd, 100).decode())
            os.close(fd)
            if tries % 20 == 0:
                found = search(root, SearchQuery(query="s"), policy)
                seen.update("inside" if "inside" in hit.text else hit.text for hit in found.hits)
    assert tries > 1000
    assert seen == {"inside"}


# --- R8: not a regular file -----------------------------------------------------------------------


def test_what_is_no_regular_file_is_refused_without_waiting(place: Path, root: Root) -> None:
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(place)  # a socket's path is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name in ("pipe", "folder", "socket"):
            begun = time.monotonic()
            with pytest.raises(InvalidParams) as caught:
                text_of(root, name)
            assert reason_of(caught.value) == "not_regular", name
            assert time.monotonic() - begun < 5
        assert search(root, SearchQuery(query="x"), Policy()).scanned == 0
        kinds = {e.path: e.kind for e in tree(root, TreeQuery(), Policy()).entries}
    assert kinds == {"pipe": "other", "folder": "directory", "socket": "other"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make device nodes")
def test_a_device_is_refused(place: Path, root: Root) -> None:
    try:
        os.mknod(place / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    except OSError:
        pytest.skip("this machine lets nobody make device nodes")
    with pytest.raises(WorkbenchError):
        text_of(root, "zero")


def test_a_file_is_no_folder(place: Path, root: Root) -> None:
    (place / "x").write_text("")
    with pytest.raises(InvalidParams) as caught:
        tree(root, TreeQuery(path="x"), Policy())
    assert reason_of(caught.value) == "not_directory"
    with pytest.raises(InvalidParams) as caught:
        text_of(root, "x/y")
    assert reason_of(caught.value) == "not_directory"


# --- R28, R29: the roots themselves ---------------------------------------------------------------


def test_without_a_root_every_verb_is_refused(place: Path) -> None:
    empty = Jail([], "", place)
    for name in (None, ".", str(place)):
        with pytest.raises(Forbidden) as caught:
            empty.root(name)
        assert reason_of(caught.value) == "no_root"
    assert empty.problems()


def test_a_root_is_found_by_its_name_or_its_path(place: Path) -> None:
    (place / "a").mkdir()
    (place / "b").mkdir()
    roots = Jail(["a", "b"], "./b", place)
    assert roots.root(None).name == "b"
    assert roots.root("a").path == place / "a"
    assert roots.root(str(place / "a")).name == "a"
    for name in ("c", "..", str(place), "a/x", "\0"):
        with pytest.raises(InvalidParams) as caught:
            roots.root(name)
        assert reason_of(caught.value) == "unknown_root"
    roots.close()
    roots.close()


def test_a_default_that_is_no_root_is_said(place: Path) -> None:
    roots = Jail(["."], "elsewhere", place)
    assert "elsewhere" in roots.problems()[0]
    with pytest.raises(InvalidParams):
        roots.root(None)
    roots.close()


@pytest.mark.parametrize("change", ["gone", "replaced", "linked elsewhere"])
def test_a_root_that_changed_while_it_was_open_is_refused(tmp_path: Path, change: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    roots = Jail(["link"], "", tmp_path)
    assert roots.root(None)
    match change:
        case "gone":
            shutil.rmtree(tmp_path / "one")
        case "replaced":
            (tmp_path / "one").rename(tmp_path / "old")
            (tmp_path / "one").mkdir()
        case _:
            (tmp_path / "link").unlink()
            (tmp_path / "link").symlink_to("two")
    with pytest.raises(CapabilityUnavailable) as caught:
        roots.root(None)
    assert reason_of(caught.value) == "root_changed"
    assert "restart" in str(caught.value)
    assert len(roots.problems()) == 1
    roots.close()


def test_a_root_that_was_never_there_leaves_the_others_in_use(place: Path) -> None:
    roots = Jail([".", "missing"], "", place)
    assert roots.root(None).name == "."
    with pytest.raises(CapabilityUnavailable):
        roots.root("missing")
    roots.close()
