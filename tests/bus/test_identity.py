"""Tokens and callers: only digests are kept, and a grant is only ever cut."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from bkg_workbench.bus.identity import MAX_DEPTH, OWNER, Caller, Tokens, digest
from bkg_workbench.errors import Forbidden


def tokens(owner: tuple[str, int] | None = None) -> Tokens:
    return Tokens(lambda _peer, _host: owner)


def everything_in(thing: Any) -> str:
    return repr(thing) + repr(vars(thing))


def test_a_token_stands_for_its_plugin_and_process() -> None:
    known = tokens()
    token = known.issue("goose", 3)
    assert known.plugin_of(token) == ("goose", 3)
    assert known.client_of(token) is None
    assert len(token) >= 43  # 256 bit


def test_a_new_process_ends_the_tokens_of_the_earlier_and_leaves_others_alone() -> None:
    known = tokens()
    other = known.issue("apikeys", 1)
    old = known.issue("goose", 1)
    new = known.issue("goose", 2)
    assert known.plugin_of(old) is None
    assert known.plugin_of(new) == ("goose", 2)
    assert known.plugin_of(other) == ("apikeys", 1)
    known.revoke("goose")
    known.revoke("nobody")
    assert known.plugin_of(new) is None
    assert known.plugin_of(other) == ("apikeys", 1)


def test_clients_and_plugins_are_apart() -> None:
    known = tokens()
    client = known.issue_client("client")
    assert known.client_of(client) == "client"
    assert known.plugin_of(client) is None
    known.revoke("client")
    assert known.client_of(client) == "client"


@pytest.mark.parametrize(
    "wrong", ["", " ", "x", "\ud800", "😀", "x" * 1_000_000, "__proto__", "\x00", "Bearer x"]
)
def test_no_other_text_is_a_token(wrong: str) -> None:
    known = tokens()
    right = known.issue("goose", 1)
    known.issue_client("client")
    for text in (wrong, right + wrong if wrong else right[:-1], right.swapcase(), right[:-1]):
        assert known.plugin_of(text) is None
        assert known.client_of(text) is None


def test_only_digests_are_kept() -> None:
    known = tokens()
    issued = [known.issue("goose", 1), known.issue_client("client")]
    shown = everything_in(known)
    for token in issued:
        assert token not in shown
        assert token.encode() not in pickle.dumps(vars(known)["_plugins"])
        assert token.encode() not in pickle.dumps(vars(known)["_clients"])
        assert repr(digest(token)) in shown


def test_a_plugin_without_a_token_is_known_by_its_process_if_the_ports_are() -> None:
    known = tokens(("goose", 2))
    assert known.plugin_at(50_000, 43_121) == ("goose", 2)
    assert known.plugin_at(None, 43_121) is None
    assert known.plugin_at(50_000, None) is None
    assert tokens().plugin_at(50_000, 43_121) is None


def test_a_caller_needs_a_scope_and_every_limit() -> None:
    caller = Caller("key", ("repo.*", "llm.chat"))
    caller.require("repo.file.read")
    cut = caller.within(("repo.file.read", "host.stop"))
    cut.require("repo.file.read")
    for capability in ("repo.tree", "llm.chat", "host.stop"):
        with pytest.raises(Forbidden) as caught:
            cut.require(capability)
        assert caught.value.facts == {"who": "key", "scope": capability}
    # The one that it came from is as it was.
    caller.require("repo.tree")


def test_nobody_gains_by_going_through_another_plugin() -> None:
    within_nothing = OWNER.within(())
    for capability in ("a.b", "host.stop"):
        with pytest.raises(Forbidden):
            within_nothing.within(("*",)).require(capability)
    OWNER.within(("*",)).within(("a.*",)).require("a.b")


def test_a_circle_of_calls_ends() -> None:
    caller = OWNER
    for _ in range(MAX_DEPTH):
        caller = caller.within(("*",))
    caller.require("a.b")
    with pytest.raises(Forbidden, match="circle"):
        caller.within(("*",)).require("a.b")


def test_a_caller_shows_nothing_of_its_connection() -> None:
    assert "secret" not in repr(Caller("client-1", ("*",), sink="secret"))
    assert Caller("a", ("*",), sink=1) == Caller("a", ("*",), sink=2)
