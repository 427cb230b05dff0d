"""Users: who there is, what they may do, and their passwords' hashes.

Owns the rows of `users`. Does not judge who may change them (`actor`) nor hash (`passwords`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apikeys.faults import invalid
from apikeys.scopes import EVERYTHING, is_scope
from apikeys.store import Transaction
from bkg_workbench.sdk import InvalidParams

ADMIN = "admin"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
MAX_SCOPES = 64


@dataclass(frozen=True)
class User:
    """A row of `users`; times in ms since 1970."""

    name: str
    password: str
    scopes: tuple[str, ...]
    disabled: bool
    created_at: int
    password_at: int
    last_login_at: int | None

    @property
    def is_admin(self) -> bool:
        """Whether the user may do everything."""
        return any(scope in EVERYTHING for scope in self.scopes)

    def __repr__(self) -> str:
        return f"<User {self.name}>"


def is_user_name(text: str) -> bool:
    """Whether `text` may be a user's name."""
    return _NAME.fullmatch(text) is not None


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes, each once. Raises `InvalidParams` that points at one that is none."""
    if len(scopes) > MAX_SCOPES:
        raise invalid("/scopes", f"there are more than {MAX_SCOPES}")
    for index, scope in enumerate(scopes):
        if not is_scope(scope):
            raise invalid(
                f"/scopes/{index}",
                "it is no scope: a capability (repo.tree), an area (repo.*), or admin",
            )
    return tuple(dict.fromkeys(scopes))


def find(tx: Transaction, name: str) -> User | None:
    """The user of a name."""
    if not is_user_name(name):
        return None
    row = tx.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()
    return _user(row) if row else None


def get(tx: Transaction, name: str, pointer: str = "/name") -> User:
    """The user of a name. Raises `InvalidParams` where there is none."""
    user = find(tx, name)
    if user is None:
        raise invalid(pointer, "there is no such user")
    return user


def every(tx: Transaction) -> list[User]:
    """All users by name."""
    return [_user(row) for row in tx.execute("SELECT * FROM users ORDER BY name")]


def create(tx: Transaction, name: str, password_hash: str, scopes: Sequence[str], now: int) -> User:
    """A new user. Raises `InvalidParams` for a name that is bad or taken."""
    if not is_user_name(name):
        raise invalid("/name", "it has 1 to 64 of a-z, 0-9, '.', '_', '@', '-', the first none of "
                    "the signs")  # fmt: skip
    if find(tx, name) is not None:
        raise invalid("/name", "there is a user of this name already")
    tx.execute(
        "INSERT INTO users (name, password, scopes, created_at, password_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (name, password_hash, json.dumps(list(scopes)), now, now),
    )
    return get(tx, name)


def update(
    tx: Transaction, user: User, scopes: Sequence[str] | None, disabled: bool | None
) -> User:
    """Change scopes or the ban. Raises `InvalidParams` where no admin would be left."""
    new_scopes = user.scopes if scopes is None else tuple(scopes)
    new_disabled = user.disabled if disabled is None else disabled
    tx.execute(
        "UPDATE users SET scopes = ?, disabled = ? WHERE name = ?",
        (json.dumps(list(new_scopes)), int(new_disabled), user.name),
    )
    _require_admin(tx)
    return get(tx, user.name)


def delete(tx: Transaction, user: User) -> None:
    """Remove a user with all that is theirs. Raises `InvalidParams` for the last admin."""
    tx.execute("DELETE FROM users WHERE name = ?", (user.name,))
    _require_admin(tx)


def set_password(tx: Transaction, user: User, password_hash: str, now: int) -> None:
    """Keep a new hash; its sessions are the caller's matter."""
    tx.execute(
        "UPDATE users SET password = ?, password_at = ? WHERE name = ?",
        (password_hash, now, user.name),
    )


def rehashed(tx: Transaction, user: User, password_hash: str) -> None:
    """Keep a costlier hash of the same password, unless it was changed meanwhile."""
    tx.execute(
        "UPDATE users SET password = ? WHERE name = ? AND password = ?",
        (password_hash, user.name, user.password),
    )


def logged_in(tx: Transaction, user: User, now: int) -> None:
    """Note when the user was here."""
    tx.execute("UPDATE users SET last_login_at = ? WHERE name = ?", (now, user.name))


def _require_admin(tx: Transaction) -> None:
    if not any(user.is_admin and not user.disabled for user in every(tx)):
        raise InvalidParams("No enabled admin would be left; make another one first.")


def _user(row: Any) -> User:
    return User(
        name=row["name"],
        password=row["password"],
        scopes=tuple(json.loads(row["scopes"])),
        disabled=bool(row["disabled"]),
        created_at=row["created_at"],
        password_at=row["password_at"],
        last_login_at=row["last_login_at"],
    )
