"""Plug-ins of the gateway's tests: one that knows tokens, and one that speaks OpenAI's forms."""

from __future__ import annotations

TOKENS = {
    "admin": "bkg_0123456789ab_admin",
    "reader": "bkg_0123456789ab_reader",
    "greeter": "bkg_0123456789ab_greeter",
    "chatter": "bkg_0123456789ab_chatter",
    "nobody": "bkg_0123456789ab_nobody",
}

APIKEYS_CAPABILITIES = [
    "auth.login", "auth.validate", "auth.listKeys", "auth.createKey", "auth.revokeKey",
]  # fmt: skip

APIKEYS = """
import asyncio
import os
from typing import Any

from bkg_workbench.sdk import Context, Overloaded, Plugin, Unauthenticated

plugin = Plugin("apikeys")
SCOPES = {
    "admin": ["admin"],
    "reader": ["host.read"],
    "greeter": ["demo.greet", "demo.count"],
    "chatter": ["llm.chat", "llm.embed", "llm.models"],
    "nobody": [],
}
keys: dict[str, dict[str, Any]] = {}
mode: dict[str, Any] = {}


@plugin.capability("auth.validate", idempotent=True)
async def validate(payload: dict[str, Any]) -> dict[str, Any]:
    how = mode.get("how")
    if how == "slow":
        await asyncio.sleep(60)
    if how == "busy":
        raise Overloaded("This key was used too often.", retryAfterSeconds=7)
    if how == "nonsense":
        return {"user": 1}
    if how == "die":
        os._exit(3)
    token = payload["token"]
    user = token.removeprefix("bkg_0123456789ab_")
    if token in keys:
        return {"user": keys[token]["user"], "scopes": keys[token]["scopes"], "expires_at": None}
    if user == token or user not in SCOPES:
        raise Unauthenticated("The secret of this token is wrong in its third letter.")
    return {"user": user, "scopes": SCOPES[user], "expires_at": None, "keyId": "0123456789ab"}


@plugin.capability("auth.login")
async def login(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("password") == "mode":
        mode["how"] = payload["username"]
        return {}
    if payload.get("password") != "open sesame":
        raise Unauthenticated("Wrong name or password.")
    user = payload["username"]
    return {"token": f"bkg_0123456789ab_{user}", "user": user, "scopes": SCOPES[user]}


@plugin.capability("auth.createKey")
async def create(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    identity = f"key{len(keys)}"
    token = f"bkg_key_{identity}"
    keys[token] = {"id": identity, "user": payload["user"], "scopes": payload["scopes"]}
    return {**keys[token], "token": token, "by": context.caller.user}


@plugin.capability("auth.listKeys")
async def listed(payload: dict[str, Any]) -> list[dict[str, Any]]:
    return list(keys.values())


@plugin.capability("auth.revokeKey")
async def revoke(payload: dict[str, Any]) -> dict[str, Any]:
    return {"revoked": keys.pop(f"bkg_key_{payload['id']}", None) is not None}


if __name__ == "__main__":
    plugin.run()
"""

LLM_CAPABILITIES = ["llm.chat", "llm.embed", "llm.models"]

LLM = """
import asyncio
import base64
import os
import struct
from typing import Any

from bkg_workbench.sdk import Closing, Context, InvalidParams, Plugin

plugin = Plugin("llmserver")
open_streams = 0
cancelled = 0


def chunk(number: int, **delta: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "echo",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


@plugin.capability("llm.chat", stream=True)
async def chat(payload: dict[str, Any], context: Context) -> Any:
    global open_streams, cancelled
    if not payload.get("messages"):
        raise InvalidParams(capability="llm.chat", errors={"/messages": "there is none"})
    words = payload["messages"][-1]["content"].split()
    open_streams += 1
    try:
        for number, word in enumerate(words):
            if word == "DIE":
                os._exit(3)
            if word == "FAIL":
                raise InvalidParams(capability="llm.chat", errors={"/messages": "FAIL"})
            if word == "FOREVER":
                for turn in range(10**9):
                    yield chunk(turn, content="x" * payload.get("size", 1))
                    await asyncio.sleep(payload.get("pause", 0.01))
            if word == "SILENT":
                await asyncio.sleep(3600)
            yield chunk(number, content=word + " ")
        yield Closing({"usage": {"total_tokens": len(words)}})
    except (asyncio.CancelledError, GeneratorExit):
        cancelled += 1
        raise
    finally:
        open_streams -= 1


@plugin.capability("llm.embed")
async def embed(payload: dict[str, Any]) -> dict[str, Any]:
    if payload["input"] == "streams":
        vector: Any = [float(open_streams), float(cancelled)]
    else:
        vector = [0.5, -0.25]
    if payload.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    return {"object": "list", "data": data, "model": "echo", "usage": {"total_tokens": 1}}


@plugin.capability("llm.models")
async def models(payload: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "echo", "object": "model", "owned_by": "us"}]}


if __name__ == "__main__":
    plugin.run()
"""
