"""A plug-in on a bare WebSocket that keeps to the protocol, but for the faults that it is given.

    plugin.py [FAULT …]

Started by the tests of the conformance kit; knows nothing of the package under test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

FAULTS = set(sys.argv[1:])
NAME = os.environ["BKG_PLUGIN_NAME"]
URL = f"ws://127.0.0.1:{os.environ['BKG_PLUGIN_BUS_PORT']}"
SCHEMA = {"type": "object", "properties": {"limit": {"type": "integer", "default": 1}}}


def register() -> dict[str, Any]:
    capabilities = ["raw.echo", "raw.count"]
    meta: dict[str, Any] = {
        "protocol": 0 if "seed" in FAULTS else 1,
        "schemas": {
            "raw.echo": {"idempotent": True, "output": {"type": "object"}},
            "raw.count": {"stream": True, "chunk": {"type": "integer"}},
        },
    }
    envelope: dict[str, Any] = {
        "type": "register",
        "plugin": "somebody" if "bad-name" in FAULTS else NAME,
        "port": "internal",
        "capabilities": capabilities,
        "configSchema": SCHEMA,
        "meta": meta,
    }
    if "no-capabilities-field" in FAULTS:
        del envelope["capabilities"]
    if "bad-capability" in FAULTS:
        capabilities.append("Not A Name")
    if "bad-config-schema" in FAULTS:
        envelope["configSchema"] = {"type": "object", "properties": {"a": {"type": "strong"}}}
    if "bad-schema" in FAULTS:
        meta["schemas"]["raw.echo"]["input"] = {"type": 7}
    if "token-in-register" in FAULTS:
        envelope["token"] = os.environ["BKG_PLUGIN_BUS_TOKEN"]
    if "wrong-token" in FAULTS:
        envelope["token"] = "somebody-else's"
    return envelope


class Raw:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.beat_seconds = 10.0
        self.welcomed = asyncio.Event()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, **envelope: Any) -> None:
        await self.socket.send(json.dumps(envelope))

    async def run(self) -> None:
        if "log-first" in FAULTS:
            await self.send(type="log", plugin=NAME, level="info", message="me first")
        if "silent" not in FAULTS:
            await self.socket.send(json.dumps(register()))
        if "early-progress" in FAULTS:
            await self.send(type="progress", requestId="c1", value=1)
        beats = asyncio.create_task(self.beat())
        try:
            await self.chatter()
            async for text in self.socket:
                await self.receive(json.loads(text))
        finally:
            for task in [beats, *self.tasks.values()]:
                task.cancel()

    async def chatter(self) -> None:
        level = "loud" if "bad-log" in FAULTS else "info"
        stamp: Any = "yesterday" if "bad-timestamp" in FAULTS else "2026-01-01T00:00:00Z"
        await self.send(type="log", plugin=NAME, level=level, message="up", timestamp=stamp)
        extra: dict[str, Any] = {"entries": "many"} if "bad-telemetry" in FAULTS else {"entries": 1}
        await self.send(type="telemetry", plugin=NAME, cpu=0.5, mem_bytes=1, **extra)
        if "not-json" in FAULTS:
            await self.socket.send("{nonsense")
        if "binary" in FAULTS:
            await self.socket.send(b"{}")

    async def beat(self) -> None:
        if "no-beat" in FAULTS:
            return
        while True:
            status = "splendid" if "bad-beat" in FAULTS else "up"
            await self.send(type="health", plugin=NAME, status=status)
            if "one-beat" in FAULTS:
                return
            try:
                async with asyncio.timeout(self.beat_seconds):
                    await self.welcomed.wait()
                self.welcomed.clear()
            except TimeoutError:
                pass

    async def receive(self, envelope: dict[str, Any]) -> None:
        match envelope["type"]:
            case "welcome":
                if "own-interval" not in FAULTS:
                    self.beat_seconds = envelope["heartbeatSeconds"]
                self.welcomed.set()
            case "config":
                await self.configure(envelope)
            case "cancel":
                await self.cancel(envelope["requestId"])
            case "request":
                if "dies-of-odd" in FAULTS and not isinstance(envelope.get("payload"), dict):
                    os._exit(3)
                if "dies-of-huge" in FAULTS and len(str(envelope)) > 1_000_000:
                    os._exit(3)
                task = asyncio.create_task(self.serve(envelope))
                self.tasks[envelope["requestId"]] = task
            case _ if "answers-unknown" in FAULTS:
                await self.respond(envelope["requestId"], success=True, data=None)

    async def configure(self, envelope: dict[str, Any]) -> None:
        if "no-config" in FAULTS:
            return
        if not isinstance(envelope["settings"].get("limit", 1), int):
            await self.respond(
                envelope["requestId"], success=False, error="no", code="config_invalid"
            )
            return
        data = "done" if "odd-config" in FAULTS else {"applied": "live"}
        await self.respond(envelope["requestId"], success=True, data=data)

    async def cancel(self, request_id: str) -> None:
        if "answers-cancel" in FAULTS:
            await self.respond(request_id, success=False, error="cancelled")
            return
        task = self.tasks.get(request_id)
        if "drops-cancelled" in FAULTS and task is not None:
            task.cancel()

    async def respond(self, request_id: str, **fields: Any) -> None:
        if "wrong-id" in FAULTS:
            request_id = f"x{request_id}"[:64]
        envelope = {"type": "response", "requestId": request_id, **fields}
        await self.send(**envelope)
        if "twice" in FAULTS:
            await self.send(**envelope)

    async def serve(self, request: dict[str, Any]) -> None:
        # Long enough for a cancel that is sent right after the request to come first.
        await asyncio.sleep(1.0 if "drops-cancelled" in FAULTS else 0.01)
        request_id, name = request["requestId"], request["capability"]
        if name == "raw.echo":
            payload = request.get("payload")
            data = payload if isinstance(payload, dict) else {"text": payload}
            if "bad-output" in FAULTS:
                data = 7  # type: ignore[assignment]
            await self.respond(request_id, success=True, data=data)
        elif name == "raw.count":
            await self.count(request)
        elif "mute-unknown" not in FAULTS:
            error = {} if "no-sentence" in FAULTS else {"error": f"no {name} here"}
            await self.respond(request_id, success=False, **error)

    async def count(self, request: dict[str, Any]) -> None:
        numbers = [0, 2, 3] if "gap" in FAULTS else [0, 1, 2]
        streams = request.get("stream") or "always-streams" in FAULTS
        for number in numbers if streams else ():
            await self.send(type="chunk", requestId=request["requestId"], seq=number, data=number)
        if "endless-stream" in FAULTS and streams:
            return
        await self.respond(request["requestId"], success=True, data={"counted": 3})
        if "late-chunk" in FAULTS and streams:
            await self.send(type="chunk", requestId=request["requestId"], seq=3, data=3)


async def main() -> int:
    if "no-config-file" not in FAULTS:
        json.loads(Path(os.environ["BKG_PLUGIN_CONFIG_PATH"]).read_bytes())
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    if "ignores-term" in FAULTS:
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
    else:
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
    headers = {"Origin": "http://elsewhere"} if "origin" in FAULTS else {}
    if "bearer" in FAULTS:
        headers["Authorization"] = f"Bearer {os.environ['BKG_PLUGIN_BUS_TOKEN']}"
    options: dict[str, Any] = {"max_size": None, "proxy": None}
    path = "/attach" if "attach" in FAULTS else "/bus"
    async with connect(URL + path, additional_headers=headers, **options) as socket:
        running = asyncio.create_task(Raw(socket).run())
        asking = asyncio.create_task(stopped.wait())
        await asyncio.wait({running, asking}, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        if not running.done():
            running.cancel()
        try:
            await running
        except (asyncio.CancelledError, ConnectionClosed):
            pass
    if "stays" in FAULTS:
        await stopped.wait()
    return 7 if "exit-code" in FAULTS else 0


sys.exit(asyncio.run(main()))
