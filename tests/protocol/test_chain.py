"""A chain of records: whatever is done to it shows, as far as a chain can show it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.protocol import chain

Pair = tuple[dict[str, Any], str]

TEXTS = st.lists(st.text(max_size=5), min_size=1, max_size=8)


def made(texts: list[str]) -> list[Pair]:
    pairs, head = [], chain.START
    for seq, text in enumerate(texts, 1):
        record = {"seq": seq, "text": text}
        head = chain.link(head, record)
        pairs.append((record, head))
    return pairs


@given(TEXTS)
def test_a_chain_that_nobody_touched_is_whole(texts: list[str]) -> None:
    pairs = made(texts)
    found = chain.check(pairs)
    assert found == chain.Verdict(len(texts), pairs[-1][1])
    assert found.is_whole
    assert chain.check(pairs, (len(texts), found.head)).is_whole


@given(TEXTS, st.data())
def test_a_record_that_was_changed_or_removed_shows(texts: list[str], data: st.DataObject) -> None:
    pairs = made(texts)
    at = data.draw(st.integers(0, len(pairs) - 1))
    changed = list(pairs)
    changed[at] = ({**pairs[at][0], "text": pairs[at][0]["text"] + "x"}, pairs[at][1])
    assert chain.check(changed).broken_at == at + 1
    removed = [*pairs[:at], *pairs[at + 1 :]]
    noted = (len(pairs), pairs[-1][1])
    assert chain.check(removed, noted).broken_at == at + 1
    swapped = [*pairs[:at], (pairs[at][0], "0" * 64), *pairs[at + 1 :]]
    assert chain.check(swapped).broken_at == at + 1


@given(TEXTS)
def test_a_chain_that_was_written_anew_shows_against_a_noted_head(texts: list[str]) -> None:
    noted = (1, made(texts)[0][1])
    anew = made([texts[0] + "x", *texts[1:]])
    assert chain.check(anew).is_whole
    assert chain.check(anew, noted).broken_at == 1


def test_an_empty_chain_is_whole_and_holds_no_noted_head() -> None:
    assert chain.check([]) == chain.Verdict(0, chain.START)
    assert "was noted" in (chain.check([], (3, "x")).why or "")


def test_a_hash_that_is_no_text_of_digits_is_refused_and_no_error() -> None:
    pairs = made(["a"])
    assert chain.check([(pairs[0][0], "é")]).broken_at == 1
