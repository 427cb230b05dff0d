"""What may be done with users and credentials, and by whom: each act is judged, done and told of.

Owns the acts. Each runs in one transaction with its row of the trail; one that is refused changes
nothing and leaves a row too. Acts block and may run in any thread; what only reads (`sessions`,
`keys`, `users`, `trail`) belongs to the thread that opened the store. Passwords come here as hashes
only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apikeys import audit, credentials, passwords, throttle, users
from apikeys.actor import Actor
from apikeys.credentials import Credential, Proof
from apikeys.faults import invalid
from apikeys.scopes import cut, is_within
from apikeys.store import Store, Transaction
from apikeys.tokens import Issued
from apikeys.users import User
from bkg_workbench.sdk import Forbidden, InvalidParams, Unauthenticated, WorkbenchError, chain

T = TypeVar("T")

MAX_KEYS = 1000
"""Keys of one user that are valid at a time."""
MAX_CHILDREN = 1000


@dataclass(frozen=True)
class Rules:
    """The operator's settings, in the units of this package."""

    session_ms: int = 24 * 3_600_000
    sessions_per_user: int = 10
    cost: int = passwords.COST
    shortest_password: int = 12
    overlap_ms: int = 86_400_000


@dataclass
class Entry:
    """The row of the trail that an act will leave; it fills in what it learns."""

    actor: str
    action: str
    target: str = ""
    source: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def write(self, tx: Transaction, now: int, outcome: str = "ok") -> None:
        """Append it to the trail."""
        audit.append(
            tx, now, actor=self.actor, action=self.action, target=self.target,
            source=self.source, outcome=outcome, detail=self.detail,
        )  # fmt: skip


class Registry:
    """The acts, on an open store."""

    def __init__(self, store: Store, rules: Rules | None = None) -> None:
        self.store, self.rules = store, rules or Rules()

    def now(self) -> int:
        """The present, as expiry is measured."""
        return self.store.watch.now_ms()

    def act(self, entry: Entry, work: Callable[[Transaction, int], T]) -> T:
        """Do it and tell of it, both or neither; tell of a refusal."""
        try:
            with self.store.writing() as tx:
                now = self.now()
                result = work(tx, now)
                entry.write(tx, now)
                return result
        except WorkbenchError as error:
            self.refuse(entry, error.code)
            raise

    def refuse(self, entry: Entry, outcome: str) -> None:
        """Tell of an act that was refused."""
        with self.store.writing() as tx:
            entry.write(tx, self.now(), outcome)

    def _entry(self, actor: Actor, action: str, target: str = "", **detail: Any) -> Entry:
        source = actor.credential or ""
        return Entry(actor.name, action, target, source, {k: v for k, v in detail.items() if v})

    # -- sessions -------------------------------------------------------------------------------
    def open_session(self, user: User, source: str, new_hash: str | None) -> tuple[User, Issued]:
        """A session for a user whose password was right a moment ago."""

        def work(tx: Transaction, now: int) -> tuple[User, Issued]:
            present = users.find(tx, user.name)
            if present is None or present.disabled or present.password != user.password:
                raise Unauthenticated("The user name or the password is wrong.")
            if new_hash is not None:
                users.rehashed(tx, present, new_hash)
            users.logged_in(tx, present, now)
            throttle.succeeded(tx, user.name, source, now)
            session, issued = credentials.create(
                tx, "session", user.name, now,
                expires_at=now + self.rules.session_ms, source=source,
            )  # fmt: skip
            credentials.keep_newest_sessions(tx, user.name, self.rules.sessions_per_user, now)
            entry.detail["session"] = session.id
            return present, issued

        entry = Entry(user.name, "auth.login", user.name, source)
        return self.act(entry, work)

    def login_failed(self, username: str, source: str, action: str = "auth.login") -> None:
        """Count and tell of a wrong name or password."""
        # What was typed in place of a name may be a password.
        known = username if users.is_user_name(username) else "(no user name)"
        with self.store.writing() as tx:
            now = self.now()
            throttle.failed(tx, known, source, now)
            Entry("(unknown)", action, known, source).write(tx, now, "unauthenticated")

    def logout(self, actor: Actor, token: str | None) -> bool:
        """End the session, or child token, of a token, else the one that the actor came with."""

        def work(tx: Transaction, now: int) -> bool:
            if token is not None:
                found = credentials.prove(tx, token, now).credential
            else:
                found = credentials.find(tx, actor.credential or "") or _none("/token")
            if found.kind == "key":
                raise InvalidParams("That is an API key; revoke it instead.")
            entry.target = found.id
            credentials.revoke(tx, found, now)
            return True

        entry = self._entry(actor, "auth.logout")
        return self.act(entry, work)

    def sessions(self, actor: Actor, user: str | None) -> list[Credential]:
        """Valid sessions of a user, else of all whom the actor manages."""
        now = self.now()
        return [
            one
            for owner in self._managed(actor, user)
            for one in credentials.of_user(self.store.reader, owner.name, "session")
            if one.ended(now) is None
        ]

    def revoke_sessions(self, actor: Actor, identity: str | None, user: str | None) -> int:
        """End one session by id, or all of a user; how many."""

        def work(tx: Transaction, now: int) -> int:
            if identity is None:
                owner = users.get(tx, user or actor.user or "", "/user")
                self._require_managed(actor, owner)
                return credentials.revoke_sessions(tx, owner.name, now)
            found = self._owned(tx, actor, identity, ("session", "child"))
            if found is None or found.ended(now) is not None:
                return 0
            credentials.revoke(tx, found, now)
            return 1

        entry = self._entry(actor, "auth.sessions.revoke", identity or user or actor.user or "")
        return self.act(entry, work)

    # -- keys -----------------------------------------------------------------------------------
    def create_key(
        self,
        actor: Actor,
        user: str | None,
        scopes: list[str],
        *,
        label: str = "",
        expires_at: int | None = None,
        rate_per_minute: int | None = None,
    ) -> tuple[Credential, Issued]:
        """A key for the actor, or for a user whom they manage."""

        def work(tx: Transaction, now: int) -> tuple[Credential, Issued]:
            wanted = users.check_scopes(scopes)
            owner = users.get(tx, user or actor.user or "", "/user")
            if owner.name != actor.user:
                actor.require_over(owner.name, owner.scopes)
            actor.require(wanted)
            _require_within(owner, wanted)
            credentials.require_future(expires_at, now)
            self._require_room(tx, owner, "key", MAX_KEYS, now)
            made = credentials.create(
                tx, "key", owner.name, now, scopes=wanted, label=label,
                expires_at=expires_at, rate_per_minute=rate_per_minute,
            )  # fmt: skip
            entry.detail["key"] = made[0].id
            return made

        entry = self._entry(actor, "auth.createKey", user or actor.user or "",
                            scopes=scopes[:64], label=label)  # fmt: skip
        return self.act(entry, work)

    def keys(self, actor: Actor, user: str | None, *, ended: bool) -> list[Credential]:
        """Keys of a user, else of all whom the actor manages."""
        now = self.now()
        return [
            one
            for owner in self._managed(actor, user)
            for one in credentials.of_user(self.store.reader, owner.name, "key")
            if ended or one.ended(now) is None
        ]

    def revoke_key(self, actor: Actor, identity: str) -> bool:
        """End a key now. False where there is no such key, or it is not the actor's to end."""

        def work(tx: Transaction, now: int) -> bool:
            found = self._owned(tx, actor, identity, ("key",))
            if found is None or found.ended(now) is not None:
                entry.detail["found"] = False
                return False
            credentials.revoke(tx, found, now)
            return True

        entry = self._entry(actor, "auth.revokeKey", _shown(identity))
        return self.act(entry, work)

    def rotate_key(
        self, actor: Actor, identity: str, overlap_ms: int | None
    ) -> tuple[Credential, Issued]:
        """A new secret for a key; the present one stays valid for the overlap."""

        def work(tx: Transaction, now: int) -> tuple[Credential, Issued]:
            found = self._owned(tx, actor, identity, ("key",))
            if found is None or found.ended(now) is not None:
                raise invalid("/id", "there is no such key, or it has ended")
            # Whoever gets the new secret gets all that the key may.
            actor.require(credentials.standing(tx, found, now).scopes)
            overlap = self.rules.overlap_ms if overlap_ms is None else overlap_ms
            issued = credentials.rotate(tx, found, now, overlap)
            entry.detail["overlapSeconds"] = overlap // 1000
            return credentials.find(tx, identity) or found, issued

        entry = self._entry(actor, "auth.rotateKey", _shown(identity))
        return self.act(entry, work)

    # -- child tokens ---------------------------------------------------------------------------
    def create_child(
        self,
        actor: Actor,
        *,
        token: str | None,
        user: str | None,
        scopes: list[str] | None,
        life_ms: int,
        label: str,
    ) -> tuple[Proof, Issued]:
        """A token that may do less and ends sooner than what it comes from."""

        def work(tx: Transaction, now: int) -> tuple[Proof, Issued]:
            owner, rights, parent = self._rights(tx, actor, token, user, now)
            wanted = users.check_scopes(rights if scopes is None else scopes)
            _require_below(actor, wanted, rights)
            self._require_room(tx, owner, "child", MAX_CHILDREN, now)
            made, issued = credentials.create(
                tx, "child", owner.name, now, scopes=wanted, label=label,
                expires_at=now + life_ms, parent=parent.credential.id if parent else None,
            )  # fmt: skip
            entry.target = owner.name
            entry.detail |= {"child": made.id, "scopes": list(wanted), "parent": made.parent}
            return credentials.standing(tx, made, now), issued

        entry = self._entry(actor, "auth.createChild", user or actor.user or "", label=label)
        return self.act(entry, work)

    def _rights(
        self, tx: Transaction, actor: Actor, token: str | None, user: str | None, now: int
    ) -> tuple[User, list[str], Proof | None]:
        """Whose child it is, what it may have at most, and what it comes from, if anything."""
        if token is not None:
            parent: Proof | None = credentials.prove(tx, token, now)
        else:
            found = credentials.find(tx, actor.credential) if actor.credential else None
            parent = credentials.standing(tx, found, now) if found else None
        if parent is None:
            owner = users.get(tx, user or actor.user or "", "/user")
            if owner.name != actor.user:
                actor.require_over(owner.name, owner.scopes)
            return owner, cut(owner.scopes, actor.rights()), None
        if credentials.depth(tx, parent.credential) >= credentials.MAX_DEPTH:
            most = credentials.MAX_DEPTH
            raise InvalidParams(f"A line of child tokens has at most {most} members.")
        # Whoever shows the parent's own token may do all that it may.
        scopes = list(parent.scopes)
        rights = scopes if token is not None else cut(scopes, actor.rights())
        return users.get(tx, parent.user, "/user"), rights, parent

    # -- users ----------------------------------------------------------------------------------
    def users(self, actor: Actor) -> list[User]:
        """Whom the actor manages, themselves too."""
        return self._managed(actor, None)

    def create_user(self, actor: Actor, name: str, password_hash: str, scopes: list[str]) -> User:
        """A new user, with scopes that the actor covers."""

        def work(tx: Transaction, now: int) -> User:
            wanted = users.check_scopes(scopes)
            actor.require(wanted)
            return users.create(tx, name, password_hash, wanted, now)

        entry = self._entry(actor, "auth.users.create", _shown(name), scopes=scopes[:64])
        return self.act(entry, work)

    def update_user(
        self, actor: Actor, name: str, scopes: list[str] | None, disabled: bool | None
    ) -> User:
        """Change a user's scopes, or disable or enable them; a disabled user's sessions end."""

        def work(tx: Transaction, now: int) -> User:
            user = users.get(tx, name)
            actor.require_over(name, user.scopes)
            wanted = None if scopes is None else users.check_scopes(scopes)
            actor.require(wanted or ())
            changed = users.update(tx, user, wanted, disabled)
            if changed.disabled:
                credentials.revoke_sessions(tx, name, now)
            return changed

        detail = {} if scopes is None else {"scopes": scopes[:64]}
        entry = self._entry(actor, "auth.users.update", _shown(name), **detail)
        if disabled is not None:
            entry.detail["disabled"] = disabled
        return self.act(entry, work)

    def delete_user(self, actor: Actor, name: str) -> None:
        """Remove a user with their keys and sessions."""

        def work(tx: Transaction, now: int) -> None:
            user = users.get(tx, name)
            actor.require_over(name, user.scopes)
            users.delete(tx, user)
            throttle.forget(tx, name)

        self.act(self._entry(actor, "auth.users.delete", _shown(name)), work)

    def set_password(self, actor: Actor, name: str, password_hash: str, *, proven: str | None
    ) -> int:  # fmt: skip
        """Keep a new password's hash and end the user's sessions; how many there were.

        `proven` is the hash that the user's present password was checked against, None where the
        actor changes somebody else's.
        """

        def work(tx: Transaction, now: int) -> int:
            user = users.get(tx, name, "/user")
            if proven is None:
                actor.require_over(name, user.scopes)
            elif user.password != proven:
                raise Unauthenticated("The password was changed meanwhile.")
            users.set_password(tx, user, password_hash, now)
            throttle.forget(tx, name)
            return credentials.revoke_sessions(tx, name, now)

        return self.act(self._entry(actor, "auth.users.setPassword", _shown(name)), work)

    # -- the trail ------------------------------------------------------------------------------
    def trail(self, actor: Actor, after: int | None, limit: int) -> list[dict[str, Any]]:
        """Rows of the trail: an admin sees all, others their own."""
        whose = None if actor.covers("admin") else actor.name
        return audit.rows(self.store.reader, after=after, limit=limit, actor=whose)

    def verify(self, expected: tuple[int, str] | None = None) -> chain.Verdict:
        """Check the whole trail."""
        with self.store.reading() as tx:
            return audit.verify(tx, expected)

    # -- who manages whom -----------------------------------------------------------------------
    def _managed(self, actor: Actor, name: str | None) -> list[User]:
        reader = self.store.reader
        if name is not None:
            user = users.get(reader, name, "/user")
            self._require_managed(actor, user)
            return [user]
        return [u for u in users.every(reader) if self._manages(actor, u)]

    def _manages(self, actor: Actor, user: User) -> bool:
        return user.name == actor.user or all(actor.covers(scope) for scope in user.scopes)

    def _require_managed(self, actor: Actor, user: User) -> None:
        if user.name != actor.user:
            actor.require_over(user.name, user.scopes)

    def _owned(
        self, tx: Transaction, actor: Actor, identity: str, kinds: tuple[str, ...]
    ) -> Credential | None:
        """A credential that is the actor's own or of a user whom they manage."""
        found = credentials.find(tx, identity)
        if found is None or found.kind not in kinds:
            return None
        owner = users.find(tx, found.user)
        return found if owner is not None and self._manages(actor, owner) else None

    def _require_room(self, tx: Transaction, owner: User, kind: str, most: int, now: int) -> None:
        row = tx.execute(
            "SELECT count(*) FROM credentials WHERE user = ? AND kind = ? AND revoked_at IS NULL "
            "AND (expires_at IS NULL OR expires_at > ?)",
            (owner.name, kind, now),
        ).fetchone()
        if row[0] >= most:
            raise InvalidParams(f"{owner.name} has {most} of these already; revoke some first.")


def _require_within(owner: User, scopes: tuple[str, ...]) -> None:
    for scope in scopes:
        if not is_within([scope], owner.scopes):
            raise Forbidden(
                f"{owner.name} has not got the scope {scope}, so no key of theirs can.",
                who=owner.name,
                scope=scope,
            )


def _require_below(actor: Actor, scopes: tuple[str, ...], rights: list[str]) -> None:
    for scope in scopes:
        if not is_within([scope], rights):
            raise Forbidden(
                f"A child token cannot have the scope {scope}, which its parent lacks.",
                who=actor.name,
                scope=scope,
            )


def _shown(text: str) -> str:
    """A name or an id for the trail, and nothing that was given in its place."""
    return text if users.is_user_name(text) else "(no name)"


def _none(pointer: str) -> Credential:
    raise invalid(pointer, "say whose session ends: it is not known who asks")
