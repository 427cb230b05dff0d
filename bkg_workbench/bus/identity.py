"""Who a connection is: tokens of spawned plug-ins, of attached clients, and of open requests.

Owns the tokens (only their SHA-256 is kept) and the callers that they stand for. Does not own
sockets; a plug-in without a token is known by the process that holds its socket, which the
supervisor tells.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bkg_workbench.errors import Forbidden
from bkg_workbench.protocol import envelopes
from bkg_workbench.protocol.capabilities import covers

T = TypeVar("T")

MAX_DEPTH = 16
"""How deep plug-ins may call each other within one request."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request runs. `sink` is the attached connection, if it came over one.

    Each entry of `limits` is the `calls` of a plug-in that acts for the caller. `user` is the
    user that apikeys knows the caller as, `credential` the id of their key or session.
    """

    name: str
    scopes: tuple[str, ...]
    limits: tuple[tuple[str, ...], ...] = ()
    sink: Any = field(default=None, compare=False, repr=False)
    user: str | None = None
    credential: str | None = None

    def require(self, capability: str) -> None:
        """Raise `Forbidden` unless the scopes, and every limit, cover the capability."""
        for grants in (self.scopes, *self.limits):
            if not any(covers(grant, capability) for grant in grants):
                raise Forbidden(who=self.name, scope=capability)
        if len(self.limits) > MAX_DEPTH:
            raise Forbidden(
                f"{self.name} is {len(self.limits)} calls deep; plug-ins seem to call each other "
                "in a circle.",
                who=self.name,
                scope=capability,
            )

    def within(self, calls: tuple[str, ...]) -> Caller:
        """This caller, cut to what a plug-in's `calls` allow."""
        return Caller(
            self.name,
            self.scopes,
            (*self.limits, calls),
            user=self.user,
            credential=self.credential,
        )

    def shown(self) -> envelopes.Caller:
        """What a plug-in is told of the caller."""
        return envelopes.Caller(
            name=self.name,
            user=self.user,
            credential=self.credential,
            scopes=self.scopes,
            limits=self.limits,
        )


OWNER = Caller("owner", ("*",))


def digest(token: str) -> bytes:
    """SHA-256 of a token; the only form in which tokens are kept."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


class Tokens:
    """Tokens of plug-in processes and of attached clients.

    `owner_of` maps the two TCP ports of a connection to the (name, generation) of the plug-in
    whose process tree holds its socket, or None.
    """

    def __init__(self, owner_of: Callable[[int, int], tuple[str, int] | None]) -> None:
        self._plugins: dict[bytes, tuple[str, int]] = {}
        self._clients: dict[bytes, str] = {}
        self._owner_of = owner_of

    def issue(self, plugin: str, generation: int) -> str:
        """A token for one process of a plug-in; those of its earlier processes die."""
        self.revoke(plugin)
        token = secrets.token_urlsafe(32)
        self._plugins[digest(token)] = (plugin, generation)
        return token

    def revoke(self, plugin: str) -> None:
        """End the plug-in's tokens."""
        self._plugins = {d: o for d, o in self._plugins.items() if o[0] != plugin}

    def issue_client(self, name: str) -> str:
        """A token for attached clients."""
        token = secrets.token_urlsafe(32)
        self._clients[digest(token)] = name
        return token

    def plugin_of(self, token: str) -> tuple[str, int] | None:
        """(name, generation) that the token stands for."""
        return self._find(self._plugins, token)

    def client_of(self, token: str) -> str | None:
        """The client's name that the token stands for."""
        return self._find(self._clients, token)

    def plugin_at(self, peer_port: int | None, host_port: int | None) -> tuple[str, int] | None:
        """(name, generation) of the plug-in whose process holds the other end of a connection."""
        if peer_port is None or host_port is None:
            return None
        return self._owner_of(peer_port, host_port)

    @staticmethod
    def _find(known: dict[bytes, T], token: str) -> T | None:
        wanted = digest(token)
        for candidate, owner in known.items():
            if hmac.compare_digest(candidate, wanted):
                return owner
        return None
