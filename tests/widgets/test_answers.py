"""How an answer is shown: what is found in it, and how much of it a page holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bkg_workbench.widgets.answers import (
    MAX_CHARACTERS,
    MAX_ITEMS,
    MAX_NODES,
    MAX_STRING,
    answer,
    at_pointer,
    pruned,
    text_of,
    views,
)

PNG = "iVBORw0KGgo" + "A" * 80
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=30,
)


@given(JSON)
def test_any_small_json_value_is_shown_as_it_is(value: Any) -> None:
    shown = answer(value)
    assert not shown["cut"]
    assert json.loads(shown["json"]) == value
    for view in shown["views"]:
        at_pointer(value, view["at"])  # leads somewhere


def test_a_large_value_is_cut_and_says_so() -> None:
    value = {"text": "x" * 20_000, "list": list(map(str, range(5_000)))}
    shown, is_cut = pruned(value)
    assert is_cut
    assert shown["text"].startswith("x" * MAX_STRING)
    assert "20,000 characters" in shown["text"]
    assert len(shown["list"]) == MAX_ITEMS + 1
    assert shown["list"][-1] == f"… {5_000 - MAX_ITEMS:,} more"


def test_many_long_strings_are_cut_together() -> None:
    shown, is_cut = pruned(["y" * MAX_STRING for _ in range(MAX_ITEMS)])
    assert is_cut
    assert len(msgspec.json.encode(shown)) < MAX_CHARACTERS + 100_000


def test_a_wide_or_deep_value_stays_within_bounds() -> None:
    wide = [[["x"] * 100 for _ in range(100)] for _ in range(100)]
    shown, is_cut = pruned(wide)
    assert is_cut
    assert len(msgspec.json.encode(shown)) < MAX_NODES * 20
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    assert pruned(deep)[1]


def kinds(value: Any) -> list[tuple[str, str]]:
    return [(view["kind"], view["at"]) for view in views(value)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("short", [("text", "")]),
        ({"name": "short"}, []),
        ({"text": "y" * 100}, [("text", "/text")]),
        ({"lines": "a\nb"}, [("text", "/lines")]),
        ([{"a": 1}, {"b": 2}], [("table", "")]),
        ({"a/b": [{"x": 1}]}, [("table", "/a~1b")]),
        ({"image": PNG}, [("image", "/image")]),
        ({"rows": [1, 2, 3]}, []),
        ({"vector": [0.5] * 16}, [("vectors", "/vector")]),
        (
            {"data": [{"index": 0, "embedding": [0.1] * 8}]},
            [("vectors", "/data/0/embedding"), ("table", "/data")],
        ),
        (None, []),
        ([], []),
    ],
    ids=lambda value: None,
)
def test_what_reads_better_as_something_else_is_found(value: Any, found: Any) -> None:
    assert kinds(value) == found


def test_a_table_has_the_columns_of_all_its_rows() -> None:
    (table,) = views([{"a": 1}, {"a": 2, "b": 3}])
    assert (table["rows"], table["columns"], table["more"]) == (2, ["a", "b"], 0)
    (wide,) = views([{f"c{n}": n for n in range(20)}])
    assert len(wide["columns"]) == 12
    assert wide["more"] == 8


def test_vectors_are_summed_up() -> None:
    found = views({"data": [{"embedding": [3.0, 4.0] + [0.0] * 8} for _ in range(5)]})[0]
    assert (found["count"], found["dimensions"], found["norm"]) == (5, [10], [5.0, 5.0])
    assert found["preview"][:2] == [3.0, 4.0]
    assert json.loads(answer([0.25] * 384)["json"])[-1] == "… 376 more"


@pytest.mark.parametrize(
    "text",
    [
        "data:image/svg+xml;base64," + "A" * 80,
        "data:text/html;base64," + "A" * 80,
        "data:image/png;base64,<script>" + "A" * 80,
        "iVBORw0KGgo and then some words" + " word" * 20,
    ],
    ids=["svg", "html", "no base64", "words"],
)
def test_only_plain_images_are_shown_as_images(text: str) -> None:
    assert ("image", "/image") not in kinds({"image": text})


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        ("word ", "word "),
        ({"choices": [{"delta": {"content": "Hel"}}]}, "Hel"),
        ({"choices": [{"delta": {"role": "assistant"}}]}, ""),
        ({"choices": []}, ""),
        ({"text": "tok", "index": 3}, "tok"),
        ({"number": 3}, None),
        ({"text": "a", "content": "b"}, None),
        (7, None),
    ],
)
def test_pieces_of_text_are_joined(piece: Any, text: str | None) -> None:
    assert text_of(piece) == text
