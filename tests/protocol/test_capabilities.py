"""The grammar of names, what a grant covers, and the table."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.protocol import routes
from bkg_workbench.protocol.capabilities import HOST, PLUGINS, TABLE, covers, is_name
from bkg_workbench.protocol.definition import Definition

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "a",
    "a.",
    ".a",
    "a..b",
    "a.b.c.d.e",
    "__proto__",
    "constructor",
    "__proto__.x",
    "a.__proto__",
    "a.__class__",
    "toString",
    "A.b",
    "a.B",
    "1.a",
    "a.1",
    "a b.c",
    "a.b\n",
    "\na.b",
    "a.b\x00",
    "../x",
    "a/b.c",
    "a.b.*",
    "*",
    "ä.b",
    "а.b",  # a Cyrillic a
    "a．b",
    "a." + "b" * 200,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_no_capability(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    "name", ["a.b", "llm.chat", "repo.file.read", "auth.createKey", "a.b.c.d", "a1.b_2", "a_.b"]
)
def test_words_joined_by_dots_are_a_capability(name: str) -> None:
    assert is_name(name)


def test_a_name_has_at_most_128_characters() -> None:
    assert is_name("a." + "b" * 126)
    assert not is_name("a." + "b" * 127)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_breaks_the_grammar(text: str) -> None:
    if is_name(text):
        assert text.isascii()
        assert 2 <= len(text.split(".")) <= 4
        assert all(word.isidentifier() for word in text.split("."))


@pytest.mark.parametrize(
    ("grant", "capability", "covered"),
    [
        ("*", "host.stop", True),
        ("repo.file.read", "repo.file.read", True),
        ("repo.file.read", "repo.file.write", False),
        ("repo.file.read", "repo.file.readx", False),
        ("repo.file", "repo.file.read", False),
        ("repo.*", "repo.tree", True),
        ("repo.*", "repo.file.read", True),
        ("repo.*", "repofile.read", False),
        ("repo.*", "repo.", True),
        ("repo.*", "repo", False),
        ("repo*", "repo.tree", False),
        ("*.tree", "repo.tree", False),
        ("repo.*.read", "repo.file.read", False),
        ("Repo.*", "repo.tree", False),
        (".*", "repo.tree", False),
        ("", "repo.tree", False),
        ("", "", True),
        ("**", "repo.tree", False),
        ("admin", "repo.tree", True),
        ("admin", "host.stop", True),
        ("Admin", "repo.tree", False),
        ("admin.*", "repo.tree", False),
        ("host.*", "admin", False),
        ("host.read", "host.logs.query", True),
        ("host.read", "host.plugin.start", False),
        ("host.read", "host.config.get", False),
        ("host.read", "admin", False),
        ("repo.*", "host.plugins.list", False),
    ],
)
def test_a_grant_covers_exactly_or_at_a_dot(grant: str, capability: str, covered: bool) -> None:
    assert covers(grant, capability) is covered


def test_each_row_is_a_name_with_a_summary_and_a_scope() -> None:
    for row in TABLE.values():
        assert is_name(row.name)
        assert row.summary
        assert not row.summary.endswith(".")
        assert row.scope


def test_no_name_and_no_verb_stands_there_twice() -> None:
    rows = [*HOST, *PLUGINS]
    assert len({row.name for row in rows}) == len(rows) == len(TABLE)
    verbs = [row.verb for row in rows if row.verb]
    assert len(set(verbs)) == len(verbs)
    assert all(verb.isidentifier() for verb in verbs)


def test_the_hosts_own_are_for_admins_and_typed_and_the_plugins_carry_their_own_name() -> None:
    reads = {row.name for row in HOST if row.scope == "host.read"}
    assert reads == {
        "host.plugins.list", "host.plugin.get", "host.logs.query", "host.telemetry.query",
    }  # fmt: skip
    assert {row.scope for row in HOST} == {"admin", "host.metrics", "host.read"}
    assert all(row.params is not None and row.name.startswith("host.") for row in HOST)
    for row in PLUGINS:
        assert row.scope == row.name
        assert not row.name.startswith("host.")
        assert row.name.startswith("auth.") == (row.plugin == "apikeys")
        msgspec.convert({"name": row.plugin, "capabilities": [row.name]}, Definition)


def test_a_route_takes_what_its_capability_takes_or_more_and_fills_only_its_fields() -> None:
    assert set(routes.OF) <= set(TABLE)
    seen = set()
    for row in TABLE.values():
        for route in row.routes:
            assert route.scope is None or covers(route.scope, row.name)
            assert (route.scope is None) == (row.name == "auth.login")
            assert (route.method, route.path) not in seen
            seen.add((route.method, route.path))
            if row.params is not None:
                known = {field.encode_name for field in msgspec.structs.fields(row.params)}
                assert set(re.findall(r"{(\w+)}", route.path)) <= known
            if route.path.startswith("/admin"):
                assert route.scope == "admin"


def test_what_destroys_is_never_repeated_by_itself() -> None:
    assert [row.name for row in TABLE.values() if row.idempotent and row.destructive] == []


@pytest.mark.parametrize("row", HOST, ids=lambda row: row.name)
def test_a_payload_of_the_hosts_own_takes_no_unknown_field(row: object) -> None:
    params = row.params  # type: ignore[attr-defined]
    with pytest.raises(msgspec.ValidationError, match="nope"):
        msgspec.json.decode(b'{"nope":1,"name":"a"}', type=params)
    for field in msgspec.structs.fields(params):
        assert "_" not in field.encode_name


@pytest.mark.parametrize("name", ["__proto__", "", "..", "a\n", "A", "a" * 33])
def test_a_hostile_plugin_name_is_refused_by_each_payload(name: str) -> None:
    for row in HOST:
        fields = {f.name for f in msgspec.structs.fields(row.params or msgspec.Struct)}
        if "name" in fields:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({"name": name, "settings": {}, "version": 1}, row.params)
