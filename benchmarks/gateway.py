"""What a request over HTTP costs, beside a bare Starlette route. No assertion: figures only.

    python benchmarks/gateway.py [SECONDS]

SECONDS is the length of each round (3); with 0 only the cost of `auth.validate` is measured.
One Host process with its gateway, the shipped apikeys and a small plug-in. In the same process and
loop, behind the same connections (`gateway.wire`), a bare Starlette application answers as many
bytes. This process is the load: 32 connections, each with one request at a time. The kinds of
request take turns; shown are the medians of the rounds and their spread.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CONNECTIONS, ROUNDS = 32, 5
PASSWORD = "a benchmark's own password"
PLUGIN = """
from typing import Any
from bkg_workbench.sdk import Plugin

plugin = Plugin("echo")


@plugin.capability("echo.say")
async def say(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


if __name__ == "__main__":
    plugin.run()
"""


# -- the Host's process ---------------------------------------------------------------------------
def serve(place: Path) -> None:
    """A Host and a bare Starlette application; prints their ports, ends with its input."""
    from bkg_workbench.host.host import Host

    with Host(place) as host:
        while {p.state for p in host.state.plugins.values()} != {"running"}:
            time.sleep(0.05)
        while host.engine.api.gateway is None:
            time.sleep(0.05)
        port = next(p.port for p in host.state.ports if p.name == "gateway")
        bare = host._portal.run(_bare())
        session = host.call("auth.login", {"username": "admin", "password": PASSWORD})
        ports = {"gateway": port, "bare": bare.sockets[0].getsockname()[1]}
        print(json.dumps({**ports, "token": session["token"]}), flush=True)
        for line in sys.stdin:
            if line.strip().isdigit():
                print(json.dumps(_validates(host, int(line))), flush=True)
        bare.close()


async def _bare() -> asyncio.Server:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from bkg_workbench.gateway.limits import Limits
    from bkg_workbench.gateway.wire import Crowd, Wire

    listed = {"plugins": [{"name": f"p{n}", "text": "x" * 600} for n in range(2)]}

    async def read(_: Request) -> JSONResponse:
        return JSONResponse(listed)

    async def say(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    app = Starlette(routes=[Route("/read", read), Route("/say", say, methods=["POST"])])
    config = Config(app, loop="none", ws="none", lifespan="off", log_config=None, access_log=False,
                    proxy_headers=False)  # fmt: skip
    config.load()
    state, crowd = ServerState(), Crowd(Limits())
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Wire(config, state, crowd), "127.0.0.1", 0)


def _validates(host: Any, count: int) -> dict[str, Any]:
    """Make keys until there are so many, and ask who the last one belongs to, again and again."""
    known = len(host.call("auth.listKeys", {}, timeout=600))

    async def make(number: int) -> str:
        asked = {"user": "admin", "scopes": ["echo.say"], "label": f"key {number}"}
        return str((await host.acall("auth.createKey", asked, timeout=600))["token"])

    async def run() -> dict[str, Any]:
        token = ""
        for first in range(known, count, 32):
            tokens = [make(number) for number in range(first, min(first + 32, count))]
            token = (await asyncio.gather(*tokens))[-1]
        payload = {"token": token, "method": "POST", "path": "/api/capabilities/echo.say"}
        times = []
        for _ in range(2000):
            begun = time.perf_counter()
            await host.acall("auth.validate", payload)
            times.append(time.perf_counter() - begun)
        times.sort()
        return {"p50": times[1000] * 1e6, "p99": times[1980] * 1e6}

    return dict(host._portal.run(run()))


# -- the load -------------------------------------------------------------------------------------
class Client(asyncio.Protocol):
    """One connection: the next request goes out when the answer is in."""

    def __init__(self, data: bytes, end: float, times: list[float]) -> None:
        self._data, self._end, self._times = data, end, times
        self._buffer, self._need, self._begun = b"", 0, 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need:
            head, mark, _ = self._buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(RuntimeError(self._buffer[:400].decode()))
                self._transport.close()
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self._need = len(head) + 4 + length
        if len(self._buffer) < self._need:
            return
        now = time.perf_counter()
        self._times.append(now - self._begun)
        self._buffer, self._need = b"", 0
        if now < self._end:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, data: bytes, seconds: float) -> tuple[float, float]:
    """(requests a second, p99 in ms)."""
    loop, times = asyncio.get_running_loop(), []
    begun = time.perf_counter()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(
            lambda: Client(data, begun + seconds, times), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    took = time.perf_counter() - begun
    times.sort()
    return len(times) / took, times[int(len(times) * 0.99)] * 1000


def request(method: str, path: str, port: int, token: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def lay_out(place: Path) -> None:
    """A workspace with the shipped apikeys and a plug-in that gives back what it gets."""
    plugins = place / "plugins"
    plugins.mkdir()
    shutil.copytree(ROOT / "plugins" / "apikeys", plugins / "apikeys")
    (plugins / "echo").mkdir()
    (plugins / "echo" / "plugin.py").write_text(PLUGIN)
    (plugins / "echo" / "start.sh").write_text('#!/bin/sh\nexec "$BKG_PYTHON" plugin.py\n')
    (plugins / "echo" / "start.sh").chmod(0o755)
    shipped = json.loads((ROOT / "plugins" / "plugins.json").read_text())
    apikeys = next(one for one in shipped if one["name"] == "apikeys")
    echo = {"name": "echo", "autostart": True, "capabilities": ["echo.say"]}
    (plugins / "plugins.json").write_text(json.dumps([{**apikeys, "autostart": True}, echo]))


async def measure(ports: dict[str, Any], seconds: float) -> None:
    """Print the figures of the four kinds of request."""
    body = json.dumps({"text": "x" * 200}).encode()
    bare, ours, token = ports["bare"], ports["gateway"], ports["token"]
    kinds = {
        "bare Starlette, GET": (bare, request("GET", "/read", bare, "")),
        "GET /api/plugins": (ours, request("GET", "/api/plugins", ours, token)),
        "bare Starlette, POST": (bare, request("POST", "/say", bare, "", body)),
        "POST /api/capabilities/echo.say": (
            ours, request("POST", "/api/capabilities/echo.say", ours, token, body),
        ),
    }  # fmt: skip
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    tails: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(ROUNDS + 1):
        for kind, (port, data) in kinds.items():
            rate, tail = await load(port, data, seconds)
            if turn:  # the first round warms up
                rates[kind].append(rate)
                tails[kind].append(tail)
    base = ""
    print(f"{'':34}{'requests/s':>12}{'spread':>16}{'p99 ms':>9}{'of bare':>9}")
    for kind, found in rates.items():
        base = kind if kind.startswith("bare") else base
        ratio = statistics.median(a / b for a, b in zip(found, rates[base], strict=True))
        spread = f"{min(found):,.0f}–{max(found):,.0f}"
        tail = statistics.median(tails[kind])
        print(f"{kind:34}{statistics.median(found):12,.0f}{spread:>16}{tail:9.1f}{ratio:9.2f}")


def main(seconds: float) -> None:
    """Start the Host, load it, and end it."""
    with tempfile.TemporaryDirectory(prefix="bkg-benchmark-") as place:
        lay_out(Path(place))
        environment = {**os.environ, "ADMIN_PASSWORD": PASSWORD, "BKG_API_PORT": "0",
                       "BKG_PLUGIN_BUS_PORT": "0"}  # fmt: skip
        host = subprocess.Popen(
            [sys.executable, __file__, "serve", place], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert host.stdin is not None
        assert host.stdout is not None
        try:
            ports = json.loads(host.stdout.readline())
            if seconds:
                asyncio.run(measure(ports, seconds))
            print("\nauth.validate over the bus, one after another")
            for count in (1, 100, 10_000):
                host.stdin.write(f"{count}\n")
                host.stdin.flush()
                found = json.loads(host.stdout.readline())
                print(f"{count:>7,} keys: p50 {found['p50']:6.0f} µs, p99 {found['p99']:6.0f} µs")
        finally:
            host.stdin.close()
            host.wait(timeout=60)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
