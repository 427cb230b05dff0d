"""What is hidden, for every verb alike (R10), and that git agrees."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bkg_workbench.sdk import Forbidden
from repoagent import ignore
from repoagent.ignore import Policy, Rules
from repoagent.jail import Jail, Root
from repoagent.read import read
from repoagent.search import search
from repoagent.shapes import ReadQuery, SearchQuery, TreeQuery
from repoagent.tree import tree

Git = Callable[..., str]

NAMES = [
    "a", "b", "ab", "aab", "foo", "bar", "foo.py", "a.txt", "b-c", "x y", "x ", "é", "[a]", "a*b",
    "a\\b", "Foo", "-",
]  # fmt: skip
ATOMS = [
    "a", "b", "foo", "bar", "*", "?", "**", "***", "*.py", "*.txt", "f*", "[ab]", "[!a]", "[^b]",
    "[a-c]", "[[:alpha:]]", "[[:upper:]o]", "[]a]", "[a", "\\a", "\\*", "\\[", "é", "f*o", "*a*",
    "*a*b*", "a**b", "-", "[a-]", "[--a]", "[a\\]]", "x\\ ", "x ", " x", "!", "#", "\\!", "\\#",
    "\t", "[b-a]", "[[:foo:]]", "[:alpha:]", "[!]", "[a/b]", "[[:]a]", ".",
]  # fmt: skip


def pattern(chance: random.Random) -> str:
    pieces = ["".join(chance.choices(ATOMS, k=chance.choice([1, 1, 1, 2])))
              for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 4]))]  # fmt: skip
    text = "/".join(pieces)
    for probability, before, after in ((0.25, "/", ""), (0.25, "", "/"), (0.3, "!", "")):
        if chance.random() < probability:
            text = before + text + after
    ending = chance.choice([" ", "\\ ", "\\  ", "\r", "\t"]) if chance.random() < 0.1 else ""
    return text + ending


def plant(place: Path, chance: random.Random) -> None:
    """A small tree of awkward names, and ignore files in it."""
    folders = [place]
    for _ in range(6):
        folder = chance.choice(folders) / chance.choice(NAMES)
        folder.mkdir(exist_ok=True)
        folders.append(folder)
    for _ in range(25):
        file = chance.choice(folders) / chance.choice(NAMES)
        if not file.exists():
            file.write_text("x")
    for folder in {place, *chance.sample(folders, 2)}:
        lines = [pattern(chance) for _ in range(chance.randint(1, 6))]
        (folder / ".gitignore").write_text("\n".join(lines) + chance.choice(["", "\n"]))
    (place / ".git" / "info" / "exclude").write_text(pattern(chance) + "\n")


def everything(place: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(place):
        if ".git" in folders:
            folders.remove(".git")
        found += [os.path.relpath(os.path.join(folder, n), place) for n in folders + files]
    return found


def hidden(root: Root, place: Path, policy: Policy, paths: list[str]) -> set[str]:
    found = set()
    for path in paths:
        try:
            policy.check(root, path, (place / path).is_dir())
        except Forbidden:
            found.add(path)
    return found


@pytest.mark.parametrize("way", ["by pathspec where it is exact", "by wildmatch alone"])
@pytest.mark.parametrize("seed", range(12))
def test_git_ignores_the_same_paths(
    place: Path, git: Git, monkeypatch: pytest.MonkeyPatch, seed: int, way: str
) -> None:
    monkeypatch.setattr(ignore, "SECRETS", ())
    if way == "by wildmatch alone":
        monkeypatch.setattr(ignore, "_is_tame", lambda body: False)
    chance = random.Random(seed)
    plant(place, chance)
    paths = everything(place)
    said = git("check-ignore", "--no-index", "-z", "--stdin", stdin="\0".join(paths) + "\0")
    roots = Jail([str(place)], "", place)
    ours = hidden(roots.root(None), place, Policy(), paths)
    visible = {e.path for e in tree(roots.root(None), TreeQuery(depth=32), Policy()).entries}
    roots.close()
    assert ours == set(said.split("\0")) - {""}
    assert visible == set(paths) - ours


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(st.text("ab*?[]!\\/-# ^:é", max_size=12), max_size=4))
def test_no_line_of_an_ignore_file_breaks_the_rules(lines: list[str]) -> None:
    rules = Rules(lines)
    for path in ("a", "a/b", "ab/é", "b"):
        assert rules.match(path, path.rpartition("/")[2], True) in (True, False, None)


def test_a_hostile_pattern_costs_no_time() -> None:
    rules = Rules(["*a" * 40 + "b", "/".join(["**", "a"] * 20) + "/b", "[!a]*" * 30 + "x"])
    begun = time.process_time()
    assert rules.match("a" * 250, "a" * 250, False) is None
    assert rules.match("a/" * 30 + "c", "c", False) is None
    assert time.process_time() - begun < 1


def test_what_is_ignored_is_hidden_from_every_verb_alike(place: Path, root: Root) -> None:
    (place / ".gitignore").write_text("*.log\n!keep.log\nbuild/\n")
    (place / "build").mkdir()
    (place / "sub").mkdir()
    (place / "sub" / ".gitignore").write_text("local\n!*.log\n")
    cases = {
        "keep.log": True, "a.log": False, "build/x": False, "sub/a.log": True, "sub/local": False,
        "by-glob/x": False, ".env": False, ".env.local": False, "key.pem": False, "id_rsa": False,
        "sub/id_ed25519": False, "id_helpers.py": True, "plain": True,
    }  # fmt: skip
    (place / "by-glob").mkdir()
    for path in cases:
        (place / path).write_text("needle")
    policy = Policy(["by-glob/", "!id_helpers.py"])
    listed = {e.path for e in tree(root, TreeQuery(), policy).entries}
    found = {h.path for h in search(root, SearchQuery(query="needle"), policy).hits}
    for path, is_visible in cases.items():
        assert (path in listed) == is_visible, path
        assert (path in found) == is_visible, path
        if is_visible:
            assert read(root, ReadQuery(path=path), policy).text == "needle"
            assert search(root, SearchQuery(query="needle", path=path), policy).matches == 1
            continue
        with pytest.raises(Forbidden) as caught:
            read(root, ReadQuery(path=path), policy)
        assert caught.value.facts["reason"] == "hidden"
        with pytest.raises(Forbidden):
            search(root, SearchQuery(query="needle", path=path), policy)
    with pytest.raises(Forbidden):
        tree(root, TreeQuery(path="build"), policy)


def test_a_repository_cannot_bring_back_what_the_operator_hides(place: Path, root: Root) -> None:
    (place / ".gitignore").write_text("!.env\n!secret\n")
    for name in (".env", "secret"):
        (place / name).write_text("x")
        with pytest.raises(Forbidden):
            read(root, ReadQuery(path=name), Policy(["secret"]))


def test_an_ignore_file_that_is_a_link_or_a_pipe_does_not_count(place: Path, root: Root) -> None:
    (place / "rules").write_text("x\n")
    (place / ".gitignore").symlink_to("rules")
    (place / "x").write_text("x")
    (place / "d").mkdir()
    os.mkfifo(place / "d" / ".gitignore")
    assert {e.path for e in tree(root, TreeQuery(), Policy()).entries} >= {"x", "d/.gitignore"}
