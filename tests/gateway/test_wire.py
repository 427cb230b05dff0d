"""Connections: what is refused before any application sees it, and how long a client may take."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator

import pytest

from bkg_workbench.gateway.limits import Limits
from tests.gateway.conftest import Served
from tests.gateway.plugins import TOKENS
from tests.gateway.raw import Raw, Reply, exchange, request
from tests.helpers import eventually

ADMIN = TOKENS["admin"]
pytestmark = pytest.mark.shared_host


@pytest.fixture
def quick(served: Served) -> Iterator[Limits]:
    """The gateway with deadlines that a test can wait for."""
    gateway = served.gateway
    before = gateway.limits
    quick = dataclasses.replace(
        before, head_seconds=0.5, body_seconds=0.7, keep_alive_seconds=0.4, linger_seconds=0.2
    )
    gateway.crowd.limits = quick
    yield quick
    gateway.crowd.limits = before


def closed_after(raw: Raw) -> float:
    begun = time.monotonic()
    assert raw.is_closed()
    return time.monotonic() - begun


def healthy(served: Served) -> bool:
    return exchange(served.port, request("GET", "/health", served.port)).status == 200


@pytest.mark.row("G1")
def test_a_silent_socket_is_closed_without_a_word(served: Served, quick: Limits) -> None:
    with Raw(served.port) as raw:
        assert closed_after(raw) < 20 * quick.head_seconds
        assert raw.buffer == b""


@pytest.mark.row("G1")
def test_a_head_that_comes_byte_by_byte_is_late(served: Served, quick: Limits) -> None:
    with Raw(served.port) as raw:
        begun = time.monotonic()
        raw.socket.settimeout(0.05)
        while not raw.buffer and time.monotonic() - begun < 20:
            raw.send(b"G")
            try:
                raw.more()
            except TimeoutError:
                continue
        assert raw.reply().status == 408
        assert time.monotonic() - begun < 20 * quick.head_seconds


@pytest.mark.row("G1")
def test_a_body_that_does_not_come_is_late(served: Served, quick: Limits) -> None:
    asked = request("POST", "/api/capabilities/demo.greet", served.port, token=ADMIN, body=b"x" * 9)
    with Raw(served.port) as raw:
        raw.send(asked[:-4])
        reply = raw.reply()
        assert (reply.status, reply.code) == (408, "request_too_slow")
        assert raw.is_closed()
    assert not served.gateway.app.answers.in_flight


@pytest.mark.row("G1")
def test_a_kept_connection_is_closed_when_nothing_more_is_asked(
    served: Served, quick: Limits
) -> None:
    with Raw(served.port) as raw:
        for _ in range(3):
            raw.send(request("GET", "/health", served.port))
            assert raw.reply().status == 200
        assert closed_after(raw) < 20 * quick.keep_alive_seconds
        assert raw.buffer == b""


@pytest.mark.row("G1")
def test_the_limits_are_those_of_the_rules() -> None:
    limits = Limits()
    assert (limits.head_seconds, limits.body_seconds, limits.keep_alive_seconds) == (5, 30, 15)
    assert (limits.head_bytes, limits.headers) == (16 * 1024, 100)
    assert (limits.body_bytes, limits.admin_body_bytes) == (4 * 1024**2, 2 * 1024**2)
    assert (limits.connections, limits.connections_per_client) == (128, 32)
    assert limits.write_seconds == 60


SMUGGLED = {
    "length-and-chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "two-lengths": "Content-Length: 4\r\nContent-Length: 5\r\n",
    "bare-line-feed": "A: b\nC: d\r\n",
    "folded": "A: b\r\n c\r\n",
    "second-host": "Host: evil\r\n",
}


@pytest.mark.row("G7")
@pytest.mark.parametrize("what", SMUGGLED)
def test_an_ambiguous_request_is_answered_400_and_what_follows_is_never_read(
    served: Served, what: str
) -> None:
    head = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{SMUGGLED[what]}\r\n"
    hidden = request("GET", "/api/plugins", served.port, token=ADMIN)
    with Raw(served.port) as raw:
        raw.send(head.encode() + b"0\r\n\r\n" + hidden)
        reply = raw.reply()
        assert (reply.status, reply.code) == (400, "bad_request")
        assert reply.headers["connection"] == "close"
        assert raw.is_closed()
        assert raw.buffer == b""


@pytest.mark.row("G7")
def test_no_host_is_400(served: Served) -> None:
    reply = exchange(served.port, b"GET /health HTTP/1.1\r\n\r\n")
    assert (reply.status, reply.is_closed) == (400, True)


@pytest.mark.row("G3")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/health", "/admin/plugins", "/nowhere"])
def test_other_methods_are_405(served: Served, method: str, path: str) -> None:
    reply = exchange(served.port, request(method, path, served.port, token=ADMIN))
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"]


@pytest.mark.row("G3")
def test_an_override_of_the_method_is_not_heard(served: Served) -> None:
    override = {"X_HTTP_Method_Override": "DELETE", "X_Method_Override": "DELETE"}
    asked = request("POST", "/admin/keys/x", served.port, token=ADMIN, body=b"{}", **override)
    reply = exchange(served.port, asked)
    assert (reply.status, reply.headers["allow"]) == (405, "delete")
    asked = request("POST", "/health?_method=GET", served.port)
    assert exchange(served.port, asked).status == 405


@pytest.mark.row("G5")
def test_a_page_of_another_site_cannot_post(served: Served) -> None:
    target, body = "/api/capabilities/demo.greet", b'{"name":"x"}'
    for kind in (
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/json5", "text/json", "application/json; charset=utf-16", None,
    ):  # fmt: skip
        asked = request("POST", target, served.port, token=ADMIN, body=body, kind=kind)
        reply = exchange(served.port, asked)
        assert (reply.status, reply.code) == (415, "unsupported_media_type"), kind
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{served.port}", ""):
        asked = request("POST", target, served.port, token=ADMIN, body=body, Origin=origin)
        reply = exchange(served.port, asked)
        assert (reply.status, reply.code) == (403, "foreign_origin"), origin
        assert not [name for name in reply.headers if name.startswith("access-control")]
    asked = request("POST", target, served.port, token=ADMIN, body=body,
                    kind='application/json; charset="UTF-8"')  # fmt: skip
    assert exchange(served.port, asked).status == 200


@pytest.mark.row("G6")
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "evil.example:{port}",
             "127.0.0.1.nip.io:{port}", "localhost.:{port}", "127.1:{port}"],
)  # fmt: skip
def test_another_name_of_this_machine_is_refused(served: Served, host: str) -> None:
    named = host.format(port=served.port)
    reply = exchange(served.port, f"GET /health HTTP/1.1\r\nHost: {named}\r\n\r\n".encode())
    assert (reply.status, reply.code) == (421, "misdirected_request")


def test_its_own_names_are_answered(served: Served) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        asked = f"GET /health HTTP/1.1\r\nHost: {name}:{served.port}\r\n\r\n"
        assert exchange(served.port, asked.encode()).status == 200


@pytest.mark.row("G8")
def test_a_body_too_large_is_413_and_a_compressed_one_415(served: Served) -> None:
    target = "/api/capabilities/demo.greet"
    head = request("POST", target, served.port, token=ADMIN, kind=None)[:-2]
    head += b"Content-Type: application/json\r\n"
    reply = exchange(served.port, head + b"Content-Length: 4194305\r\n\r\n{")
    assert (reply.status, reply.code, reply.is_closed) == (413, "body_too_large", True)
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b" " * 2**20 + b"\r\n") * 5
    assert exchange(served.port, head + chunks).status == 413
    for coding in ("gzip", "br", "deflate, gzip"):
        asked = request("POST", target, served.port, token=ADMIN, body=b"\x1f\x8b" * 40,
                        Content_Encoding=coding)  # fmt: skip
        assert exchange(served.port, asked).status == 415
    large = b'{"settings": {}, "version": 1, "reason": "' + b"x" * (2 * 2**20) + b'"}'
    asked = request("POST", "/admin/plugins/demo/config", served.port, token=ADMIN, body=large)
    assert exchange(served.port, asked).code == "body_too_large"
    name = "x" * (3 * 2**20)
    body = json.dumps({"name": name}).encode()
    reply = exchange(served.port, request("POST", target, served.port, token=ADMIN, body=body))
    assert reply.status == 200
    assert reply.json["text"].endswith(name)


@pytest.mark.row("G12")
@pytest.mark.parametrize("path", ["/", "/health", "/bus", "/attach", "/admin/plugins"])
def test_a_websocket_is_served_nowhere(served: Served, path: str) -> None:
    asked = request("GET", path, served.port, token=ADMIN, Upgrade="websocket",
                    Connection="Upgrade", Sec_WebSocket_Version="13",
                    Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
    reply = exchange(served.port, asked)
    assert (reply.status, reply.code) == (404, "not_found")


def test_what_follows_an_answer_early_is_read_in_its_turn(served: Served) -> None:
    asked = request("POST", "/api/capabilities/demo.greet", served.port, token=ADMIN,
                    body=b'{"name":"%d"}')  # fmt: skip
    with Raw(served.port) as raw:
        raw.send(asked.replace(b"%d", b"10") + asked.replace(b"%d", b"11"))
        assert [raw.reply().json["text"] for _ in range(2)] == ["Hello 10", "Hello 11"]


def test_a_refused_body_is_read_to_its_end_and_the_connection_goes_on(served: Served) -> None:
    body = b"x" * 300_000
    with Raw(served.port) as raw:
        raw.send(request("POST", "/api/capabilities/demo.greet", served.port, body=body))
        assert raw.reply().status == 401
        raw.send(request("GET", "/health", served.port))
        assert raw.reply().status == 200


def test_a_body_is_asked_for_where_the_client_waits_for_that(served: Served) -> None:
    asked = request("POST", "/api/capabilities/demo.greet", served.port, token=ADMIN,
                    body=b'{"name":"Ada"}', Expect="100-continue")  # fmt: skip
    head, _, body = asked.partition(b"\r\n\r\n")
    with Raw(served.port) as raw:
        raw.send(head + b"\r\n\r\n")
        assert raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.send(body)
        assert raw.reply().json == {"text": "Hello Ada"}


@pytest.mark.row("G16")
def test_a_client_too_many_is_refused_at_once_and_the_others_go_on(served: Served) -> None:
    eventually(lambda: served.gateway.crowd.connections == 0, timeout=20.0)
    limit = served.gateway.limits.connections_per_client
    held = [Raw(served.port) for _ in range(limit)]
    try:
        eventually(lambda: served.gateway.crowd.connections == limit)
        reply: Reply = exchange(served.port, request("GET", "/health", served.port))
        assert (reply.status, reply.code) == (503, "too_many_connections")
        assert reply.headers["retry-after"]
        held[0].send(request("GET", "/health", served.port))
        assert held[0].reply().status == 200
    finally:
        for raw in held:
            raw.socket.close()
    eventually(lambda: healthy(served), timeout=20.0)


@pytest.mark.row("G16")
def test_all_clients_together_have_a_limit(served: Served) -> None:
    eventually(lambda: served.gateway.crowd.connections == 0, timeout=20.0)
    gateway = served.gateway
    before = gateway.limits
    gateway.crowd.limits = dataclasses.replace(before, connections=3)
    held = [Raw(served.port) for _ in range(3)]
    try:
        eventually(lambda: gateway.crowd.connections == 3)
        assert exchange(served.port, request("GET", "/health", served.port)).status == 503
    finally:
        gateway.crowd.limits = before
        for raw in held:
            raw.socket.close()
    eventually(lambda: healthy(served), timeout=20.0)
    assert not gateway.crowd.clients or sum(gateway.crowd.clients.values()) <= 1
