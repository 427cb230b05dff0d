"""What apikeys' tests share: who acts, a password, and a clock that a test moves."""

from __future__ import annotations

from apikeys import passwords
from apikeys.actor import Actor
from apikeys.registry import Registry

COST = 4
"""bcrypt's least: what is tested is the order of things, not how slow they are."""
PASSWORD = "correct horse battery"


class Clock:
    """Stands still until it is moved; the wall may be set apart from what passes."""

    def __init__(self) -> None:
        self.wall, self.passed = 1_800_000_000_000, 0.0

    def now_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.passed

    def move(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.passed += seconds


ADMIN = Actor("admin", "admin", None, (("admin",),))
OWNER = Actor("(owner)", None, None, (("*",),))


def actor(name: str, *scopes: str, credential: str | None = None) -> Actor:
    """A user who acts."""
    return Actor(name, name, credential, (scopes,))


def add_user(registry: Registry, name: str, *scopes: str) -> Actor:
    """A new user whose password is `PASSWORD`; the actor that they are."""
    registry.create_user(OWNER, name, passwords.make_hash(PASSWORD, COST), list(scopes))
    return actor(name, *scopes)
