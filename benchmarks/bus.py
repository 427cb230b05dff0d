"""Request latency and throughput of the bus beside a bare `websockets` JSON echo, in one run.

The plug-in (this project's SDK) and the echo (`websockets` and the standard library's `json`, its
default settings but compression off) each run in a process of their own; this process asks. Rounds
alternate, so that a noisy machine hurts both alike. Run it with `python benchmarks/bus.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from bkg_workbench.bus.clock import SystemClock
from bkg_workbench.bus.hub import Hub
from bkg_workbench.bus.identity import OWNER, Tokens
from bkg_workbench.bus.router import Router
from bkg_workbench.bus.websocket import serve as serve_bus
from bkg_workbench.protocol.envelopes import raw, value

Ask = Callable[[dict[str, Any]], Awaitable[object]]
PAYLOADS = {
    "220 B": {"text": "x" * 150, "n": 1},
    "10 KB": {"rows": [[i, i / 7] for i in range(700)]},
}


class Quiet:
    """A listener that does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


async def echo_process() -> None:
    """The child that echoes JSON and nothing else; says its port on stdout."""

    async def handler(connection: ServerConnection) -> None:
        async for message in connection:
            request = json.loads(message)
            await connection.send(json.dumps({"id": request["id"], "data": request["payload"]}))

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Echo:
    """The asking side of the bare echo: ids to futures, nothing else."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[object]] = {}
        self.count = 0

    async def start(self, port: int) -> None:
        self.socket = await connect(f"ws://127.0.0.1:{port}", compression=None)
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for message in self.socket:
            reply = json.loads(message)
            self.waiting.pop(reply["id"]).set_result(reply["data"])

    async def ask(self, payload: dict[str, Any]) -> object:
        self.count += 1
        future = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.count, "payload": payload}))
        return await future


async def latency(ask: Ask, payload: dict[str, Any], count: int) -> list[float]:
    """Seconds of `count` requests, one after the other."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        await ask(payload)
        taken.append(time.perf_counter() - begin)
    return taken


async def throughput(ask: Ask, payload: dict[str, Any], count: int, width: int = 64) -> float:
    """Requests per second with `width` in flight."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await ask(payload)

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    return count / (time.perf_counter() - begin)


async def measure(rounds: int, count: int) -> None:
    """Print one table."""
    clock, quiet = SystemClock(), Quiet()
    tokens = Tokens(lambda _peer, _host: None)
    router = Router(clock, quiet)
    hub = Hub(clock=clock, listener=quiet, tokens=tokens, router=router, instance="bench")
    hub.start()
    server = await serve_bus(hub.accept, admit=hub.admit)
    router.define("echo", ["echo.x"], [])
    router.expect("echo", True)
    here = [sys.executable, __file__]
    token = tokens.issue("echo", 1)
    plugin = await asyncio.create_subprocess_exec(*here, "--plugin", str(server.port), token)
    bare = await asyncio.create_subprocess_exec(
        *here, "--echo", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert bare.stdout is not None
    echo = Echo()
    await echo.start(int(await bare.stdout.readline()))

    async def ask_bus(payload: dict[str, Any]) -> object:
        return value(await router.call("echo.x", raw(payload), OWNER))

    try:
        for name, payload in PAYLOADS.items():
            assert await ask_bus(payload) == await echo.ask(payload) == payload
            await report(name, payload, {"bus": ask_bus, "bare": echo.ask}, rounds, count)
    finally:
        plugin.terminate()
        await plugin.wait()
        echo.reader.cancel()
        await echo.socket.close()
        await bare.communicate()
        await hub.close()
        await server.close()


async def report(
    name: str, payload: dict[str, Any], asks: dict[str, Ask], rounds: int, count: int
) -> None:
    """Measure and print one payload's rows."""
    taken: dict[str, list[float]] = {key: [] for key in asks}
    rates: dict[str, list[float]] = {key: [] for key in asks}
    for _ in range(rounds):
        for key, ask in asks.items():
            taken[key] += await latency(ask, payload, count // 10)
            rates[key].append(await throughput(ask, payload, count))
    for key in asks:
        ordered = sorted(taken[key])
        p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        rate = statistics.median(rates[key])
        print(
            f"| {name} | {key} | {p50 * 1e6:.0f} | {p99 * 1e6:.0f} | {rate:,.0f} "
            f"| {min(rates[key]):,.0f} to {max(rates[key]):,.0f} |"
        )
    ratios = [one / other for one, other in zip(rates["bus"], rates["bare"], strict=True)]
    print(
        f"| {name} | bus / bare | | | {statistics.median(ratios):.2f} "
        f"| {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def main() -> None:
    """Entry point of this process and of its two children."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=5_000, help="requests per round")
    parser.add_argument("--plugin", nargs=2, metavar=("PORT", "TOKEN"), help=argparse.SUPPRESS)
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo:
        uvloop.run(echo_process())
    elif options.plugin:
        run_plugin(int(options.plugin[0]), options.plugin[1])
    else:
        print("| payload | | p50 µs | p99 µs | requests/s, 64 in flight | spread |")
        print("|---|---|---|---|---|---|")
        uvloop.run(measure(options.rounds, options.count))


def run_plugin(port: int, token: str) -> None:
    """The child that serves `echo.x` through the SDK."""
    os.environ |= {
        "BKG_PLUGIN_BUS_HOST": "127.0.0.1",
        "BKG_PLUGIN_BUS_PORT": str(port),
        "BKG_PLUGIN_BUS_TOKEN": token,
        "BKG_PLUGIN_NAME": "echo",
    }
    from bkg_workbench.sdk import Plugin

    plugin = Plugin("echo")

    @plugin.capability("echo.x", idempotent=True)
    async def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    plugin.run()


if __name__ == "__main__":
    main()
