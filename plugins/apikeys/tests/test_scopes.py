"""What a scope covers: an exact table, and what must never happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.scopes import allows, covers, cut, is_scope, is_within

TABLE = [
    ("repo.file.read", "repo.file.read", True),
    ("repo.file.read", "repo.file.write", False),
    ("repo.file.read", "repo.file.readx", False),
    ("repo.file.read", "repo.file", False),
    ("repo.file", "repo.file.read", False),
    ("repo.*", "repo.tree", True),
    ("repo.*", "repo.file.read", True),
    ("repo.*", "repo.file.*", True),
    ("repo.file.*", "repo.*", False),
    ("repo.file.*", "repo.filex", False),
    ("repo.file.*", "repo.filex.read", False),
    ("repo.*", "repofile.read", False),
    ("repo.*", "repo", False),
    ("repo.*", "llm.chat", False),
    ("repo.*", "Repo.tree", False),
    ("Repo.*", "repo.tree", False),
    ("repo.tree", "repo.Tree", False),
    ("*", "repo.tree", True),
    ("*", "admin", True),
    ("admin", "repo.tree", True),
    ("admin", "host.stop", True),
    ("admin", "*", True),
    ("host.*", "admin", False),
    ("auth.*", "admin", False),
    ("repo.*", "*", False),
    ("llm.chat", "admin", False),
    ("host.read", "host.plugins.list", True),
    ("host.read", "host.plugin.stop", False),
]


@pytest.mark.row("A11")
@pytest.mark.parametrize(("grant", "scope", "covered"), TABLE)
def test_a_scope_covers_exactly_this(grant: str, scope: str, covered: bool) -> None:
    assert covers(grant, scope) is covered


@pytest.mark.row("A11")
@pytest.mark.parametrize(
    "text",
    ["", ".", "repo", "repo.", ".*", "repo*", "repo.**", "*.tree", "repo.*.read", "**", "Admin",
     "ADMIN", "admin ", "repo.tree\n", "répo.tree", "a.b.c.d.*", "repo. *", "x." + "y" * 200],
)  # fmt: skip
def test_what_looks_like_a_scope_and_is_none_is_refused(text: str) -> None:
    assert not is_scope(text)


WORDS = st.sampled_from(["repo", "file", "tree", "llm", "chat"])
NAMES = st.lists(WORDS, min_size=2, max_size=3).map(".".join)
AREAS = st.lists(WORDS, min_size=1, max_size=2).map(lambda words: ".".join(words) + ".*")
SCOPES = st.lists(NAMES | AREAS | st.sampled_from(["admin", "*"]), max_size=4)


@given(SCOPES, SCOPES, NAMES)
def test_what_is_cut_allows_what_both_allow_and_no_more(
    some: list[str], others: list[str], name: str
) -> None:
    both = allows(some, name) and allows(others, name)
    assert allows(cut(some, others), name) is both
    assert allows(cut(others, some), name) is both


@given(SCOPES, SCOPES)
def test_a_cut_is_within_both(some: list[str], others: list[str]) -> None:
    assert is_within(cut(some, others), some)
    assert is_within(cut(some, others), others)


@given(SCOPES, SCOPES, SCOPES)
def test_a_line_of_cuts_only_ever_shrinks(a: list[str], b: list[str], c: list[str]) -> None:
    assert is_within(cut(cut(a, b), c), cut(a, b))
