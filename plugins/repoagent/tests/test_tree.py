"""Listing: order, pages, depth, and bounds (R11)."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bkg_workbench.sdk import InvalidParams
from repoagent import tree as listing
from repoagent.ignore import Policy
from repoagent.jail import Root
from repoagent.shapes import TreeQuery
from repoagent.tree import tree

Git = Callable[..., str]


def plant(place: Path, seed: int = 1) -> list[str]:
    """Some folders and files, with names that sort otherwise as paths than as strings."""
    chance = random.Random(seed)
    folders = [""]
    paths = set()
    for _ in range(40):
        folder = os.path.join(chance.choice(folders), chance.choice(["a", "a.b", "a-b", "b", "é"]))
        (place / folder).mkdir(exist_ok=True)
        folders.append(folder)
        paths.add(folder)
        name = os.path.join(folder, chance.choice(["x", "x.py", "0", "z z"]))
        (place / name).write_text("text")
        paths.add(name)
    return sorted(paths, key=lambda path: path.split("/"))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_give_every_entry_once_and_in_order(place: Path, root: Root, limit: int) -> None:
    expected = plant(place)
    seen: list[str] = []
    after: str | None = None
    for _ in range(len(expected) + 1):
        query = TreeQuery(depth=32, limit=limit, after=after)
        page = tree(root, query, Policy())
        assert len(page.entries) <= limit
        assert page.truncated == (page.next is not None)
        seen += [entry.path for entry in page.entries]
        after = page.next
        if after is None:
            break
    assert seen == expected


def test_git_lists_the_same_files(place: Path, root: Root, git: Git) -> None:
    plant(place)
    (place / ".gitignore").write_text("x.py\n/a/\n")
    said = git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
    page = tree(root, TreeQuery(depth=32), Policy())
    assert {e.path for e in page.entries if e.kind == "file"} == set(said) - {""}


def test_entries_have_kind_size_and_time(place: Path, root: Root) -> None:
    (place / "d").mkdir()
    (place / "f").write_text("four")
    (place / "l").symlink_to("d")
    os.utime(place / "f", ns=(0, 1_700_000_000_123_456_789))
    entries = {entry.path: entry for entry in tree(root, TreeQuery(), Policy()).entries}
    assert (entries["f"].kind, entries["f"].size) == ("file", 4)
    assert entries["f"].mtime == 1_700_000_000_123
    assert (entries["d"].kind, entries["d"].size) == ("directory", None)
    assert entries["l"].kind == "symlink"


def test_depth_counts_levels_below_the_path(place: Path, root: Root) -> None:
    (place / "a" / "b" / "c").mkdir(parents=True)

    def listed(path: str, depth: int) -> list[str]:
        return [e.path for e in tree(root, TreeQuery(path=path, depth=depth), Policy()).entries]

    assert listed("", 1) == ["a"]
    assert listed("", 2) == ["a", "a/b"]
    assert listed("a", 2) == ["a/b", "a/b/c"]
    assert listed("a/b/c", 1) == []


def test_a_folder_behind_a_link_is_listed_under_the_path_that_was_asked_for(
    place: Path, root: Root
) -> None:
    (place / "d" / "e").mkdir(parents=True)
    (place / "d" / ".gitignore").write_text("hidden\n")
    for name in ("x", "hidden"):
        (place / "d" / "e" / name).write_text("x")
    (place / "link").symlink_to("d")
    page = tree(root, TreeQuery(path="link/e"), Policy())
    assert [entry.path for entry in page.entries] == ["link/e/x"]


def test_a_great_depth_ends_at_the_bound(place: Path, root: Root) -> None:
    here = os.open(place, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    page = tree(root, TreeQuery(depth=32), Policy())
    assert len(page.entries) == 32
    assert page.truncated_by == ["depth"]


def test_a_crowded_folder_is_listed_within_bounds(place: Path, root: Root) -> None:
    for number in range(5_000):
        os.close(os.open(place / f"{number:06d}", os.O_CREAT | os.O_WRONLY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    first = tree(root, TreeQuery(limit=2_000), Policy())
    second = tree(root, TreeQuery(limit=2_000, after=first.next), Policy())
    assert (first.entries[0].path, first.entries[-1].path) == ("000000", "001999")
    assert second.entries[0].path == "002000"
    assert time.monotonic() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_time_up_ends_the_listing(place: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(place)
    monkeypatch.setattr(listing, "SECONDS", 0.0)
    page = tree(root, TreeQuery(), Policy())
    assert (page.entries, page.truncated_by) == ([], ["time"])


def test_an_asker_who_has_gone_ends_the_listing(place: Path, root: Root) -> None:
    plant(place)
    page = tree(root, TreeQuery(), Policy(), cancelled=lambda: True)
    assert page.truncated_by == ["cancelled"]


def test_a_path_that_is_not_there_is_said(root: Root) -> None:
    with pytest.raises(InvalidParams, match="'nowhere'"):
        tree(root, TreeQuery(path="nowhere"), Policy())
