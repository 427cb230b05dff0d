"""The Host in memory that plug-in authors test with."""

from __future__ import annotations

from pathlib import Path

import pytest

from bkg_workbench.errors import Forbidden, InvalidParams
from bkg_workbench.sdk import Context, Plugin, Settings, Struct
from bkg_workbench.testing import MemoryHost
from tests.helpers import eventually


class HelloSettings(Settings):
    greeting: str = "Hello"


class Name(Struct):
    name: str


def hello() -> Plugin:
    plugin = Plugin("hello", settings=HelloSettings)

    @plugin.capability("hello.greet")
    async def greet(payload: Name, context: Context) -> dict[str, str]:
        context.log.info("greeting")
        return {"text": f"{context.settings.greeting}, {payload.name}!"}

    return plugin


def asker() -> Plugin:
    plugin = Plugin("asker")

    @plugin.capability("asker.ask")
    async def ask(payload: Name, context: Context) -> dict[str, str]:
        return dict(await context.call("hello.greet", {"name": payload.name}))

    return plugin


def test_plugins_answer_with_their_settings_and_log() -> None:
    with MemoryHost(hello(), settings={"hello": {"greeting": "Moin"}}) as bench:
        place = Path(bench.workspace)
        assert bench.call("hello.greet", {"name": "Ada"}) == {"text": "Moin, Ada!"}
        with pytest.raises(InvalidParams):
            bench.call("hello.greet", {"nom": "Ada"})
        assert eventually(lambda: bench.logs("hello", text="greeting"))
        assert bench.restart("hello").state == "running"
        assert bench.call("hello.greet", {"name": "Ada"}) == {"text": "Moin, Ada!"}
        assert bench.ports() == []
    assert not place.exists()


def test_plugins_call_each_other_within_their_calls() -> None:
    with MemoryHost(hello(), asker(), calls={"asker": ["hello.greet"]}) as bench:
        assert bench.call("asker.ask", {"name": "Ada"}) == {"text": "Hello, Ada!"}
    with MemoryHost(hello(), asker()) as bench, pytest.raises(Forbidden):
        bench.call("asker.ask", {"name": "Ada"})
