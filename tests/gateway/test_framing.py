"""What is one request and where it ends: strict, and the same however the bytes come in pieces."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bkg_workbench.gateway.errors import HttpError
from bkg_workbench.gateway.framing import Framing, Head
from bkg_workbench.gateway.limits import Limits

LIMITS = Limits(body_bytes=1000)


def read(data: bytes, sizes: list[int] | None = None) -> tuple[list[Head], bytes, str]:
    """(heads, bodies as passed on, state) of bytes that come in pieces of these sizes."""
    framing, heads, bodies = Framing(LIMITS), [], b""
    sizes = sizes or [len(data)]
    position = turn = 0
    while position < len(data):
        size = max(1, sizes[turn % len(sizes)])
        framing.feed(data[position : position + size])
        position, turn = position + size, turn + 1
        while (part := framing.next()) is not None:
            content = part[1]
            if isinstance(content, Head):
                heads.append(content)
            else:
                bodies += content
    return heads, bodies, framing.state


def refused(data: bytes) -> int:
    with pytest.raises(HttpError) as caught:
        read(data)
    return caught.value.status


def head(*lines: str, first: str = "POST /x HTTP/1.1", host: str = "Host: h") -> bytes:
    return "\r\n".join([first, *([host] if host else []), *lines, "", ""]).encode("latin-1")


SMUGGLED = {
    "a length beside chunks": head("Content-Length: 3", "Transfer-Encoding: chunked"),
    "chunks beside a length": head("Transfer-Encoding: chunked", "Content-Length: 3"),
    "two lengths": head("Content-Length: 3", "Content-Length: 4"),
    "two equal lengths": head("Content-Length: 3", "Content-Length: 3"),
    "two lengths in one field": head("Content-Length: 3, 3"),
    "a length with a sign": head("Content-Length: +3"),
    "a negative length": head("Content-Length: -3"),
    "a hexadecimal length": head("Content-Length: 0x3"),
    "a length in foreign digits": head("Content-Length: ") [:-4] + "٣".encode() + b"\r\n\r\n",
    "a length with an underscore": head("Content-Length: 1_0"),
    "an empty length": head("Content-Length:"),
    "a length without end": head("Content-Length: " + "9" * 400),
    "another coding": head("Transfer-Encoding: gzip, chunked"),
    "chunked twice": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunked and identity": head("Transfer-Encoding: chunked, identity"),
    "an unknown coding": head("Transfer-Encoding: xchunked"),
    "a coding with a quote": head('Transfer-Encoding: "chunked"'),
    "chunks in HTTP/1.0": head("Transfer-Encoding: chunked", first="POST /x HTTP/1.0"),
    "a bare line feed": b"GET / HTTP/1.1\nHost: h\n\n",
    "a bare line feed within": head("A: b\nContent-Length: 5"),
    "a bare carriage return": head("A: b\rContent-Length: 5"),
    "a folded line": head("A: b", " c: d"),
    "a folded line with a tab": head("A: b", "\tc: d"),
    "a folded first field": head(" A: b", host=""),
    "a space before the colon": head("Content-Length : 3"),
    "a field without a name": head(": b"),
    "a line without a colon": head("Content-Length"),
    "a null byte": head("A: b\x00c"),
    "a null byte in a name": head("A\x00: b"),
    "no Host": head(host=""),
    "two Hosts": head("Host: other"),
    "an empty Host": head(host="Host:"),
    "an empty line first": b"\r\n" + head(),
    "an absolute target": head(first="GET http://evil/x HTTP/1.1"),
    "a fragment": head(first="GET /x#y HTTP/1.1"),
    "a target without a slash": head(first="GET x HTTP/1.1"),
    "two spaces": head(first="GET  /x HTTP/1.1"),
    "a tab": head(first="GET\t/x HTTP/1.1"),
    "a third word": head(first="GET /x y HTTP/1.1"),
    "an old version": head(first="GET /x HTTP/0.9"),
    "no version": head(first="GET /x"),
    "a new version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version with three digits": head(first="GET /x HTTP/1.10"),
    "a letter beyond ASCII in the target": head(first="GET /é HTTP/1.1"),
    "TLS": bytes.fromhex("1603010200010001fc0303") + b"\r\n\r\n",
}  # fmt: skip

CHUNKED = head("Transfer-Encoding: chunked")
BAD_CHUNKS = {
    "an extension": b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "a size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with a space": b"3 \r\nabc\r\n0\r\n\r\n",
    "a size beyond 32 bits": b"123456789\r\nabc\r\n0\r\n\r\n",
    "a bare line feed": b"3\nabc\n0\n\n",
    "too much in it": b"3\r\nabcd\r\n0\r\n\r\n",
    "too little in it": b"3\r\nab\r\n0\r\n\r\n",
    "a trailer": b"3\r\nabc\r\n0\r\nA: b\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.row("G7")
@pytest.mark.parametrize("what", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused(what: str) -> None:
    assert refused(SMUGGLED[what] + b"abc") == 400


@pytest.mark.row("G7")
@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_chunks_that_could_be_read_in_two_ways_are_refused(what: str) -> None:
    assert refused(CHUNKED + BAD_CHUNKS[what]) == 400


@pytest.mark.row("G1")
@pytest.mark.row("G8")
def test_heads_and_bodies_have_limits() -> None:
    assert refused(head("A: " + "b" * 17_000)) == 431
    assert refused(b"GET /" + b"x" * 17_000) == 431
    assert refused(head(*(f"A{n}: b" for n in range(100)))) == 431
    assert read(head(*(f"A{n}: b" for n in range(99))))[2] == "whole"
    assert refused(head("Content-Length: 1001")) == 413
    assert refused(CHUNKED + b"3e9\r\n") == 413
    assert refused(CHUNKED + (b"64\r\n" + b"x" * 100 + b"\r\n") * 11) == 413


@pytest.mark.row("G3")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT", "get"])
def test_other_methods_are_not_taken(method: str) -> None:
    assert refused(head(first=f"{method} /x HTTP/1.1")) == 405


@pytest.mark.row("G12")
def test_a_websocket_is_not_found_and_other_upgrades_are_not_passed_on() -> None:
    upgrade = head("Upgrade: websocket", "Connection: Upgrade", first="GET /x HTTP/1.1")
    assert refused(upgrade) == 404
    assert refused(upgrade.replace(b"websocket", b"h2c, WebSocket")) == 404
    heads, _, _ = read(head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                            "HTTP2-Settings: AAMA", first="GET /x HTTP/1.1"))  # fmt: skip
    assert b"h2c" not in heads[0].data
    assert b"AAMA" not in heads[0].data


def test_only_the_usual_expectation_is_understood() -> None:
    assert refused(head("Expect: miracles")) == 417
    assert read(head("Expect: 100-Continue", "Content-Length: 1"))[2] == "body"


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.binary(min_size=1, max_size=300))
def test_a_request_is_the_same_however_its_bytes_are_cut(sizes: list[int], body: bytes) -> None:
    plain = head(f"Content-Length: {len(body)}") + body
    heads, found, state = read(plain, sizes)
    assert (found, state, heads[0].length) == (body, "whole", len(body))
    cut = b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in _pieces(body, sizes))
    heads, found, state = read(CHUNKED + cut + b"0\r\n\r\n", sizes)
    assert (_joined(found), state, heads[0].length) == (body, "whole", None)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_no_bytes_break_it(noise: bytes, sizes: list[int]) -> None:
    for data in (noise, head()[:-2] + noise, CHUNKED + noise):
        with contextlib.suppress(HttpError):
            read(data, sizes)


def test_the_next_request_waits_until_this_one_is_answered() -> None:
    framing = Framing(LIMITS)
    framing.feed(head(first="GET /a HTTP/1.1") + head(first="GET /b HTTP/1.1"))
    first = framing.next()
    assert isinstance(first and first[1], Head)
    assert framing.next() is None
    assert framing.waiting_bytes == len(head(first="GET /b HTTP/1.1"))
    framing.start_next()
    second = framing.next()
    assert second is not None
    assert isinstance(second[1], Head)
    assert second[1].target == b"/b"
    assert framing.is_empty


def _pieces(body: bytes, sizes: list[int]) -> list[bytes]:
    found, position, turn = [], 0, 0
    while position < len(body):
        size = sizes[turn % len(sizes)]
        found.append(body[position : position + size])
        position, turn = position + size, turn + 1
    return found


def _joined(chunks: bytes) -> bytes:
    found = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        found, chunks = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found
