"""WebSocket channels: what is refused before a WebSocket exists, and what closes one."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.bus.websocket import ConnectFailed, connect
from bkg_workbench.errors import Unauthenticated
from bkg_workbench.protocol.envelopes import (
    Cancel,
    Error,
    Health,
    Register,
    Request,
    Response,
    Welcome,
    encode,
    raw,
    value,
)
from tests.bus.hubs import Peer0, bus, register
from tests.helpers import aeventually


async def handshake(port: int, path: str = "/bus", **headers: str) -> int:
    """The HTTP status of a raw handshake with these headers (`None` leaves one out)."""
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def drained(socket: ClientConnection) -> None:
    """Read until the socket closes; raises `ConnectionClosed`."""
    while True:
        await socket.recv()


@pytest.mark.row("B1", "B2")
async def test_a_web_page_is_refused_before_a_websocket_exists() -> None:
    async with bus() as b:
        port = await b.listen()
        for origin in ("https://evil.example", "null", f"http://localhost:{port}"):
            assert await handshake(port, Origin=origin) == 403
        assert await handshake(port, Host=f"evil.example:{port}") == 403
        assert await handshake(port, Host="127.0.0.1:1") == 403
        assert await handshake(port, path="/admin") == 404
        assert await handshake(port, path="/attach") == 401
        assert await handshake(port, Authorization="Bearer nonsense") == 401
        assert await handshake(port, Authorization="Basic Zm9v") == 401
        assert await handshake(port) == 101
        assert await handshake(port, path="/", Host=f"localhost:{port}") == 101


async def test_a_plugin_works_over_a_websocket() -> None:
    async with bus() as b:
        await b.listen()
        token = b.define("a", "a.x")
        peer = await register(await b.dial_tcp(token), "a", "a.x")
        assert isinstance(await peer.read(), Welcome)
        asking = asyncio.create_task(b.call("a.x", {"text": "ä" * 100_000}))
        request = await peer.read_until(Request)
        data = value(request.payload)
        await peer.send(Response(request_id=request.request_id, success=True, data=raw(data)))
        assert await asking == data
        await peer.channel.close()
        await aeventually(lambda: b.witness.losses)


async def test_the_token_may_come_in_register_instead() -> None:
    async with bus() as b:
        await b.listen()
        token = b.define("a", "a.x")
        channel = await b.dial_tcp(None)
        frame = Register(plugin="a", port=1, capabilities=["a.x"], token=token)
        await channel.send(encode(frame))
        await channel.send(b'{"type":"health","plugin":"a","status":"up"}')
        await aeventually(lambda: b.witness.beats)
        await channel.close()


@pytest.mark.row("B4")
async def test_without_a_token_a_stranger_is_refused_with_4401() -> None:
    async with bus() as b:
        await b.listen()
        b.define("a", "a.x")
        peer = await register(await b.dial_tcp(None), "a", "a.x")
        assert isinstance(await peer.read(), Error)
        with pytest.raises(ChannelClosed) as caught:
            await peer.read()
        assert caught.value.code == 4401


@pytest.mark.row("B3")
async def test_a_wrong_token_is_told_as_such() -> None:
    async with bus() as b:
        await b.listen()
        with pytest.raises(Unauthenticated):
            await b.dial_tcp("wrong", "/attach")
        with pytest.raises(ConnectFailed):
            await connect("ws://127.0.0.1:1/bus")


@pytest.mark.row("B16", "B20", "B21", "J5")
async def test_sizes_and_kinds_of_frames_are_bounded() -> None:
    async with bus() as b:
        port = await b.listen()
        token = b.define("a", "a.x")
        url, headers = f"ws://127.0.0.1:{port}/bus", {"Authorization": f"Bearer {token}"}
        # Only who brings a valid token may say more than 64 KiB before it is registered.
        sent: list[tuple[str | bytes, dict[str, str], int]] = [
            ("x" * 65_537, {}, 1009),
            ("x" * 65_537, headers, 4400),
            (b"\x00binary", headers, 1003),
        ]
        for message, with_token, code in sent:
            async with ws_connect(url, additional_headers=with_token) as socket:
                await socket.send(message)
                with pytest.raises(ConnectionClosed) as caught:
                    await drained(socket)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == code
        async with ws_connect(url, additional_headers=headers, compression="deflate") as socket:
            assert "Sec-WebSocket-Extensions" not in socket.response.headers


@pytest.mark.row("B17")
async def test_at_most_16_peers_wait_unregistered() -> None:
    async with bus() as b:
        port = await b.listen()
        token = b.define("a", "a.x")
        url, headers = f"ws://127.0.0.1:{port}/bus", {"Authorization": f"Bearer {token}"}
        sockets = [await ws_connect(url, additional_headers=headers) for _ in range(16)]
        await aeventually(lambda: b.hub.unregistered == 16)
        with pytest.raises(InvalidStatus) as caught:
            await ws_connect(url, additional_headers=headers)
        assert caught.value.response.status_code == 503
        for socket in sockets:
            await socket.close()
        await aeventually(lambda: b.hub.unregistered == 0)


async def test_an_attached_client_hears_who_the_host_is_and_may_ask() -> None:
    async with bus() as b:
        await b.listen()
        token = b.define("a", "a.x")
        plugin = await register(await b.dial_tcp(token), "a", "a.x")
        client = Peer0(await b.dial_tcp(b.tokens.issue_client("client"), "/attach"))
        welcome = await client.read()
        assert isinstance(welcome, Welcome)
        assert welcome.instance == "test"
        await client.send(Request(request_id="q", capability="a.x", payload=raw([1, 2])))
        request = await plugin.read_until(Request)
        await plugin.send(
            Response(request_id=request.request_id, success=True, data=request.payload)
        )
        answer = await client.read_until(Response)
        assert (answer.request_id, value(answer.data)) == ("q", [1, 2])
        await client.send(Health(plugin="a", status="up"))
        assert (await client.read_until(Error)).code == "protocol_error"
        await client.channel.close()
        await aeventually(lambda: not b.hub.clients)
        await plugin.channel.close()


async def test_a_client_that_goes_away_cancels_its_requests() -> None:
    async with bus() as b:
        await b.listen()
        token = b.define("a", "a.x")
        plugin = await register(await b.dial_tcp(token), "a", "a.x")
        client = Peer0(await b.dial_tcp(b.tokens.issue_client("client"), "/attach"))
        await client.send(Request(request_id="q", capability="a.x"))
        request = await plugin.read_until(Request)
        await client.channel.close()
        assert (await plugin.read_until(Cancel)).request_id == request.request_id
        await plugin.channel.close()
