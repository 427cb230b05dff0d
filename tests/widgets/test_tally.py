"""The count of lines: whatever batches never come, no line is missing from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.widgets.tally import Said, Tally

BATCHES = st.lists(
    st.tuples(
        st.sampled_from(["goose", "candle"]),
        st.integers(1, 50),  # lines that are numbered
        st.integers(0, 50),  # lines that the Host dropped
        st.booleans(),  # whether the batch comes
    ),
    min_size=1,
    max_size=40,
)


@given(BATCHES)
def test_after_a_lost_batch_the_next_one_tells_what_was_missed(
    batches: list[tuple[str, int, int, bool]],
) -> None:
    tally, seq = Tally(), 0
    totals: dict[str, int] = {}
    before_first: dict[str, int] = {}
    for plugin, lines, dropped, comes in batches:
        first, seq = seq + 1, seq + lines
        total = totals[plugin] = totals.get(plugin, 0) + lines + dropped
        if comes:
            before = before_first.setdefault(plugin, total - lines - dropped)
            said = tally.count(plugin, first, seq, lines + dropped, total, "one")
            assert said.seq == seq
            assert said.lines == total - before


def test_a_new_host_counts_from_zero_and_the_count_goes_on() -> None:
    tally = Tally()
    assert tally.count("goose", 1, 10, 10, 1_000, "one") == Said(10, 10, 1)
    assert tally.count("goose", 11, 15, 5, 5_000, "two") == Said(15, 15, 1)
    assert tally.count("goose", 16, 20, 5, 5_010, "two") == Said(20, 25, 1)


def test_without_the_host_s_total_the_batches_are_all_that_is_known() -> None:
    tally = Tally()
    tally.count("goose", 1, 10, 10, None, "one")
    assert tally.count("goose", 21, 30, 10, None, "one") == Said(30, 20, 1)
