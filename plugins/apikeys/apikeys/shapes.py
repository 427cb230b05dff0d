"""What the capabilities take and give, as types: names, bounds and descriptions of the wire.

Times are integer milliseconds since 1970 and end in `_at`; durations are in seconds and say so.
Secrets have no bounds here, so that no message about a bound repeats one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Password = Annotated[str, Meta(extra_json_schema={"writeOnly": True, "format": "password"})]
Scope = Annotated[str, Meta(description="A capability (repo.tree), an area (repo.*), or admin")]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Label = Annotated[str, Meta(max_length=200, description="What it is for; for lists and the trail")]
Source = Annotated[str, Meta(max_length=64, description="The address that asks, for throttling")]


class Query(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of the payloads."""


class Result(msgspec.Struct, kw_only=True):
    """Base of the results."""


class LoginQuery(Query):
    """Who logs in."""

    username: str
    password: Password
    source: Source = ""


class LoginResult(Result):
    """A session. `token` is shown here only."""

    token: str
    user: str
    scopes: list[str]
    expires_at: int
    id: str


class ValidateQuery(Query):
    """Whose token it is, and whether it is good for what is asked.

    That is `scope` where given, else what the gateway's route of `method` and `path` takes. Of any
    other path the answer says who it is and what they may, and whoever serves it judges.
    """

    token: Password
    method: Annotated[str, Meta(max_length=32)] = ""
    path: Annotated[str, Meta(max_length=8192)] = ""
    scope: Annotated[str, Meta(max_length=128)] | None = None


class ValidateResult(Result):
    """`id` is that of the key, session or child token; `keyId` the same for a key."""

    user: str
    scopes: list[str]
    expires_at: int | None
    kind: Literal["key", "session", "child"]
    id: str
    key_id: str | None = msgspec.field(name="keyId", default=None)


class LogoutQuery(Query):
    """The session to end; without `token` the one that the caller came with."""

    token: Password | None = None


class LogoutResult(Result):
    """Whether it was ended."""

    ended: bool


class CreateKeyQuery(Query, kw_only=True):
    """A key for `user` (by default oneself). Scopes are at most one's own and the user's."""

    user: str | None = None
    scopes: list[Scope]
    label: Label = ""
    expires_at: int | None = None
    expires_in_seconds: Annotated[int, Meta(ge=1, le=315_360_000)] | None = msgspec.field(
        name="expiresInSeconds", default=None
    )
    rate_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = msgspec.field(
        name="ratePerMinute", default=None
    )


class Key(Result):
    """A key as lists show it. `usedScopes`: how often each scope was used in 30 days."""

    id: str
    user: str
    scopes: list[str]
    label: str
    masked: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    rotated_at: int | None
    overlap_until: int | None
    rate_per_minute: int | None = msgspec.field(name="ratePerMinute", default=None)
    is_valid: bool = msgspec.field(name="isValid", default=True)
    used_scopes: dict[str, int] = msgspec.field(name="usedScopes", default_factory=dict)


class KeyResult(Key, kw_only=True):
    """A new key, or a new secret. `token` is shown here only."""

    token: str


class ListKeysQuery(Query):
    """Keys of `user`, else of all whom the caller manages; with `ended` also those that ended."""

    user: str | None = None
    ended: bool = False


class RevokeKeyQuery(Query):
    """The key to end."""

    id: Id


class RevokeKeyResult(Result):
    """False where there is no such key that is valid and the caller's to end."""

    revoked: bool


class RotateKeyQuery(Query):
    """The key that gets a new secret; the old one is valid for `overlapSeconds` more."""

    id: Id
    overlap_seconds: Annotated[int, Meta(ge=0, le=2_592_000)] | None = msgspec.field(
        name="overlapSeconds", default=None
    )


class CreateChildQuery(Query):
    """A token below `token` (else below what the caller came with), or of `user`."""

    token: Password | None = None
    user: str | None = None
    scopes: list[Scope] | None = None
    ttl_seconds: Annotated[int, Meta(ge=1, le=86_400)] = msgspec.field(
        name="ttlSeconds", default=900
    )
    label: Label = ""


class ChildResult(Result):
    """A child token, shown here only. It ends with its parent, at the latest at `expires_at`."""

    token: str
    id: str
    user: str
    scopes: list[str]
    expires_at: int | None
    parent: str | None


class Nothing(Query):
    """No parameters."""


class UserResult(Result):
    """A user."""

    name: str
    scopes: list[str]
    disabled: bool
    created_at: int
    password_at: int
    last_login_at: int | None


class CreateUserQuery(Query):
    """A new user; scopes are at most the caller's."""

    name: str
    password: Password
    scopes: list[Scope] = []


class UpdateUserQuery(Query):
    """What to change of a user."""

    name: str
    scopes: list[Scope] | None = None
    disabled: bool | None = None


class DeleteUserQuery(Query):
    """Whom to remove, with their keys and sessions."""

    name: str


class DeletedResult(Result):
    """That it is done."""

    deleted: bool


class SetPasswordQuery(Query, kw_only=True):
    """A new password. One's own takes the present one as `current`."""

    user: str | None = None
    current: Password | None = None
    password: Password
    source: Source = ""


class SetPasswordResult(Result):
    """How many sessions ended with the old password."""

    sessions_ended: int = msgspec.field(name="sessionsEnded")


class Session(Result):
    """A valid session."""

    id: str
    user: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    source: str


class ListSessionsQuery(Query):
    """Sessions of `user`, else of all whom the caller manages."""

    user: str | None = None


class RevokeSessionsQuery(Query):
    """One session (or child token) by `id`, else all sessions of `user` (by default oneself)."""

    id: Id | None = None
    user: str | None = None


class RevokeSessionsResult(Result):
    """How many ended."""

    revoked: int


class AuditQuery(Query):
    """Rows after a seq, else the newest."""

    after: Annotated[int, Meta(ge=0)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


class AuditResult(Result):
    """Rows, oldest first; `next` goes on as `after`."""

    records: list[dict[str, Any]]
    next: int | None


class VerifyQuery(Query):
    """With a head that was noted earlier, also whether the chain still holds it."""

    seq: Annotated[int, Meta(ge=1)] | None = None
    hash: Annotated[str, Meta(max_length=64)] | None = None


class VerifyResult(Result, kw_only=True):
    """Whether the chain is whole; its head is worth noting somewhere else."""

    is_whole: bool = msgspec.field(name="isWhole")
    records: int
    head: str
    broken_at: int | None = msgspec.field(name="brokenAt", default=None)
    why: str | None = None
