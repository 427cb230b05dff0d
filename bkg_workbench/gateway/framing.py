"""Where one HTTP/1.1 request ends and the next begins: strict, and without I/O.

Owns the grammar of a head, and the lengths of bodies. Whatever two readers could read differently
(two lengths, a length beside chunks, bare line feeds, folded lines, chunk extensions, trailers) is
refused before the server's parser sees a byte of it: what reaches that is unambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bkg_workbench.gateway.errors import (
    ExpectationFailed,
    HeadTooLarge,
    Malformed,
    MethodNotAllowed,
    NotFound,
    TooLarge,
)
from bkg_workbench.gateway.limits import Limits

METHODS = (b"GET", b"POST", b"DELETE")

_REQUEST = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])\Z")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CHUNK_BEGINS = re.compile(rb"[0-9A-Fa-f]{1,8}\r?\Z")
_END = b"\r\n\r\n"

Part = Literal["head", "body", "end"]


@dataclass(frozen=True)
class Head:
    """A request's head: `data` as it is passed on; `length` of the body, None for chunks."""

    data: bytes
    method: bytes
    target: bytes
    length: int | None


class Framing:
    """One connection's bytes as parts of requests. After an error it is not used again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._left: int | None = None
        self._seen = 0
        self._in_chunk = 0
        self._is_chunk_open = False
        self.state: Literal["head", "body", "whole"] = "head"

    @property
    def is_empty(self) -> bool:
        """Whether no byte of the next request has come."""
        return not self._buffer

    @property
    def waiting_bytes(self) -> int:
        """Bytes that have come and belong to no finished part."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes; `next` says what they are."""
        self._buffer += data

    def start_next(self) -> None:
        """The request that was read has its answer: what follows is the next head."""
        self.state = "head"

    def next(self) -> tuple[Part, Head | bytes] | None:
        """The next part, or None until more bytes come. Raises `HttpError`.

        After "end" nothing is given until `start_next`: requests are served one after another.
        """
        if self.state == "head":
            head = self._head()
            return None if head is None else ("head", head)
        if self.state == "body":
            data, is_last = self._chunks() if self._left is None else self._plain()
            if is_last:
                self.state = "whole"
                return "end", data
            return ("body", data) if data else None
        return None

    # -- the head -------------------------------------------------------------------------------
    def _head(self) -> Head | None:
        limit = self._limits.head_bytes
        end = self._buffer.find(_END, 0, limit + len(_END))
        if end < 0 or end > limit:
            if _BARE_LF.search(self._buffer[:limit]):
                raise Malformed(reason="a line ends without a carriage return")
            if len(self._buffer) > limit:
                raise HeadTooLarge(limit=f"{limit} bytes")
            if self._buffer.startswith((b"\r", b"\n")):
                raise Malformed(reason="it begins with an empty line")
            return None
        data = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END)]
        head = read_head(data, self._limits)
        self._left, self._seen, self._in_chunk = head.length, 0, 0
        self._is_chunk_open = False
        self.state = "whole" if head.length == 0 else "body"
        return head

    # -- the body -------------------------------------------------------------------------------
    def _plain(self) -> tuple[bytes, bool]:
        assert self._left is not None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        return data, self._left == 0

    def _chunks(self) -> tuple[bytes, bool]:
        """What has come of the chunks, as chunks of our own making."""
        out = bytearray()
        while self._buffer:
            if self._in_chunk:
                piece = bytes(self._buffer[: self._in_chunk])
                del self._buffer[: len(piece)]
                self._in_chunk -= len(piece)
                self._is_chunk_open = self._in_chunk == 0
                out += b"%x\r\n%b\r\n" % (len(piece), piece)
            elif self._is_chunk_open:
                if len(self._buffer) < 2:
                    break
                if not self._buffer.startswith(b"\r\n"):
                    raise Malformed(reason="a chunk is longer than it says")
                del self._buffer[:2]
                self._is_chunk_open = False
            else:
                length = self._chunk_size()
                if length is None:
                    break
                if length == 0:
                    return bytes(out + b"0\r\n\r\n"), True
                self._in_chunk = length
        return bytes(out), False

    def _chunk_size(self) -> int | None:
        """The size of the next chunk, with the end of the last one read too."""
        found = _CHUNK.match(self._buffer)
        if found is None:
            if not _CHUNK_BEGINS.match(self._buffer):
                raise Malformed(reason="the size of a chunk is not a plain number")
            return None
        length = int(found[1], 16)
        end = found.end()
        if length == 0:
            if len(self._buffer) < end + 2:
                return None
            if self._buffer[end : end + 2] != b"\r\n":
                raise Malformed(reason="fields after the last chunk are not taken")
            end += 2
        self._seen += length
        if self._seen > self._limits.body_bytes:
            raise TooLarge(limit=self._limits.body_bytes)
        del self._buffer[:end]
        return length


def read_head(data: bytes, limits: Limits) -> Head:
    """The head in `data` (without the empty line). Raises `HttpError`."""
    first, *lines = data.split(b"\r\n")
    request = _REQUEST.match(first)
    if request is None:
        raise Malformed(reason="its first line is none of HTTP/1.1")
    method, target = request[1], request[2]
    if len(lines) > limits.headers:
        raise HeadTooLarge(limit=f"{limits.headers} fields")
    fields: dict[bytes, list[bytes]] = {}
    kept = [first]
    for line in lines:
        field = _FIELD.match(line)
        if field is None:
            raise Malformed(reason="a line of its head is no field")
        name = field[1].lower()
        fields.setdefault(name, []).append(field[2])
        # Nothing is upgraded here; the parser behind must not believe otherwise.
        if name not in (b"upgrade", b"http2-settings"):
            kept.append(line)
    if len(fields.get(b"host", ())) != 1 or not fields[b"host"][0]:
        raise Malformed(reason="it must have one Host field")
    if method not in METHODS:
        shown = method.decode()
        raise MethodNotAllowed(method=shown, allow=b", ".join(METHODS).decode())
    if not target.startswith(b"/") or b"#" in target:
        raise Malformed(reason="its target is not a path")
    if any(b"websocket" in value.lower() for value in fields.get(b"upgrade", ())):
        raise NotFound("No WebSocket is served here.")
    if any(value.lower() != b"100-continue" for value in fields.get(b"expect", ())):
        raise ExpectationFailed()
    length = _length(fields, is_old=request[3] == b"0", limits=limits)
    return Head(b"\r\n".join(kept) + _END, method, target, length)


def _length(fields: dict[bytes, list[bytes]], *, is_old: bool, limits: Limits) -> int | None:
    """The body's length; None for chunks."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if codings:
        if lengths:
            raise Malformed(reason="it has a Content-Length beside a Transfer-Encoding")
        if is_old or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Malformed(reason="the only Transfer-Encoding is chunked")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.match(lengths[0]):
        raise Malformed(reason="its Content-Length is not one plain number")
    length = int(lengths[0])
    if length > limits.body_bytes:
        raise TooLarge(limit=limits.body_bytes)
    return length
