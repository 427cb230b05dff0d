"""Passwords at the door: logging in, and changing them. The slow part runs beside the loop.

Owns the order: throttle, then queue, then exactly one bcrypt check whoever it is, then one
transaction. A user who does not exist, one who is disabled and a wrong password are answered alike
and at the same cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from apikeys import passwords, users
from apikeys.actor import Actor
from apikeys.faults import invalid
from apikeys.passwords import Bench
from apikeys.registry import Entry, Registry
from apikeys.throttle import Attempts, Throttled
from apikeys.tokens import Issued
from apikeys.users import User
from bkg_workbench.sdk import InvalidParams, Overloaded, Unauthenticated

T = TypeVar("T")


class Door:
    """Its methods belong to the event loop that opened the store."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.bench = Bench()
        self.attempts = Attempts()
        self.throttled = self.failed = 0
        # One thread: there is one writer, and its transactions wait for the disk.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

    def close(self) -> None:
        """Let the threads go when what they do is done."""
        self.bench.close()
        self._writer.shutdown(wait=True)

    async def write(self, work: Callable[[], T]) -> T:
        """Run a blocking act of the registry."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    # -- logging in -----------------------------------------------------------------------------
    async def login(self, username: str, password: str, source: str) -> tuple[User, Issued]:
        """A session. Raises `Unauthenticated`, `Overloaded`, `InvalidParams`."""
        user = await self._check(username, password, source, "auth.login")
        new_hash = await self._costlier(user, password)
        return await self.write(lambda: self.registry.open_session(user, source, new_hash))

    async def _check(self, username: str, password: str, source: str, action: str) -> User:
        """The user whose password it is."""
        registry, known = self.registry, users.is_user_name(username)
        name = username if known else "(no user name)"
        try:
            passwords.normal(password)
            self.attempts.enter(registry.store.reader, name, source, registry.now())
        except InvalidParams as error:
            code, entry = error.code, Entry("(unknown)", action, name, source)
            await self.write(lambda: registry.refuse(entry, code))
            raise
        except Throttled as refusal:
            self.throttled += 1
            if self.attempts.is_news(refusal):
                entry = Entry("(unknown)", action, name, source)
                await self.write(lambda: registry.refuse(entry, "throttled"))
            raise
        try:
            user = users.find(registry.store.reader, username)
            kept = user.password if user else passwords.decoy(registry.rules.cost)
            is_right = await self.bench.run(passwords.check, password, kept)
            if user is None or user.disabled or not is_right:
                self.failed += 1
                await self.write(lambda: registry.login_failed(username, source, action))
                raise Unauthenticated("The user name or the password is wrong.")
            return user
        finally:
            self.attempts.leave(name, source)

    async def _costlier(self, user: User, password: str) -> str | None:
        """A new hash of a password that was hashed at another cost than the rules'."""
        cost = self.registry.rules.cost
        if passwords.cost_of(user.password) == cost:
            return None
        try:
            return await self.bench.run(passwords.make_hash, password, cost)
        except Overloaded:
            return None  # at a calmer login

    # -- choosing passwords ---------------------------------------------------------------------
    async def create_user(self, actor: Actor, name: str, password: str, scopes: list[str]) -> User:
        """A new user with a password."""
        kept = await self._hashed(actor, "auth.users.create", name, password)
        return await self.write(lambda: self.registry.create_user(actor, name, kept, scopes))

    async def set_password(
        self, actor: Actor, user: str | None, current: str | None, password: str, source: str
    ) -> int:
        """Change one's own password, which takes the present one, or that of a user one manages."""
        name = user or actor.user
        if name is None:
            raise invalid("/user", "say whose password it is")
        proven = None
        if name == actor.user:
            if current is None:
                raise invalid("/current", "your present password is needed")
            found = await self._check(name, current, source, "auth.users.setPassword")
            proven = found.password
        kept = await self._hashed(actor, "auth.users.setPassword", name, password)
        return await self.write(
            lambda: self.registry.set_password(actor, name, kept, proven=proven)
        )

    async def _hashed(self, actor: Actor, action: str, name: str, password: str) -> str:
        rules, registry = self.registry.rules, self.registry
        try:
            passwords.require_strength(password, rules.shortest_password)
        except InvalidParams as error:
            target = name if users.is_user_name(name) else "(no name)"
            code, entry = error.code, Entry(actor.name, action, target, actor.credential or "")
            await self.write(lambda: registry.refuse(entry, code))
            raise
        return await self.bench.run(passwords.make_hash, password, rules.cost)
