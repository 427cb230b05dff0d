"""The panel of apikeys: users, keys, sessions and the trail, on its page.

Owns which data and intents it has. The truth is apikeys' own: it is asked when somebody looks and
after each act, and what an act may do is judged there. A token that was just made goes to the one
page that asked for it, as a message; it is no part of the panel's data, so no notebook saves it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from bkg_workbench.protocol.capabilities import TABLE
from bkg_workbench.protocol.state import WorkbenchState
from bkg_workbench.widgets.bench import Bench
from bkg_workbench.widgets.live import Data, plain, script, style
from bkg_workbench.widgets.panel import Moment, Panel

SHOWN_KEYS, SHOWN_ROWS = 500, 200
UP = ("running", "degraded")
FIRST_START = "first-start"

ACTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "createKey": (
        "auth.createKey",
        ("user", "scopes", "label", "expiresInSeconds", "ratePerMinute"),
        "",
    ),
    "rotateKey": ("auth.rotateKey", ("id", "overlapSeconds"), ""),
    "revokeKey": ("auth.revokeKey", ("id",), "The key is revoked."),
    "createUser": ("auth.users.create", ("name", "password", "scopes"), "The user is there."),
    "updateUser": ("auth.users.update", ("name", "scopes", "disabled"), "The user is changed."),
    "deleteUser": ("auth.users.delete", ("name",), "The user is gone, with keys and sessions."),
    "setPassword": (
        "auth.users.setPassword",
        ("user", "password"),
        "The password is changed; the user's sessions have ended.",
    ),
    "revokeSession": ("auth.sessions.revoke", ("id",), "The session has ended."),
    "revokeSessions": ("auth.sessions.revoke", ("user",), "The sessions have ended."),
    "begin": ("host.auth.begin", ("password",), "apikeys is up; log in as admin."),
}
"""Verb of the page: the capability, the fields that it takes, and the sentence of success."""


def make(bench: Bench, plugin: str) -> ApikeysPanel:
    """For the entry-point group `bkg_workbench.panels`."""
    return ApikeysPanel(plugin)


class ApikeysPanel(Panel):
    """Users, keys, sessions and trail of `plugin`.

    Intents: those of `ACTS` with their fields and `ask`, a number of the page's that comes back
    with a secret; `refresh`; `ended {on}`; `verify`.
    """

    title = "Users and keys"
    _esm = script("apikeys.js")
    _css = style("apikeys.css")

    def __init__(self, plugin: str = "apikeys", **traits: Any) -> None:
        self.plugin = plugin
        self._guard = threading.Lock()
        self._facts: Data = {}
        self._loading = False
        self._ended = False
        super().__init__(**traits)

    # --- what is shown -------------------------------------------------------------------------
    def fold(self, moment: Moment) -> Data:
        """What was last read, and whether apikeys can be asked."""
        found = moment.state.plugins.get(self.plugin)
        state = found.state if found is not None else "missing"
        return {
            **self._facts,
            "state": state,
            "up": state in UP and not moment.stale,
            "first": any(n.key == FIRST_START for n in moment.state.notices),
            "scopes": scopes(moment.state),
        }

    def step(self, moment: Moment) -> None:
        """Redraw; read what there is once apikeys is up."""
        data = self.fold(moment)
        self.show(data)
        if data["up"] and not self._facts:
            self._refresh()

    # --- intents -------------------------------------------------------------------------------
    def on_intent(self, intent: Data) -> None:
        """Hand over to a thread at once."""
        verb = intent["verb"]
        if verb == "refresh":
            self._refresh()
        elif verb == "ended":
            self._ended = intent.get("on") is True
            self._refresh()
        elif verb == "verify":
            self.work(self._verify, "Check of the trail")
        elif verb in ACTS:
            capability, fields, done = ACTS[verb]
            payload = {name: intent[name] for name in fields if intent.get(name) is not None}
            ask = intent.get("ask")
            self.work(
                lambda bench: self._act(bench, capability, payload, ask),
                capability.removeprefix("auth."),
                done=done or None,
            )

    def _refresh(self) -> None:
        with self._guard:
            if self._loading:
                return
            self._loading = True
        if self.board is None:
            self._loading = False
            return
        self.work(self._read, "Users and keys")

    def _read(self, bench: Bench) -> None:
        try:
            self._facts = _facts(bench, self._ended, self._facts.get("verdict"))
        finally:
            self._loading = False
            self._mark()

    def _act(self, bench: Bench, capability: str, payload: Data, ask: Any) -> None:
        try:
            result = _call(bench, capability, payload)
        finally:
            if capability != "host.auth.begin":
                self._read(bench)
        token = result.get("token") if isinstance(result, dict) else None
        if token is not None:
            until = result.get("overlap_until")
            self.post(
                {"kind": "secret", "ask": ask, "id": result["id"], "token": token, "until": until}
            )
        elif ask is not None:
            self.post({"kind": "done", "ask": ask})

    def _verify(self, bench: Bench) -> None:
        verdict = _call(bench, "auth.audit.verify", {})
        self._facts = {**self._facts, "verdict": plain(verdict)}
        self._mark()

    def _mark(self) -> None:
        if (board := self.board) is not None:
            board.mark()


def scopes(state: WorkbenchState) -> list[str]:
    """What a scope may be here: the areas and capabilities that there are, and `admin`."""
    names = {name for plugin in state.plugins.values() for name in plugin.definition.capabilities}
    names |= {row.scope for row in TABLE.values() if row.scope.startswith("host.")}
    areas = {f"{name.split('.')[0]}.*" for name in names if not name.startswith("host.")}
    return [*sorted(areas), *sorted(names), "admin"]


def _facts(bench: Bench, ended: bool, verdict: Any) -> Data:
    keys = _call(bench, "auth.listKeys", {"ended": ended})
    records = _call(bench, "auth.audit.list", {"limit": SHOWN_ROWS})["records"]
    data: Data = {
        "users": {user["name"]: user for user in _call(bench, "auth.users.list", {})},
        "keys": {key["id"]: key for key in keys[-SHOWN_KEYS:]},
        "keyCount": len(keys),
        "sessions": {one["id"]: one for one in _call(bench, "auth.sessions.list", {})},
        "trail": {str(row["seq"]): row for row in records},
        "ended": ended,
    }
    if verdict is not None:
        data["verdict"] = verdict
    found: Data = plain(data)
    return found


def _call(bench: Bench, capability: str, payload: Data) -> Any:
    """Ask, and wait; for the threads of the board alone."""
    ask: Callable[..., Any] = bench.acall
    return asyncio.run(ask(capability, payload, timeout=60))
