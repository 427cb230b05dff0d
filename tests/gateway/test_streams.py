"""Answers in pieces: in order, bounded, cancelled with the client, and ended with a word."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import time
import warnings
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.conftest import Served
from tests.gateway.plugins import TOKENS
from tests.gateway.raw import Raw, request
from tests.helpers import eventually

ADMIN = TOKENS["admin"]
CHAT = "/v1/chat/completions"


def events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The events of a stream, comments as `comment`."""
    event: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield {"comment": line}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}


def said(words: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": words}], **more}


def asked(port: int, words: str, **more: object) -> bytes:
    body = json.dumps(said(words, stream=True, **more)).encode()
    return request("POST", CHAT, port, token=ADMIN, body=body)


def work(served: Served) -> tuple[int, int]:
    """(streams that the plug-in has open, streams that were cancelled)."""
    vector = served.host.call("llm.embed", {"input": "streams"})["data"][0]["embedding"]
    return int(vector[0]), int(vector[1])


@pytest.mark.shared_host
def test_a_streamed_capability_is_chunks_in_their_order_and_a_result(served: Served) -> None:
    headers = {"Accept": "text/event-stream"}
    path, body = "/api/capabilities/demo.count", {"to": 10_000}
    with (
        served.client("greeter") as client,
        client.stream("POST", path, json=body, headers=headers) as reply,
    ):
        assert reply.headers["content-type"].startswith("text/event-stream")
        found = list(events(reply.iter_lines()))
    assert [json.loads(e["data"])["number"] for e in found[:-1]] == list(range(10_000))
    assert [int(e["id"]) for e in found[:-1]] == list(range(10_000))
    assert found[-1] == {"event": "result", "data": "null"}


@pytest.mark.shared_host
def test_any_capability_tells_its_progress_and_its_error_as_events(served: Served) -> None:
    headers = {"Accept": "text/event-stream"}
    with served.client() as client:
        reply = client.post("/api/capabilities/demo.slow", json={"seconds": 0}, headers=headers)
        first, last = events(iter(reply.text.splitlines()))
        assert (first["event"], json.loads(first["data"])["message"]) == ("progress", "half")
        assert (last["event"], json.loads(last["data"])) == ("result", {"done": True})
        # What fails before it has said anything has the status of its error.
        reply = client.post("/api/capabilities/demo.fail", json={}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "plugin_failure")
        assert "secret detail" not in reply.text


@pytest.mark.shared_host
def test_a_streamed_chat_is_openais(served: Served) -> None:
    with served.client("chatter") as client:
        options = {"stream_options": {"include_usage": True}}
        reply = client.post(CHAT, json=said("to be or not", stream=True, **options))
        lines = [line for line in reply.text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert "".join(c["choices"][0]["delta"]["content"] for c in chunks[:-1]) == "to be or not "
        assert chunks[-1]["usage"] == {"total_tokens": 4}
        assert chunks[-1]["choices"] == []
        assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
        assert len({(c["id"], c["model"]) for c in chunks}) == 1


@pytest.mark.shared_host
def test_errors_under_v1_are_openais(served: Served) -> None:
    with served.client("chatter") as client:
        reply = client.post(CHAT, json={"stream": True, "messages": []})
        error = reply.json()["error"]
        assert reply.status_code == 400
        assert (error["type"], error["param"]) == ("invalid_request_error", "messages")
        assert error["message"]
        reply = client.post(CHAT, content=b'{"a": 1, "a": 2}',
                            headers={"Content-Type": "application/json"})  # fmt: skip
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_json")
        # In the middle of a stream the last event is the error, and there is no [DONE].
        reply = client.post(CHAT, json=said("a b FAIL", stream=True))
        assert reply.status_code == 200
        last = reply.text.strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["param"] == "messages"
        assert "[DONE]" not in reply.text
    with served.client("reader") as client:
        error = client.post(CHAT, json=said("x")).json()["error"]
        assert (error["type"], error["code"]) == ("permission_error", "forbidden")
    with served.client(None) as client:
        reply = client.post(CHAT, json=said("x"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.shared_host
def test_embeddings_are_passed_on_as_they_are(served: Served) -> None:
    with served.client("chatter") as client:
        asked = {"input": "x", "encoding_format": "base64"}
        reply = client.post("/v1/embeddings", json=asked).json()
        assert reply["data"][0]["embedding"] == "AAAAPwAAgL4="
        assert client.get("/v1/models").json()["data"][0]["id"] == "echo"


@pytest.mark.slow
@pytest.mark.row("G9")
def test_what_a_client_left_is_cancelled_and_nothing_is_kept(own: Served) -> None:
    _, before = work(own)
    slowest = 0.0
    for turn in range(100):
        with Raw(own.port) as raw:
            raw.send(asked(own.port, "FOREVER" if turn % 2 else "a SILENT"))
            raw.until(b"data: ")
            if turn % 3 == 0:  # a reset instead of a goodbye
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            begun = time.monotonic()
        eventually(lambda: not own.gateway.app.answers.in_flight, timeout=20.0)
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 10.0
    assert eventually(lambda: work(own) == (0, before + 100), timeout=20.0)
    connection = own.host.engine.router.entries["llmserver"].connection
    assert connection is not None
    eventually(lambda: not connection.session.asked)
    eventually(lambda: own.gateway.crowd.connections == 0)
    assert not own.gateway._state.tasks


@pytest.mark.slow
@pytest.mark.row("G9")
def test_a_plain_request_that_is_left_is_cancelled_too(own: Served) -> None:
    body = b'{"seconds": 3600}'
    data = request("POST", "/api/capabilities/demo.slow", own.port, token=ADMIN, body=body)
    for _ in range(20):
        with Raw(own.port) as raw:
            raw.send(data)
            eventually(lambda: own.gateway.app.answers.in_flight["demo.slow"] == 1, timeout=20.0)
        eventually(lambda: not own.gateway.app.answers.in_flight, timeout=20.0)
    connection = own.host.engine.router.entries["demo"].connection
    assert connection is not None
    eventually(lambda: not connection.session.asked)
    outcomes = eventually(lambda: own.host.calls("demo.slow"))
    assert {record["outcome"] for record in outcomes} == {"request_cancelled"}


@pytest.mark.slow
@pytest.mark.row("G10")
@pytest.mark.parametrize("how", ["dies", "is killed"])
def test_a_plugin_that_dies_within_a_stream_is_a_last_event(own: Served, how: str) -> None:
    pid = own.host.state.plugins["llmserver"].pid
    with Raw(own.port) as raw:
        raw.send(asked(own.port, "a b DIE" if how == "dies" else "a b SILENT"))
        raw.until(b'"b "')
        if how == "is killed":
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        text = raw.until(b"0\r\n\r\n")
        assert time.monotonic() - begun < 10.0
    assert b"plugin_disconnected" in text
    assert b"[DONE]" not in text


@pytest.mark.slow
@pytest.mark.row("G11")
def test_what_is_not_up_is_503_and_what_restarts_is_waited_for(own: Served) -> None:
    with own.client() as client:
        own.host.restart("demo", wait=False)
        path, body = "/api/capabilities/demo.greet", {"name": "Ada"}
        assert client.post(path, json=body).status_code == 200
        own.host.stop("demo")
        reply = client.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (
            503, "capability_unavailable",
        )  # fmt: skip
        assert int(reply.headers["retry-after"]) > 0
        own.host.stop("llmserver")
        for stream in (True, False):
            reply = client.post(CHAT, json=said("x", stream=stream))
            error = reply.json()["error"]
            assert (reply.status_code, error["type"]) == (503, "server_error")
            assert int(reply.headers["retry-after"]) > 0


@pytest.mark.shared_host
@pytest.mark.row("G11")
def test_too_many_at_once_of_one_capability_are_429(served: Served) -> None:
    answers = served.gateway.app.answers
    before = answers.in_flight.copy()
    answers.in_flight["llm.embed"] += served.gateway.limits.calls_per_capability
    try:
        with served.client("chatter") as client:
            reply = client.post("/v1/embeddings", json={"input": "x"})
            assert (reply.status_code, reply.json()["error"]["type"]) == (429, "rate_limit_error")
            assert reply.headers["retry-after"] == "1"
            assert client.get("/v1/models").status_code == 200
    finally:
        answers.in_flight.clear()
        answers.in_flight.update(before)


@pytest.mark.shared_host
def test_a_deadline_of_the_clients_own_is_kept(served: Served) -> None:
    with served.client() as client:
        reply = client.post("/api/capabilities/demo.slow", json={"seconds": 60},
                            headers={"Prefer": "respond-async, wait=1"})  # fmt: skip
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "request_timeout")


@pytest.mark.slow
def test_a_client_that_does_not_read_has_its_stream_ended_and_others_do_not_notice(
    own: Served,
) -> None:
    with Raw(own.port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(asked(own.port, "FOREVER", size=20_000, pause=0.0))
        eventually(lambda: work(own)[0] == 1)
        # It is ended by itself once 1 MiB waits: nobody reads, nobody leaves.
        eventually(lambda: work(own)[0] == 0, timeout=30.0)
        with own.client() as client:
            assert client.get("/api/plugins").status_code == 200


# -- logs ----------------------------------------------------------------------------------------
LINES = 10_000


@contextlib.contextmanager
def follow(client: httpx.Client, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
    params = {"lines": "0", "source": "stdout"} if "Last-Event-ID" not in headers else {
        "source": "stdout"
    }  # fmt: skip
    with client.stream(
        "GET", "/admin/plugins/chatty/logs", params=params, headers=headers
    ) as reply:
        assert reply.status_code == 200, reply.read()
        yield events(reply.iter_lines())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ten_thousand_lines_with_a_reconnect_come_without_a_gap_and_none_twice(
    own: Served,
) -> None:
    from tests.plugins import write_plugin

    code = """
from typing import Any
from bkg_workbench.sdk import Plugin

plugin = Plugin("chatty")


@plugin.capability("chatty.say")
async def say(payload: dict[str, Any]) -> None:
    for number in range(payload["from"], payload["to"]):
        print("line", number, flush=True)  # a pipe holds back where a queue would drop


if __name__ == "__main__":
    plugin.run()
"""
    place = own.host.engine.workspace.root
    write_plugin(place, "chatty", code, capabilities=["chatty.say"])
    eventually(lambda: "chatty" in own.host.state.plugins, timeout=20.0)
    own.host.start("chatty")
    seen: list[tuple[int, str]] = []

    def take(stream: Iterator[dict[str, str]], upto: int) -> None:
        for event in stream:
            if "data" in event:
                record = json.loads(event["data"])
                assert record["seq"] == int(event["id"])
                seen.append((record["seq"], record["message"]))
                if len(seen) >= upto:
                    return

    with own.client() as client:
        with follow(client) as stream:
            own.host.call("chatty.say", {"from": 0, "to": 4000})
            take(stream, 3500)
        # The connection broke off; half of what is missed is said meanwhile, half after.
        own.host.call("chatty.say", {"from": 4000, "to": 7000})
        with follow(client, **{"Last-Event-ID": str(seen[-1][0])}) as stream:
            own.host.call("chatty.say", {"from": 7000, "to": LINES})
            take(stream, LINES)
    assert [message for _, message in seen] == [f"line {number}" for number in range(LINES)]
    assert len({seq for seq, _ in seen}) == LINES


@pytest.mark.shared_host
def test_a_silent_log_says_that_it_lives_and_a_wrong_query_is_told(served: Served) -> None:
    with served.client() as client:
        for query, pointer in {
            "lines=x": "/lines", "after=-1": "/after", "level=loud": "/level",
            "nope=1": "", "lines=1&lines=2": "/lines", "regex=(": "/regex",
        }.items():  # fmt: skip
            reply = client.get(f"/admin/plugins/demo/logs?{query}")
            assert reply.status_code == 422, reply.text
            assert pointer in reply.json()["error"]["detail"]["errors"], query
        assert client.get("/admin/plugins/nobody/logs").status_code == 404
        headers = {"Last-Event-ID": "not a number"}
        assert client.get("/admin/plugins/demo/logs", headers=headers).status_code == 422


@pytest.mark.slow
def test_open_streams_end_with_the_host_and_hold_it_up_no_longer_than_the_drain(
    own: Served,
) -> None:
    with Raw(own.port) as follower, Raw(own.port) as chat:
        follower.send(request("GET", "/admin/plugins/demo/logs", own.port, token=ADMIN))
        follower.until(b"\r\n\r\n")
        chat.send(asked(own.port, "a b c SILENT"))
        chat.until(b'"c "')
        begun = time.monotonic()
        own.host.close()
        assert time.monotonic() - begun < 60.0
        assert follower.is_closed()
        assert follower.buffer.endswith(b"0\r\n\r\n")  # its end, not a break
        assert chat.is_closed()


@pytest.mark.slow
def test_silence_is_filled_with_comments_and_who_never_reads_is_let_go(own: Served) -> None:
    app = own.gateway.app
    app._limits = dataclasses.replace(app._limits, beat_seconds=0.1, write_seconds=0.5)
    with Raw(own.port) as raw:
        raw.send(request("GET", "/admin/plugins/demo/logs?lines=0", own.port, token=ADMIN))
        for _ in range(3):
            raw.until(b": still here\n\n")
    with Raw(own.port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(asked(own.port, "FOREVER", size=20_000, pause=0.0))
        eventually(lambda: app.answers.in_flight["llm.chat"] == 1, timeout=20.0)
        # Nobody reads and nobody leaves: the server does.
        eventually(lambda: not own.gateway.crowd.connections, timeout=40.0)
    assert eventually(lambda: work(own)[0] == 0, timeout=20.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork with")
def test_a_forked_child_keeps_no_client_waiting(own: Served) -> None:
    with Raw(own.port) as raw:
        raw.send(request("GET", "/health", own.port))
        assert raw.reply().status == 200
        into, out = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            os.close(out)
            os.read(into, 1)
            os._exit(0)
        try:
            own.host.close()
            assert raw.is_closed()
        finally:
            os.close(into)
            os.close(out)
            os.waitpid(child, 0)
