"""`/v1`: OpenAI's forms over `llm.*`, for clients that know nothing of the workbench.

Owns the form of streamed chat (`data: {chunk}` … `data: [DONE]`) and of the list of models. The
bodies of requests and answers are the capabilities' own, which are OpenAI's already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bkg_workbench.errors import WorkbenchError
from bkg_workbench.gateway.door import encoded, plain
from bkg_workbench.gateway.errors import as_openai
from bkg_workbench.gateway.exchange import Exchange
from bkg_workbench.gateway.streams import Pipe, event, serve
from bkg_workbench.protocol.envelopes import value

if TYPE_CHECKING:
    from bkg_workbench.gateway.answers import Answers

CHAT_SECONDS = 600.0
EMBED_SECONDS = 120.0
DONE = b"data: [DONE]\n\n"


class OpenAi:
    """The handlers of `/v1`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def chat(self, exchange: Exchange) -> None:
        """A chat completion, whole or in chunks."""
        asked, payload = await exchange.object()
        timeout = exchange.timeout(CHAT_SECONDS)
        if asked.get("stream") is not True:
            result = await self._answers.call(exchange, "llm.chat", payload, timeout=timeout)
            await exchange.answer(encoded(result))
            return
        chunks = _Chunks(exchange, asked)
        await serve(
            exchange,
            chunks.pipe,
            self._answers.call(exchange, "llm.chat", payload, timeout=timeout, on_chunk=chunks.add),
            last=chunks.last,
            failed=lambda error: _failed(error, exchange),
        )

    async def embed(self, exchange: Exchange) -> None:
        """Embeddings; `encoding_format` is the provider's to follow."""
        _, payload = await exchange.object()
        timeout = exchange.timeout(EMBED_SECONDS)
        result = await self._answers.call(exchange, "llm.embed", payload, timeout=timeout)
        await exchange.answer(encoded(result))

    async def models(self, exchange: Exchange) -> None:
        """The list of models."""
        result = await self._answers.call(exchange, "llm.models", msgspec.Raw(b"{}"), timeout=30.0)
        found = plain(result)
        listed = found.get("data", found.get("models", [])) if isinstance(found, dict) else found
        models = [_model(one) for one in listed] if isinstance(listed, list) else []
        await exchange.answer(msgspec.json.encode({"object": "list", "data": models}))


def _model(one: Any) -> dict[str, Any]:
    """A model as OpenAI lists it, with what else its provider says of it."""
    told = one if isinstance(one, dict) else {"id": str(one)}
    return {"object": "model", "created": 0, "owned_by": "bkg-workbench", **told}


class _Chunks:
    """The chunks of one streamed chat on their way."""

    def __init__(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        options = asked.get("stream_options")
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._last: bytes = b"{}"
        self._has_usage = False
        self.pipe = Pipe(exchange.limits.unread_bytes, "llm.chat")

    def add(self, data: msgspec.Raw) -> None:
        """One piece of the provider's; one that answered whole is cut into chunks here."""
        chunk = bytes(data)
        if b'"chat.completion"' in chunk and _is_whole(found := value(data)):
            for piece in _cut(found):
                self._put(msgspec.json.encode(piece))
            self._put_usage(found, found.get("usage"))
            return
        self._put(chunk)

    def _put(self, chunk: bytes) -> None:
        self._last = chunk
        if b'"usage":{' in chunk.replace(b" ", b""):
            self._has_usage = True
        self.pipe.add(event(None, chunk))

    def _put_usage(self, like: dict[str, Any], usage: Any) -> None:
        if self._wants_usage and not self._has_usage and isinstance(usage, dict):
            self._put(msgspec.json.encode({**_head(like), "choices": [], "usage": usage}))

    def last(self, closing: Any) -> bytes:
        """The usage that was asked for, and the mark of the end."""
        told = plain(closing)
        if isinstance(told, dict) and self._wants_usage and not self._has_usage:
            like = msgspec.json.decode(self._last)
            usage = told.get("usage", told if "total_tokens" in told else None)
            if isinstance(like, dict) and isinstance(usage, dict):
                shown = {**_head(like), "choices": [], "usage": usage}
                return event(None, msgspec.json.encode(shown)) + DONE
        return DONE


def _is_whole(found: Any) -> bool:
    return isinstance(found, dict) and found.get("object") == "chat.completion"


def _head(like: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: like[key] for key in ("id", "created", "model") if key in like}
    return {**kept, "object": "chat.completion.chunk"}


def _cut(completion: dict[str, Any]) -> list[dict[str, Any]]:
    """A whole completion as two chunks: what was said, and why it ended."""
    choices = completion.get("choices")
    said, ended = [], []
    for choice in choices if isinstance(choices, list) else []:
        index = choice.get("index", 0)
        said.append({"index": index, "delta": choice.get("message", {}), "finish_reason": None})
        reason = choice.get("finish_reason", "stop")
        ended.append({"index": index, "delta": {}, "finish_reason": reason})
    return [{**_head(completion), "choices": said}, {**_head(completion), "choices": ended}]


def _failed(error: WorkbenchError, exchange: Exchange) -> bytes:
    return event(None, msgspec.json.encode(as_openai(error, exchange.id)))
