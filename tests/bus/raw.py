"""Peers that no library would be: frames by hand, and a wire that can go dead."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TEXT, CONT, CLOSE, PING = 0x1, 0x0, 0x8, 0x9


def frame(
    data: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
    says: int | None = None,
) -> bytes:
    """One WebSocket frame; `says` is the length that it claims, whatever it has."""
    size = len(data) if says is None else says
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    mark = 0x80 if masked else 0
    if size < 126:
        head += bytes([mark | size])
    elif size < 65_536:
        head += bytes([mark | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mark | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + data
    return head + bytes(4) + data  # a mask of zeros leaves the data as it is


class Raw:
    """A TCP connection that has said its handshake, or is to say it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, port: int) -> Raw:
        """Connect and say nothing."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def open(cls, port: int, token: str | None = None, **headers: str) -> Raw:
        """A WebSocket after its handshake."""
        raw = await cls.dial(port)
        raw.writer.write(handshake(port, token, **headers))
        status = await raw.status()
        assert status == 101, status
        return raw

    async def status(self) -> int:
        """The status of the answer to the handshake; 0 where the connection just ended."""
        head = await asyncio.wait_for(self._head(), 20)
        return int(head.split()[1]) if head else 0

    async def _head(self) -> bytes:
        lines = b""
        while line := await self.reader.readline():
            lines += line
            if line == b"\r\n":
                break
        return lines

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close_code(self, seconds: float = 10.0) -> int | None:
        """The code of the close frame that comes; None where the connection ends without one."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    first, size = await self.reader.readexactly(2)
                    if size == 126:
                        (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                    elif size == 127:
                        (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                    data = await self.reader.readexactly(size)
                    if first & 0xF == CLOSE:
                        return int(struct.unpack("!H", data[:2])[0])
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def ended(self, seconds: float = 10.0) -> None:
        """Read until the other side ends the connection."""
        async with asyncio.timeout(seconds):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass

    async def close(self) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


def handshake(port: int, token: str | None = None, **headers: str) -> bytes:
    """The bytes of a handshake for /bus."""
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **({} if token is None else {"Authorization": f"Bearer {token}"}),
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    return f"GET /bus HTTP/1.1\r\n{head}\r\n".encode()


class Wire:
    """A port that passes everything on to another one, until it is cut.

    Then nothing passes any more, and neither end is told.
    """

    def __init__(self, target: int) -> None:
        self.port, self.target = 0, target
        self.passing = asyncio.Event()
        self.passing.set()

    def cut(self) -> None:
        self.passing.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self.passing.wait()
                # The bus looks at the port in `Host`.
                said, meant = (b"Host: 127.0.0.1:%d" % n for n in (self.port, self.target))
                writer.write(data.replace(said, meant, 1))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A wire to a port of this machine."""
    made, tasks = Wire(port), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(made._pass(reader, far_writer), made._pass(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the server would report it as an error
        finally:
            for one in (writer, far_writer):
                one.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def resident_bytes() -> int:
    """What this process has in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
