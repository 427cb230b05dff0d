"""Bodies as strict JSON, small and large alike; queries as what the schema takes."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.errors import InvalidParams
from bkg_workbench.gateway.errors import BadJson
from bkg_workbench.gateway.payloads import Parser, from_query, parse_large, parse_object

BAD = [
    b"[1]", b"1", b"null", b'"x"', b"{", b"}", b'{"a":1,}', b"{'a':1}", b'{"a":1} x',
    b'{"a":1,"a":2}', b'{"b":{"a":1,"a":2}}', b'{"b":[[{"a":1,"a":1}]]}', b'{"a":NaN}',
    b'{"a":-Infinity}', b'{"a":1e400}', b'{"a":-1e400}', b'{"a":"\\ud800"}', b'{"\\udfff":1}',
    b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'\xef\xbb\xbf{}', b'{"a":"\n"}', b'{"a":01}',
    b'{"a":' + b"9" * 5000 + b"}", b'{"a":' + b"[" * 31 + b"]" * 31
    + b"}", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 40 + b"1" + b"}" * 40,
    b'{"a":.5}', b'{"a":+1}', b"\x00{}", b'{"a":tru}',
]  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("parse", [parse_object, parse_large])
@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_not_one_plain_object_is_refused(parse: Any, body: bytes) -> None:
    with pytest.raises(BadJson) as caught:
        parse(body)
    assert len(str(caught.value)) < 300


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON))
def test_large_and_small_bodies_are_read_alike(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    small, large = parse_object(body), parse_large(body)
    assert small[0] == large[0] == value
    assert bytes(small[1]) == bytes(large[1]) == body


def test_the_deepest_that_a_peer_accepts_is_accepted() -> None:
    body = b'{"a":' + b"[" * 30 + b"]" * 30 + b"}"
    assert parse_object(body)[0] == parse_large(body)[0]
    assert parse_large(b'{"a":"\\ud83d\\ude00"}')[0] == {"a": "😀"}


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n", b"{}"])
def test_nothing_is_an_empty_object(body: bytes) -> None:
    assert parse_object(body)[0] == {}


async def test_a_large_body_is_parsed_in_another_thread() -> None:
    parser = Parser(off_loop_bytes=100)
    seen = []

    class Spy(bytes):
        def decode(self, *arguments: Any) -> str:
            seen.append(threading.current_thread().name)
            return super().decode(*arguments)

    try:
        body = Spy(b'{"a": "' + b"x" * 100 + b'"}')
        value, raw = await parser.object(body)
        assert value == msgspec.json.decode(raw)
        assert [name.split("_")[0] for name in seen] == ["gateway-json"]
        assert (await parser.object(b'{"a": 1}'))[0] == {"a": 1}
    finally:
        parser.close()


def test_a_query_is_typed_by_the_schema() -> None:
    schema = {"properties": {
        "limit": {"type": "integer"}, "rate": {"type": "number"}, "all": {"type": "boolean"},
        "name": {"type": "string"}, "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }}  # fmt: skip
    query = [("limit", "5"), ("rate", "0.5"), ("all", "true"), ("name", "7"), ("either", "-3")]
    assert from_query("x.y", query, schema) == {
        "limit": 5, "rate": 0.5, "all": True, "name": "7", "either": -3,
    }  # fmt: skip
    assert from_query("x.y", [("limit", "5"), ("id", "a")], None) == {"limit": 5, "id": "a"}
    odd = [("limit", "x"), ("rate", "1e999"), ("all", "yes")]
    assert from_query("x.y", odd, schema) == {"limit": "x", "rate": "1e999", "all": "yes"}
    with pytest.raises(InvalidParams, match="twice"):
        from_query("x.y", [("limit", "1"), ("limit", "2")], schema)
