"""What a handler's annotations say: types, schemas, and `object` for anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
import pytest

from bkg_workbench.errors import InvalidParams
from bkg_workbench.sdk import Context, Meta, Plugin, Struct
from bkg_workbench.sdk.handlers import Handler, _open


class Query(Struct, forbid_unknown_fields=True):
    name: str
    more: dict[str, Any]


def handler(function: Any, **options: Any) -> Handler:
    plugin = Plugin("demo")
    plugin.capability("demo.x", **options)(function)
    return plugin.handlers["demo.x"]


@pytest.mark.parametrize(
    ("hint", "opened"),
    [
        (object, Any),
        (dict[str, object], dict[str, Any]),
        (list[dict[str, object]], list[dict[str, Any]]),
        (tuple[object, ...], tuple[Any, ...]),
        (dict[str, object] | None, dict[str, Any] | None),
        (Annotated[list[object], Meta(max_length=3)], Annotated[list[Any], Meta(max_length=3)]),
        (AsyncIterator[dict[str, object]], AsyncIterator[dict[str, Any]]),
        (dict[str, int], dict[str, int]),
        (Literal["object"], Literal["object"]),
        (Query, Query),
        (int, int),
        (None, None),
        (Any, Any),
    ],
)
def test_object_in_an_annotation_is_anything(hint: Any, opened: Any) -> None:
    assert _open(hint) == opened


async def test_a_handler_of_objects_takes_and_gives_anything() -> None:
    async def serve(payload: dict[str, object], context: Context) -> dict[str, object]:
        return payload

    made = handler(serve)
    assert made.arguments == ("payload", "context")
    assert made.decode(msgspec.Raw(b'{"a":[1,{"b":null}]}')) == {"a": [1, {"b": None}]}
    with pytest.raises(InvalidParams):
        made.decode(msgspec.Raw(b"[1]"))
    assert made.schema["input"]["type"] == "object"
    assert made.schema["output"]["type"] == "object"


async def test_a_bare_object_says_nothing_in_the_schema() -> None:
    async def serve(payload: object) -> object:
        return payload

    made = handler(serve)
    assert not {"input", "output"} & set(made.schema)
    assert made.decode(msgspec.Raw(b"[1]")) == [1]


async def test_the_pieces_of_a_generator_may_be_objects() -> None:
    async def serve(payload: dict[str, object]) -> AsyncIterator[dict[str, object]]:
        yield payload

    assert handler(serve).schema["chunk"]["type"] == "object"


def test_a_type_without_a_json_form_is_still_refused_when_it_is_declared() -> None:
    async def serve(payload: dict[str, Handler]) -> None: ...

    async def also(payload: complex) -> None: ...

    for bad in (serve, also):
        with pytest.raises(TypeError, match=r"demo\.x"):
            handler(bad)
