"""Tokens: their form, what is kept of them, and what is none."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys import credentials, tokens
from apikeys.registry import Registry
from bkg_workbench.sdk import Unauthenticated
from plugins.apikeys.tests.lives import OWNER


def test_a_key_looks_as_promised_and_is_never_the_same() -> None:
    made = {tokens.issue("key").token for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"bkg_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token) for token in made)


def test_what_is_kept_holds_no_secret() -> None:
    issued = tokens.issue("session")
    secret = issued.token.split("_", 2)[2]
    assert len(issued.digest) == 32
    assert secret.encode() not in issued.digest
    assert tokens.masked("session", issued.id, issued.last4).endswith(f"…{secret[-4:]}")


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    parsed = tokens.parse(text)
    assert parsed is None or re.fullmatch(r"bk[gst]_[0-9a-f]{12}_[\w-]{43}", text, re.ASCII)


def spoiled(token: str) -> list[str]:
    prefix, identity, secret = token.split("_", 2)
    return [
        "", " ", "_", "__", "x" * 1_000_000, "bkg", f"{prefix}_{identity}", f"{prefix}_{identity}_",
        token[:-1], token + "x", token + "\n", " " + token, token.upper(),
        f"bks_{identity}_{secret}", f"bkt_{identity}_{secret}",
        f"{prefix}_{identity}_{'A' * 43}", f"{prefix}_{'0' * 12}_{secret}",
        token.replace("_", "-"), token.replace("b", "ｂ", 1), "😀" * 60, "\ud800" * 60, "\x00" * 60,
        "' OR 1=1 --", "Bearer " + token,
    ]  # fmt: skip


@pytest.mark.row("A10")
def test_a_malformed_token_is_refused_alike_and_at_once(registry: Registry) -> None:
    key, issued = registry.create_key(OWNER, "admin", ["repo.*"])
    reader, now = registry.store.reader, registry.now()
    assert credentials.prove(reader, issued.token, now).credential.id == key.id
    said, slowest = set(), 0.0
    for token in spoiled(issued.token):
        began = time.perf_counter()
        with pytest.raises(Unauthenticated) as refusal:
            credentials.prove(reader, token, now)
        slowest = max(slowest, time.perf_counter() - began)
        said.add(str(refusal.value))
    assert said == {"The token is not valid."}
    assert slowest < 0.1  # a hundredfold slack: it takes microseconds


@pytest.mark.row("A9")
def test_the_cost_of_a_check_does_not_depend_on_how_many_keys_there_are(
    registry: Registry,
) -> None:
    _, issued = registry.create_key(OWNER, "admin", ["repo.*"])
    with registry.store.writing() as tx:
        for _ in range(10_000):
            credentials.create(tx, "key", "admin", registry.now(), scopes=["repo.*"])
    plan = registry.store.reader.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM credentials WHERE id = ?", ("x",)
    ).fetchall()
    assert [row["detail"] for row in plan] == ["SEARCH credentials USING PRIMARY KEY (id=?)"]
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    registry.store.reader.set_progress_handler(count, 1)
    credentials.prove(registry.store.reader, issued.token, registry.now())
    registry.store.reader.set_progress_handler(None, 0)
    assert steps < 200  # of SQLite's virtual machine; a scan would take 100,000
