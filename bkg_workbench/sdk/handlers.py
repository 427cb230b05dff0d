"""What a capability's function takes and gives, learnt from its signature once.

Owns the decoding of payloads with errors that carry pointers, the schemas that `register` sends,
and the kinds of function: coroutine, async generator, and both in a thread. Does not own running.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.capabilities import is_name
from bkg_workbench.sdk.context import Closing, Context
from bkg_workbench.sdk.settings import problem, schema_of

Collect = Callable[[list[Any], Any], Any]
"""(chunks, closing value) -> the whole answer, for an asker that does not stream."""

_ITERATORS = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.Iterable,
)


@dataclass(frozen=True)
class Handler:
    """One capability of a plug-in and the function that serves it."""

    capability: str
    function: Callable[..., Any]
    kind: Literal["coroutine", "generator"]
    arguments: tuple[Literal["payload", "context"], ...]
    payload_type: Any
    schema: dict[str, Any]
    stream: bool = False
    thread: bool = False
    collect: Collect | None = None
    decoder: msgspec.json.Decoder[Any] | None = None

    def decode(self, data: msgspec.Raw) -> Any:
        """The payload as the type that the function asks for. Raises `InvalidParams`."""
        if bytes(data) == b"null" and _is_struct(self.payload_type):
            data = msgspec.Raw(b"{}")
        try:
            assert self.decoder is not None
            return self.decoder.decode(data)
        except msgspec.ValidationError as error:
            raise InvalidParams(capability=self.capability, errors=problem(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            errors = {"": "it is not valid JSON"}
            raise InvalidParams(capability=self.capability, errors=errors) from None

    def bind(self, data: msgspec.Raw, context: Context) -> list[Any]:
        """The function's arguments. Raises `InvalidParams`."""
        values = {"payload": self.decode(data), "context": context}
        return [values[name] for name in self.arguments]


def make_handler(
    capability: str,
    function: Callable[..., Any],
    *,
    description: str | None,
    scope: str | None,
    idempotent: bool,
    destructive: bool,
    stream: bool,
    thread: bool,
    collect: Collect | None,
    names: dict[str, Any],
) -> Handler:
    """Look at `function` once. `names` resolve its annotations beside its module's own.

    Raises `ValueError` for a bad capability name and `TypeError`, with the remedy, for a function
    that cannot serve.
    """
    if not is_name(capability):
        raise ValueError(f"{capability!r} is not a capability name; write it as area.verb.")
    kind = _kind(capability, function, thread)
    hints = _hints(capability, function, names)
    arguments, payload_type = _arguments(capability, function, hints)
    streams = stream or kind == "generator"
    schema: dict[str, Any] = {
        "description": description or inspect.getdoc(function) or "",
        "stream": streams,
        "scope": scope or capability,
        "idempotent": idempotent,
        "destructive": destructive,
    }
    schema.update(_schemas(capability, kind, payload_type, hints.get("return"), collect))
    return Handler(
        capability=capability,
        function=function,
        kind=kind,
        arguments=arguments,
        payload_type=payload_type,
        schema=schema,
        stream=streams,
        thread=thread,
        collect=collect,
        decoder=msgspec.json.Decoder(payload_type),
    )


def _kind(
    capability: str, function: Callable[..., Any], thread: bool
) -> Literal["coroutine", "generator"]:
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        if thread:
            raise TypeError(f"{capability}: thread=True is for a plain def; drop async or thread.")
        return "generator" if inspect.isasyncgenfunction(function) else "coroutine"
    if not thread:
        raise TypeError(
            f"{capability}: {getattr(function, '__name__', function)} is a plain def and would "
            "stop health beats while it runs; make it async or declare it with thread=True."
        )
    return "generator" if inspect.isgeneratorfunction(function) else "coroutine"


def _hints(capability: str, function: Callable[..., Any], names: dict[str, Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function, localns=names, include_extras=True)
        return {name: _open(hint) for name, hint in hints.items()}
    except NameError as error:
        raise TypeError(
            f"{capability}: the type {error.name} is not known here; define it above."
        ) from None


def _open(hint: Any) -> Any:
    """`hint` with `object` read as `Any`: they say the same, and msgspec knows the latter alone."""
    if hint is object:
        return Any
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    opened = tuple(_open(argument) for argument in arguments)
    if origin in (None, typing.Literal, collections.abc.Callable) or opened == arguments:
        return hint
    if origin is typing.Annotated:
        return typing.Annotated[(opened[0], *hint.__metadata__)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[opened]  # noqa: UP007 - built at run time
    return origin[opened]


def _arguments(
    capability: str, function: Callable[..., Any], hints: dict[str, Any]
) -> tuple[tuple[Literal["payload", "context"], ...], Any]:
    found: list[Literal["payload", "context"]] = []
    payload_type: Any = Any
    for name in inspect.signature(function).parameters:
        if name == "context" or hints.get(name) is Context:
            found.append("context")
        else:
            found.append("payload")
            payload_type = hints.get(name, Any)
    if len(found) != len(set(found)):
        raise TypeError(f"{capability}: a handler takes (payload), (payload, context) or nothing.")
    return tuple(found), payload_type


def _schemas(
    capability: str, kind: str, payload: Any, result: Any, collect: Collect | None
) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    try:
        if payload is not Any:
            schemas["input"] = schema_of(payload)
        if kind == "generator":
            arguments = typing.get_args(result)
            chunk = arguments[0] if typing.get_origin(result) in _ITERATORS and arguments else Any
            chunk = _without_closing(chunk)
            if chunk is not Any:
                schemas["chunk"] = schema_of(chunk)
            result = typing.get_type_hints(collect).get("return", Any) if collect else Any
        if result is not None and result is not Any:
            schemas["output"] = schema_of(result)
    except TypeError as error:
        text = f"{capability}: a type in its signature has no JSON form: {error}"
        raise TypeError(text) from None
    return schemas


def _without_closing(chunk: Any) -> Any:
    parts = [part for part in typing.get_args(chunk) if part is not Closing]
    if not parts or len(parts) == len(typing.get_args(chunk)):
        return Any if chunk is Closing else chunk
    return typing.Union[tuple(parts)]  # noqa: UP007 - built at run time


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
