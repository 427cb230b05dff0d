"""Who acts: what the Host says of a request's caller, as this plug-in judges it.

Owns the two rules of everything here. Nobody gives what they do not have: scopes are given only by
those who cover them. And nobody manages whom they do not cover: a user may be changed only by an
actor whose own scopes cover all of that user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apikeys.scopes import allows, cut
from bkg_workbench.sdk import Caller, Forbidden


@dataclass(frozen=True)
class Actor:
    """`name` goes into the trail; `user` and `credential` are set for a user who proved it.

    `grants` are the scopes, then the `calls` of each plug-in that acts for the caller: all of them
    must allow what is done.
    """

    name: str
    user: str | None
    credential: str | None
    grants: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, caller: Caller | None) -> Actor:
        """The actor of a request. A Host that does not say who asks gets nothing done."""
        if caller is None:
            raise Forbidden("This Host does not say who asks; bring it up to date.", scope="admin")
        # No user's name has brackets, so nobody passes for the owner or a plug-in.
        name = caller.user if caller.user is not None else f"({caller.name})"
        return cls(name, caller.user, caller.credential, (caller.scopes, *caller.limits))

    def covers(self, scope: str) -> bool:
        """Whether everything on the way allows the scope."""
        return all(allows(grants, scope) for grants in self.grants)

    def require(self, scopes: Iterable[str]) -> None:
        """Raise `Forbidden`, naming the first scope that the actor lacks."""
        for scope in scopes:
            if not self.covers(scope):
                raise Forbidden(
                    f"{self.name} has not got the scope {scope} and cannot give it.",
                    who=self.name,
                    scope=scope,
                )

    def require_over(self, user: str, scopes: Sequence[str]) -> None:
        """Raise `Forbidden` unless the actor may manage a user who has these scopes."""
        for scope in scopes:
            if not self.covers(scope):
                raise Forbidden(
                    f"{self.name} may not manage {user}, who has the scope {scope}.",
                    who=self.name,
                    scope=scope,
                )

    def rights(self) -> list[str]:
        """What the actor may do, as one list of scopes."""
        found = list(self.grants[0])
        for limit in self.grants[1:]:
            found = cut(found, limit)
        return found
