"""The wiring: capability to act, settings to rules, counters to telemetry.

Owns nothing but that; what may be done, and by whom, is said in `registry` and `actor`.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

from apikeys import audit, credentials, shapes, shown
from apikeys.actor import Actor
from apikeys.faults import invalid
from apikeys.logins import Door
from apikeys.registry import Registry
from apikeys.scopes import allows
from apikeys.seeding import open_store
from apikeys.settings import ApikeysSettings
from apikeys.throttle import Rates, purge
from bkg_workbench.sdk import Context, Forbidden, Plugin, routes

FLUSH_SECONDS, PURGE_FLUSHES = 60.0, 60
DAY_MS = 86_400_000
ADVICE_DAYS = 30

FEATURES = [
    {
        "title": "Keys that say what they may",
        "text": "A key's scopes are the capabilities it may request. It has a label, an end, a "
        "limit of requests if you like, and is rotated without a gap.",
    },
    {
        "title": "Nobody gives what they do not have",
        "text": "A key, a user or a child token never exceeds whoever made it, and is cut down "
        "with them. A revocation is in force when its call answers.",
    },
    {
        "title": "A trail that shows if it was touched",
        "text": "Each login, key and refusal is a row chained to the one before it. "
        "`bkg audit verify` checks the chain.",
    },
]

plugin = Plugin(
    "apikeys",
    settings=ApikeysSettings,
    version="1.0.0",
    features=FEATURES,
    engine="python",
    threads=2,
)


class _Desk:
    """What is open while the plug-in runs."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.door, self.rates = registry, Door(registry), Rates()
        self.counts: Counter[str] = Counter()
        self.used: dict[str, int] = {}
        self.uses: Counter[tuple[str, str, int]] = Counter()
        self.keeping = asyncio.create_task(self._keep(), name="apikeys-keep")

    async def _keep(self) -> None:
        """Once a minute: what was used is written down; once an hour: what ended is removed."""
        for turn in range(2**62):
            try:
                await self.flush(purges=turn % PURGE_FLUSHES == 0)
            except Exception:
                plugin.log.exception("What was used could not be written down.")
            await plugin.clock.sleep(FLUSH_SECONDS)

    async def flush(self, *, purges: bool = False) -> None:
        used, self.used = self.used, {}
        uses, self.uses = self.uses, Counter()
        if not (used or purges):
            return

        def work() -> None:
            with self.registry.store.writing() as tx:
                credentials.touch(tx, used, uses)
                if purges:
                    now = self.registry.now()
                    credentials.purge(tx, now)
                    purge(tx, now)

        await self.door.write(work)
        if purges:
            seq, head = audit.head(self.registry.store.reader)
            plugin.log.info("The audit trail has %d records; its head is %d:%s.", seq, seq, head)

    async def close(self) -> None:
        self.keeping.cancel()
        await asyncio.gather(self.keeping, return_exceptions=True)
        await self.flush()
        self.door.close()
        self.registry.store.close()


_open: _Desk | None = None


def _desk() -> _Desk:
    assert _open is not None, "requests come only after on_start"
    return _open


# -- who is there ----------------------------------------------------------------------------------
@plugin.capability("auth.login")
async def login(payload: shapes.LoginQuery) -> shapes.LoginResult:
    """A session for a user: its token is valid for 24 hours."""
    desk = _desk()
    user, issued = await desk.door.login(payload.username, payload.password, payload.source)
    desk.counts["logins"] += 1
    session = credentials.find(desk.registry.store.reader, issued.id)
    if session is None or session.expires_at is None:
        raise Forbidden("The session was ended at once.", scope="auth.login")
    return shapes.LoginResult(
        token=issued.token,
        user=user.name,
        scopes=list(user.scopes),
        expires_at=session.expires_at,
        id=issued.id,
    )


@plugin.capability("auth.logout")
async def logout(payload: shapes.LogoutQuery, context: Context) -> shapes.LogoutResult:
    """End a session now, with the child tokens that came from it."""
    desk, actor = _desk(), Actor.of(context.caller)
    ended = await desk.door.write(lambda: desk.registry.logout(actor, payload.token))
    return shapes.LogoutResult(ended=ended)


@plugin.capability("auth.validate", idempotent=True)
async def validate(payload: shapes.ValidateQuery) -> shapes.ValidateResult:
    """Who a token belongs to, and whether it has a scope."""
    desk = _desk()
    registry, now = desk.registry, desk.registry.now()
    desk.counts["validations"] += 1
    desk.counts["refusals"] += 1  # until it is known better
    proof = credentials.prove(registry.store.reader, payload.token, now)
    one = proof.credential
    scope = payload.scope
    if scope is None:
        route = routes.find(payload.method, payload.path)
        scope = route.scope if route else None
    if scope is not None and not allows(proof.scopes, scope):
        raise Forbidden(
            f"This {one.kind} of {proof.user} has not got the scope {scope}.",
            who=proof.user,
            scope=scope,
        )
    if proof.limited is not None and proof.limited.rate_per_minute is not None:
        desk.rates.take(proof.limited.id, proof.limited.rate_per_minute, now)
    desk.counts["refusals"] -= 1
    desk.used[one.id] = now
    if scope is not None:
        desk.uses[(one.id, scope, now // DAY_MS)] += 1
    return shapes.ValidateResult(
        user=proof.user,
        scopes=list(proof.scopes),
        expires_at=proof.expires_at,
        kind=one.kind,
        id=one.id,
        key_id=one.id if one.kind == "key" else None,
    )


# -- keys and child tokens -------------------------------------------------------------------------
@plugin.capability("auth.createKey")
async def create_key(payload: shapes.CreateKeyQuery, context: Context) -> shapes.KeyResult:
    """A new API key; its token is shown once."""
    desk, actor = _desk(), Actor.of(context.caller)
    registry, end = desk.registry, payload.expires_at
    if payload.expires_in_seconds is not None:
        if end is not None:
            raise invalid("/expires_at", "give this or expiresInSeconds, not both")
        end = registry.now() + payload.expires_in_seconds * 1000
    key, issued = await desk.door.write(
        lambda: registry.create_key(
            actor,
            payload.user,
            payload.scopes,
            label=payload.label,
            expires_at=end,
            rate_per_minute=payload.rate_per_minute,
        )
    )
    return shown.new_key(key, issued, desk.registry.now())


@plugin.capability("auth.listKeys", idempotent=True)
async def list_keys(payload: shapes.ListKeysQuery, context: Context) -> list[shapes.Key]:
    """API keys, masked."""
    desk = _desk()
    await desk.flush()
    found = desk.registry.keys(Actor.of(context.caller), payload.user, ended=payload.ended)
    since = desk.registry.now() // DAY_MS - ADVICE_DAYS
    reader = desk.registry.store.reader
    return [
        shown.key(one, desk.registry.now(), credentials.used_scopes(reader, one.id, since))
        for one in found
    ]


@plugin.capability("auth.revokeKey", destructive=True)
async def revoke_key(payload: shapes.RevokeKeyQuery, context: Context) -> shapes.RevokeKeyResult:
    """End an API key now."""
    desk, actor = _desk(), Actor.of(context.caller)
    revoked = await desk.door.write(lambda: desk.registry.revoke_key(actor, payload.id))
    desk.rates.forget(payload.id)
    return shapes.RevokeKeyResult(revoked=revoked)


@plugin.capability("auth.rotateKey")
async def rotate_key(payload: shapes.RotateKeyQuery, context: Context) -> shapes.KeyResult:
    """A new secret for an API key; the old one stays valid for a while."""
    desk, actor = _desk(), Actor.of(context.caller)
    overlap = None if payload.overlap_seconds is None else payload.overlap_seconds * 1000
    key, issued = await desk.door.write(
        lambda: desk.registry.rotate_key(actor, payload.id, overlap)
    )
    return shown.new_key(key, issued, desk.registry.now())


@plugin.capability("auth.createChild")
async def create_child(payload: shapes.CreateChildQuery, context: Context) -> shapes.ChildResult:
    """A short-lived token that may do no more than what it comes from."""
    desk, actor = _desk(), Actor.of(context.caller)
    proof, issued = await desk.door.write(
        lambda: desk.registry.create_child(
            actor,
            token=payload.token,
            user=payload.user,
            scopes=payload.scopes,
            life_ms=payload.ttl_seconds * 1000,
            label=payload.label,
        )
    )
    return shapes.ChildResult(
        token=issued.token,
        id=issued.id,
        user=proof.user,
        scopes=list(proof.scopes),
        expires_at=proof.expires_at,
        parent=proof.credential.parent,
    )


# -- users and sessions ----------------------------------------------------------------------------
@plugin.capability("auth.users.list", idempotent=True)
async def list_users(payload: shapes.Nothing, context: Context) -> list[shapes.UserResult]:
    """Users whom the caller manages."""
    return [shown.user(user) for user in _desk().registry.users(Actor.of(context.caller))]


@plugin.capability("auth.users.create")
async def create_user(payload: shapes.CreateUserQuery, context: Context) -> shapes.UserResult:
    """A new user."""
    return shown.user(
        await _desk().door.create_user(
            Actor.of(context.caller), payload.name, payload.password, payload.scopes
        )
    )


@plugin.capability("auth.users.update")
async def update_user(payload: shapes.UpdateUserQuery, context: Context) -> shapes.UserResult:
    """Change a user's scopes, disable or enable them."""
    desk, actor = _desk(), Actor.of(context.caller)
    return shown.user(
        await desk.door.write(
            lambda: desk.registry.update_user(actor, payload.name, payload.scopes, payload.disabled)
        )
    )


@plugin.capability("auth.users.delete", destructive=True)
async def delete_user(payload: shapes.DeleteUserQuery, context: Context) -> shapes.DeletedResult:
    """Remove a user with their keys and sessions."""
    desk, actor = _desk(), Actor.of(context.caller)
    await desk.door.write(lambda: desk.registry.delete_user(actor, payload.name))
    return shapes.DeletedResult(deleted=True)


@plugin.capability("auth.users.setPassword")
async def set_password(
    payload: shapes.SetPasswordQuery, context: Context
) -> shapes.SetPasswordResult:
    """Change a password; the user's sessions end."""
    ended = await _desk().door.set_password(
        Actor.of(context.caller), payload.user, payload.current, payload.password, payload.source
    )
    return shapes.SetPasswordResult(sessions_ended=ended)


@plugin.capability("auth.sessions.list", idempotent=True)
async def list_sessions(
    payload: shapes.ListSessionsQuery, context: Context
) -> list[shapes.Session]:
    """Sessions that are valid."""
    desk = _desk()
    await desk.flush()
    return [
        shapes.Session(
            id=one.id,
            user=one.user,
            created_at=one.created_at,
            expires_at=one.expires_at,
            last_used_at=one.last_used_at,
            source=one.source,
        )
        for one in desk.registry.sessions(Actor.of(context.caller), payload.user)
    ]


@plugin.capability("auth.sessions.revoke", destructive=True)
async def revoke_sessions(
    payload: shapes.RevokeSessionsQuery, context: Context
) -> shapes.RevokeSessionsResult:
    """End one session, or all of a user."""
    desk, actor = _desk(), Actor.of(context.caller)
    revoked = await desk.door.write(
        lambda: desk.registry.revoke_sessions(actor, payload.id, payload.user)
    )
    return shapes.RevokeSessionsResult(revoked=revoked)


# -- the trail -------------------------------------------------------------------------------------
@plugin.capability("auth.audit.list", idempotent=True)
async def list_audit(payload: shapes.AuditQuery, context: Context) -> shapes.AuditResult:
    """What was done and refused, and by whom."""
    found = _desk().registry.trail(Actor.of(context.caller), payload.after, payload.limit)
    return shapes.AuditResult(records=found, next=found[-1]["seq"] if found else payload.after)


@plugin.capability("auth.audit.verify", idempotent=True, thread=True)
def verify_audit(payload: shapes.VerifyQuery) -> shapes.VerifyResult:
    """Whether the chain of the trail is whole."""
    if (payload.seq is None) != (payload.hash is None):
        raise invalid("/seq", "a noted head has both seq and hash")
    noted = (payload.seq, payload.hash) if payload.seq and payload.hash else None
    found = _desk().registry.verify(noted)
    return shapes.VerifyResult(
        is_whole=found.is_whole,
        records=found.records,
        head=found.head,
        broken_at=found.broken_at,
        why=found.why,
    )


# -- living ----------------------------------------------------------------------------------------
@plugin.on_start
def begin() -> None:
    """Open the database; the first time, make it with its first user."""
    global _open
    os.umask(0o077)
    place = os.environ.get("BKG_DATABASE_PATH") or ".bkg-apikeys.db"
    rules = plugin.settings.rules()
    store, is_first = open_store(Path(place), plugin.clock, os.environ, rules.cost)
    _open = _Desk(Registry(store, rules))
    plugin.telemetry_seconds = float(plugin.settings.telemetry_seconds)
    if is_first:
        plugin.log.info("This is the first start: the user admin was made.")


@plugin.on_config
def apply(new: ApikeysSettings, old: ApikeysSettings) -> None:
    """Take new settings without a restart."""
    _desk().registry.rules = new.rules()
    plugin.telemetry_seconds = float(new.telemetry_seconds)


@plugin.on_stop
async def end() -> None:
    """Write down what was used, and close."""
    global _open
    if _open is not None:
        desk, _open = _open, None
        await desk.close()


for _name in ("logins", "validations", "refusals"):
    plugin.telemetry(_name, lambda name=_name: _open.counts[name] if _open else 0)
plugin.telemetry("logins_failed", lambda: _open.door.failed if _open else 0)
plugin.telemetry("logins_throttled", lambda: _open.door.throttled if _open else 0)
plugin.telemetry("passwords_waiting", lambda: _open.door.bench.waiting if _open else 0)
