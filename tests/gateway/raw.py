"""A client of bytes: what no HTTP library would send, and what comes back."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 30.0


@dataclass
class Reply:
    """An answer; `is_closed` says whether the server closed the connection behind it."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_closed: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Raw:
    """One connection."""

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.buffer = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> bool:
        """Read once more; False at the end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """What comes up to a mark, and the mark."""
        while mark not in self.buffer:
            if not self.more():
                raise AssertionError(f"closed before {mark!r}: {self.buffer[-300:]!r}")
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def head(self) -> Reply:
        """The head of an answer."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Reply(int(first.split()[1]), headers, b"")

    def reply(self) -> Reply:
        """A whole answer with a length."""
        reply = self.head()
        length = int(reply.headers["content-length"])
        while len(self.buffer) < length:
            assert self.more(), "closed within the body"
        reply.body, self.buffer = self.buffer[:length], self.buffer[length:]
        return reply

    def is_closed(self) -> bool:
        """Whether the server ends the connection, within the patience of the socket."""
        while self.more():
            pass
        return True


def exchange(port: int, data: bytes) -> Reply:
    """Send bytes, read one answer, and see whether the connection is closed behind it."""
    begun = time.monotonic()
    with Raw(port) as raw:
        raw.send(data)
        reply = raw.reply()
        raw.socket.settimeout(0.5)
        try:
            reply.is_closed = raw.is_closed()
        except TimeoutError:
            reply.is_closed = False
        reply.seconds = time.monotonic() - begun
    return reply


def request(
    method: str,
    target: str,
    port: int,
    *,
    token: str | None = None,
    body: bytes | None = None,
    kind: str | None = "application/json",
    **headers: str,
) -> bytes:
    """The bytes of a plain request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
        if kind is not None:
            lines.append(f"Content-Type: {kind}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
