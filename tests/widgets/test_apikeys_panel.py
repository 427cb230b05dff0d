"""The panel of apikeys: what it shows, what it asks for, and that a secret is never part of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bkg_workbench.errors import Forbidden
from bkg_workbench.protocol.state import Notice, Noticed
from bkg_workbench.testing.pilot import Pilot
from bkg_workbench.testing.scripted import ScriptedBench
from bkg_workbench.widgets.apikeys_panel import ACTS, ApikeysPanel, make, scopes
from bkg_workbench.widgets.board import Board

TOKEN = "bkg_000000000001_" + "S" * 43
KEY = {
    "id": "000000000001", "user": "ada", "scopes": ["repo.*"], "label": "ci",
    "masked": "bkg_000000000001_…SSSS", "created_at": 1, "expires_at": None, "revoked_at": None,
    "last_used_at": None, "rotated_at": None, "overlap_until": None, "ratePerMinute": None,
    "isValid": True, "usedScopes": {},
}  # fmt: skip
USER = {"name": "ada", "scopes": ["repo.*"], "disabled": False, "created_at": 1,
        "password_at": 1, "last_login_at": None}  # fmt: skip
ROW = {"seq": 1, "at": 1, "actor": "ada", "action": "auth.login", "target": "ada", "source": "",
       "outcome": "ok", "detail": {}, "hash": "x"}  # fmt: skip

ANSWERS: dict[str, Any] = {
    "auth.listKeys": [KEY],
    "auth.users.list": [USER],
    "auth.sessions.list": [],
    "auth.audit.list": {"records": [ROW], "next": 1},
    "auth.audit.verify": {"isWhole": True, "records": 1, "head": "h", "brokenAt": None},
}


@pytest.fixture
def pilot() -> Iterator[Pilot]:
    bench = ScriptedBench()
    bench.define("apikeys", capabilities=list(ANSWERS))
    bench.define("repoagent", capabilities=["repo.tree", "repo.search"])
    asked: dict[str, Any] = {
        name: ANSWERS.get(name, {"id": KEY["id"], "token": TOKEN} if "Key" in name else {})
        for name in {*ANSWERS, *(capability for capability, _, _ in ACTS.values())}
    }
    for name, answer in asked.items():

        async def handler(payload: Any, _: Any, answer: Any = answer) -> Any:
            return answer

        bench.serve(name, handler)

    def page(bench: Any, **how: Any) -> Board:
        board = Board(bench, **how)
        board.lay(make(bench, "apikeys"))
        return board

    with Pilot(bench, page=page) as pilot:
        yield pilot


def up(pilot: Pilot) -> ApikeysPanel:
    pilot.bench.run("apikeys")
    pilot.look()
    pilot.board.settle()
    pilot.look()
    return pilot.panel(ApikeysPanel)


def test_it_asks_when_apikeys_is_up_and_not_before(pilot: Pilot) -> None:
    pilot.look()
    panel = pilot.panel(ApikeysPanel)
    assert (panel.shown["up"], panel.shown["state"]) == (False, "stopped")
    assert pilot.bench.requests == []
    assert up(pilot).shown["keys"][KEY["id"]]["label"] == "ci"
    assert list(panel.shown["users"]) == ["ada"]
    assert panel.shown["trail"]["1"]["actor"] == "ada"


def test_what_was_known_stays_when_apikeys_stops(pilot: Pilot) -> None:
    panel = up(pilot)
    pilot.bench.move("apikeys", "stopped")
    pilot.look()
    assert panel.shown["keys"]
    assert not panel.shown["up"]


def test_a_secret_goes_to_the_page_that_asked_and_is_no_part_of_the_data(pilot: Pilot) -> None:
    panel = up(pilot)
    pilot.intent(panel, "createKey", user="ada", scopes=["repo.*"], label="", ask=7, odd="x")
    assert ("auth.createKey", {"user": "ada", "scopes": ["repo.*"], "label": ""}) in (
        pilot.bench.requests
    )
    secret = next(content for _, content, _ in pilot.sent if content["kind"] == "secret")
    assert (secret["token"], secret["ask"]) == (TOKEN, 7)
    assert TOKEN not in json.dumps(panel.get_state()["view"])


def test_each_act_asks_for_its_capability_and_reads_again(pilot: Pilot) -> None:
    panel = up(pilot)
    for verb, (capability, fields, _) in ACTS.items():
        before = len(pilot.bench.requests)
        pilot.intent(panel, verb, **dict.fromkeys(fields, "x"))
        asked = [name for name, _ in pilot.bench.requests[before:]]
        assert asked[0] == capability
        assert ("auth.listKeys" in asked) == (verb != "begin")


def test_a_refusal_is_told_and_what_there_is_is_read_again(pilot: Pilot) -> None:
    panel = up(pilot)

    async def refuse(payload: Any, _: Any) -> Any:
        raise Forbidden("ada has not got the scope admin.", scope="admin")

    pilot.bench.serve("auth.createKey", refuse)
    pilot.intent(panel, "createKey", user="ada", scopes=["admin"], ask=1)
    assert pilot.toasts[-1][1] == "bad"
    assert "scope admin" in pilot.toasts[-1][0]


def test_the_trail_is_verified_when_asked(pilot: Pilot) -> None:
    panel = up(pilot)
    pilot.intent(panel, "verify")
    assert panel.shown["verdict"]["isWhole"]


def test_the_first_start_is_offered_as_long_as_it_waits(pilot: Pilot) -> None:
    notice = Notice(key="first-start", text="waits", at=1, level="info")
    pilot.bench.happen(Noticed(notice=notice))
    pilot.look()
    panel = pilot.panel(ApikeysPanel)
    assert panel.shown["first"]
    pilot.intent(panel, "begin", password="correct horse battery")
    assert pilot.bench.requests == [("host.auth.begin", {"password": "correct horse battery"})]
    assert "correct horse" not in json.dumps(panel.get_state()["view"])


def test_the_scopes_to_choose_from_are_those_that_there_are(pilot: Pilot) -> None:
    found = scopes(pilot.bench.state)
    assert found[-1] == "admin"
    assert {"repo.*", "repo.tree", "auth.*", "host.read", "host.metrics"} <= set(found)
