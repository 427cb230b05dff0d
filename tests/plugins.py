"""Plug-ins that tests write into a workspace: real `start.sh`, real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEMO = """
import asyncio
from typing import Annotated, Any

from bkg_workbench.sdk import Context, InvalidParams, Meta, Plugin, Secret, Settings, Struct


class DemoSettings(Settings):
    greeting: Annotated[str, Meta(min_length=1, description="How to greet")] = "Hello"
    times: Annotated[int, Meta(ge=1, le=9)] = 1
    password: Secret = ""


class Greet(Struct, forbid_unknown_fields=True):
    name: str


plugin = Plugin("demo", settings=DemoSettings, version="1.2")


@plugin.on_config
def apply(new: Any, old: Any) -> None:
    pass


@plugin.capability("demo.greet", idempotent=True)
async def greet(payload: Greet, context: Context) -> dict[str, Any]:
    context.log.info("greeting %s", payload.name)
    return {"text": " ".join([context.settings.greeting] * context.settings.times + [payload.name])}


@plugin.capability("demo.count", stream=True)
async def count(payload: dict[str, Any]) -> Any:
    for number in range(payload["to"]):
        yield {"number": number}


@plugin.capability("demo.slow")
async def slow(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    await context.progress(1, total=2, message="half")
    await asyncio.sleep(payload.get("seconds", 30))
    return {"done": True}


@plugin.capability("demo.fail")
async def fail(payload: dict[str, Any]) -> None:
    if payload.get("how") == "params":
        raise InvalidParams(capability="demo.fail", errors={"/how": "not that"})
    raise ZeroDivisionError("secret detail")


@plugin.capability("demo.die")
async def die(payload: dict[str, Any]) -> None:
    import os

    os._exit(payload.get("code", 3))


if __name__ == "__main__":
    plugin.run()
"""

CAPABILITIES = ["demo.greet", "demo.count", "demo.slow", "demo.fail", "demo.die"]


def write_plugin(
    workspace: Path,
    name: str = "demo",
    code: str = DEMO,
    start: str = '#!/bin/sh\nexec "$BKG_PYTHON" plugin.py\n',
    **definition: Any,
) -> dict[str, Any]:
    """Write a plug-in's folder and add its definition to plugins.json; gives the definition."""
    folder = workspace / "plugins" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.py").write_text(code)
    (folder / "start.sh").write_text(start)
    (folder / "start.sh").chmod(0o755)
    mirror = workspace / "plugins" / "plugins.json"
    entry = {"name": name, "capabilities": CAPABILITIES if code == DEMO else [], **definition}
    entries = [e for e in json.loads(mirror.read_text()) if e["name"] != name]
    mirror.write_text(json.dumps([*entries, entry], indent=2) + "\n")
    return entry
