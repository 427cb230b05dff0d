"""What a plug-in is told of who asks: by the Host alone, and cut where plug-ins pass it on."""

from __future__ import annotations

import asyncio

from bkg_workbench.bus.identity import OWNER, Caller
from bkg_workbench.protocol import envelopes
from bkg_workbench.protocol.envelopes import Request, Response, raw
from tests.bus.hubs import Peer0, bus, register
from tests.helpers import aeventually


async def answered(peer: Peer0) -> Request:
    request: Request = await peer.read_until(Request)
    await peer.send(Response(request_id=request.request_id, success=True, data=raw({})))
    return request


async def test_a_plugin_is_told_for_whom_it_works() -> None:
    async with bus() as made:
        peer = await register(made.dial(made.define("demo", "demo.x")), "demo", "demo.x")
        await aeventually(lambda: "demo" in made.router.entries)
        ada = Caller("ada", ("demo.*",), user="ada", credential="k1")
        call = asyncio.create_task(made.router.call("demo.x", raw({}), ada, timeout=5))
        told = (await answered(peer)).caller
        assert told == envelopes.Caller(name="ada", user="ada", credential="k1", scopes=("demo.*",))
        await call


async def test_the_word_of_a_plugin_about_who_asks_is_ignored() -> None:
    async with bus() as made:
        demo = await register(made.dial(made.define("demo", "demo.x")), "demo", "demo.x")
        rogue = await register(
            made.dial(made.define("rogue", "rogue.x", calls=("demo.x",))), "rogue", "rogue.x"
        )
        lie = envelopes.Caller(name="owner", user="admin", scopes=("*",))
        await rogue.send(Request(request_id="1", capability="demo.x", payload=raw({}), caller=lie))
        told = (await answered(demo)).caller
        assert told == envelopes.Caller(name="rogue", scopes=("demo.x",))


async def test_a_plugin_below_protocol_1_is_told_nothing() -> None:
    async with bus() as made:
        channel = made.dial(made.define("old", "old.x"))
        peer = await register(channel, "old", "old.x", protocol=0)
        call = asyncio.create_task(made.router.call("old.x", raw({}), OWNER, timeout=5))
        assert (await answered(peer)).caller is None
        await call


def test_whoever_acts_for_a_user_is_cut_and_keeps_the_users_name() -> None:
    ada = Caller("ada", ("repo.*",), user="ada", credential="k1")
    told = ada.within(("repo.tree",)).shown()
    assert (told.user, told.credential, told.limits) == ("ada", "k1", (("repo.tree",),))
