"""The forms of answers that are the gateway's own or OpenAI's, as types for its description.

Owns nothing that runs: `gateway.openapi` makes schemas of them. Times are milliseconds since 1970
where a name ends in `at` or `At`, seconds in OpenAI's `created`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from bkg_workbench.protocol.state import Beat, StateName, Wanted


class Shape(msgspec.Struct, kw_only=True, rename="camel"):
    """Base; fields are named as they stand in JSON."""


class ErrorBody(Shape):
    """What went wrong: `code` for programs, `message` for people, `id` for the log."""

    code: str
    message: str
    id: str
    detail: dict[str, Any] | None = None


class Error(Shape):
    """An error, of every route but those below /v1."""

    error: ErrorBody


class OpenAIErrorBody(Shape, rename=None):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str | None
    id: str


class OpenAIError(Shape):
    """An error below /v1."""

    error: OpenAIErrorBody


class Health(Shape):
    """Up; the rest is for admins."""

    status: Literal["up"]
    version: str | None = None
    instance: str | None = None


class Status(Shape):
    """How a plug-in is."""

    name: str
    state: StateName
    wanted: Wanted
    reason: str | None
    since: int | None
    pid: int | None
    port: int | str | None
    restarts: int
    last_exit: str | None
    preparing: str | None
    restart_needed: bool
    config_version: int
    config_errors: dict[str, str]
    health: Beat | None


class Offered(Shape):
    """A capability, with what its plug-in says of it."""

    capability: str


class Capabilities(Shape):
    """What a plug-in can be asked now."""

    name: str
    declared: list[str]
    capabilities: list[Offered]
    conflicts: list[str]


class SummaryRow(Shape):
    """A plug-in's newest sample."""

    plugin: str
    state: StateName


class Total(Shape, rename=None):
    """What all of them use: percent of one core, bytes."""

    cpu: float
    mem_bytes: float


class Summary(Shape):
    """Telemetry of all plug-ins."""

    plugins: list[SummaryRow]
    total: Total


class Login(Shape):
    """Who wants a session."""

    username: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class Session(Shape, rename=None):
    """A session; `token` goes into the header Authorization: Bearer."""

    token: str
    user: str
    scopes: list[str]
    expires_at: int


class Message(Shape, rename=None):
    """A message of a chat."""

    role: str
    content: Any = None


class ChatRequest(Shape, rename=None):
    """OpenAI's chat completion request; further fields go to the provider as they are."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class Choice(Shape, rename=None):
    """One answer."""

    index: int
    message: Message
    finish_reason: str | None


class ChatCompletion(Shape, rename=None):
    """OpenAI's chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | None = None


class EmbeddingsRequest(Shape, rename=None):
    """OpenAI's embeddings request."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Embedding(Shape, rename=None):
    """The embedding of one input: numbers, or base64 of little-endian float32."""

    index: int
    object: Literal["embedding"]
    embedding: list[float] | str


class Embeddings(Shape, rename=None):
    """OpenAI's list of embeddings."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, Any]


class Model(Shape, rename=None):
    """A model that can answer."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Shape, rename=None):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[Model]


REQUESTS: dict[str, type[Shape]] = {
    "login": Login,
    "chat": ChatRequest,
    "openai": EmbeddingsRequest,
}
"""Bodies by the name of the view, where neither the table nor a plug-in says more."""
ANSWERS: dict[str, type[Shape]] = {
    "health": Health,
    "status": Status,
    "capabilities": Capabilities,
    "summary": Summary,
    "login": Session,
    "chat": ChatCompletion,
    "openai": Embeddings,
    "models": Models,
}
"""Answers by the name of the view, where it is not simply the capability's result."""
