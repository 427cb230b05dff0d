"""Ports: the one that was asked for or a clear error; else the default, else any."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from bkg_workbench.bus.channel import ChannelClosed
from bkg_workbench.bus.websocket import connect
from bkg_workbench.errors import WorkspaceError
from bkg_workbench.host import ports
from bkg_workbench.host.ports import DEFAULTS, PortTaken
from tests.bus.hubs import bus

VARIABLE = "BKG_PLUGIN_BUS_PORT"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*DEFAULTS, "BKG_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_unset_is_the_default_and_a_number_is_that_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, default in DEFAULTS.items():
        assert ports.wanted(variable) == (default, False)
    monkeypatch.setenv(VARIABLE, " 5000 ")
    assert ports.wanted(VARIABLE) == (5000, True)
    monkeypatch.setenv(VARIABLE, "")
    assert ports.wanted(VARIABLE) == (DEFAULTS[VARIABLE], False)
    # Nought asks for any port, so none that is taken can be in the way.
    monkeypatch.setenv(VARIABLE, "0")
    assert ports.wanted(VARIABLE) == (0, False)


@pytest.mark.parametrize(
    "text", ["x", "-1", "65536", "1.5", "1e3", "²", "٣", "0x50", "80 81", "9" * 5000, "+80"]
)
def test_a_value_that_is_no_port_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(WorkspaceError, match="0 to 65535") as caught:
        ports.choose(VARIABLE)
    assert VARIABLE in str(caught.value)


def test_a_port_that_was_asked_for_and_is_taken_names_its_owner(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setenv(VARIABLE, str(taken))
    with pytest.raises(PortTaken, match=f"process {os.getpid()}") as caught:
        ports.choose(VARIABLE)
    assert (caught.value.facts["port"], caught.value.facts["variable"]) == (taken, VARIABLE)


def test_a_default_that_is_taken_gives_any_free_one(
    monkeypatch: pytest.MonkeyPatch, taken: int, free: int
) -> None:
    monkeypatch.setitem(DEFAULTS, VARIABLE, taken)
    other = ports.choose(VARIABLE)
    assert other not in (taken, 0)
    assert ports.is_free(other)
    monkeypatch.setitem(DEFAULTS, VARIABLE, free)
    assert ports.choose(VARIABLE) == free


def test_nobody_owns_a_port_that_is_free(free: int) -> None:
    assert ports.is_free(free)
    assert ports.owner_of(free) == "another process"


async def test_the_bus_takes_the_port_that_was_asked_for_or_says_who_has_it(
    monkeypatch: pytest.MonkeyPatch, taken: int, free: int
) -> None:
    async with bus() as b:
        monkeypatch.setenv(VARIABLE, str(taken))
        with pytest.raises(PortTaken, match=f"process {os.getpid()}"):
            await ports.listen_bus(b.hub)
        monkeypatch.setenv(VARIABLE, str(free))
        server, port = await ports.listen_bus(b.hub)
        assert port == free
        await server.close()


async def test_the_bus_goes_elsewhere_where_its_default_is_taken(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setitem(DEFAULTS, VARIABLE, taken)
    async with bus() as b:
        server, port = await ports.listen_bus(b.hub)
        assert port != taken
        channel = await connect(f"ws://127.0.0.1:{port}/bus", token=b.define("a", "a.x"))
        await channel.send(b"[]")
        assert b'"type":"error"' in await channel.receive()
        with pytest.raises(ChannelClosed):
            await channel.receive()
        await channel.close()
        await server.close()


def test_further_names_for_the_host_header_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ports.allowed_hosts() == ()
    monkeypatch.setenv("BKG_ALLOWED_HOSTS", "hub.example:443, ,Other.Example ,")
    assert ports.allowed_hosts() == ("hub.example:443", "other.example")
