"""The acts: who may do what, what lasts how long, and the trail that each leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys import credentials, passwords, users
from apikeys.actor import Actor
from apikeys.credentials import Proof
from apikeys.registry import Registry
from apikeys.scopes import is_within
from apikeys.throttle import Rates
from bkg_workbench.sdk import Forbidden, InvalidParams, Overloaded, Unauthenticated, WorkbenchError
from plugins.apikeys.tests.lives import ADMIN, COST, OWNER, PASSWORD, Clock, actor, add_user

HOUR = 3600


def prove(registry: Registry, token: str) -> Proof:
    return credentials.prove(registry.store.reader, token, registry.now())


def is_valid(registry: Registry, token: str) -> bool:
    try:
        prove(registry, token)
    except Unauthenticated:
        return False
    return True


def login(registry: Registry, name: str = "admin") -> str:
    user = users.get(registry.store.reader, name)
    return registry.open_session(user, "", None)[1].token


# -- time ------------------------------------------------------------------------------------------
@pytest.mark.row("A6")
def test_a_session_ends_after_a_day_to_the_second(registry: Registry, clock: Clock) -> None:
    token = login(registry)
    clock.move(24 * HOUR - 1)
    assert is_valid(registry, token)
    clock.move(1)
    assert not is_valid(registry, token)


@pytest.mark.row("A6")
def test_a_clock_that_is_set_back_revives_nothing(
    registry: Registry, clock: Clock, open_registry: Callable[[], Registry]
) -> None:
    token = login(registry)
    clock.move(24 * HOUR)
    assert not is_valid(registry, token)
    clock.wall -= 48 * HOUR * 1000
    assert not is_valid(registry, token)
    fresh = login(registry)
    assert is_valid(registry, fresh)
    again = open_registry()
    assert not is_valid(again, token), "nor does a restart"
    assert is_valid(again, fresh)
    clock.move(24 * HOUR)
    assert not is_valid(again, fresh), "time passes though the wall clock is behind"


@pytest.mark.row("A17")
def test_a_rotated_key_keeps_its_id_and_its_old_secret_for_the_overlap(
    registry: Registry, clock: Clock
) -> None:
    key, old = registry.create_key(OWNER, "admin", ["repo.*"], label="ci")
    rotated, new = registry.rotate_key(ADMIN, key.id, HOUR * 1000)
    assert (rotated.id, rotated.label, rotated.scopes) == (key.id, "ci", ("repo.*",))
    assert new.token != old.token
    clock.move(HOUR - 1)
    assert is_valid(registry, old.token)
    assert is_valid(registry, new.token)
    clock.move(1)
    assert not is_valid(registry, old.token)
    assert is_valid(registry, new.token)


@pytest.mark.row("A17")
def test_a_revocation_ends_the_old_secret_too_and_a_second_rotation_the_first(
    registry: Registry,
) -> None:
    key, first = registry.create_key(OWNER, "admin", ["repo.*"])
    _, second = registry.rotate_key(ADMIN, key.id, None)
    _, third = registry.rotate_key(ADMIN, key.id, None)
    assert [is_valid(registry, t.token) for t in (first, second, third)] == [False, True, True]
    _, fourth = registry.rotate_key(ADMIN, key.id, 0)
    assert [is_valid(registry, t.token) for t in (third, fourth)] == [False, True]
    assert registry.revoke_key(ADMIN, key.id)
    assert not is_valid(registry, fourth.token)
    with pytest.raises(InvalidParams):
        registry.rotate_key(ADMIN, key.id, None)


def test_a_key_ends_when_it_was_said(registry: Registry, clock: Clock) -> None:
    end = clock.now_ms() + 60_000
    _, issued = registry.create_key(OWNER, "admin", ["repo.*"], expires_at=end)
    clock.move(59.9)
    assert is_valid(registry, issued.token)
    clock.move(0.1)
    with pytest.raises(Unauthenticated, match="has expired"):
        prove(registry, issued.token)
    with pytest.raises(InvalidParams, match="past"):
        registry.create_key(OWNER, "admin", ["repo.*"], expires_at=end)


def test_a_key_with_a_limit_is_refused_beyond_it_and_let_in_again() -> None:
    rates = Rates()
    for _ in range(3):
        rates.take("k", 3, 0)
    with pytest.raises(Overloaded) as refusal:
        rates.take("k", 3, 0)
    assert refusal.value.facts["retryAfterSeconds"] == 20
    rates.take("k", 3, 20_000)
    with pytest.raises(Overloaded):
        rates.take("k", 3, 20_000)
    rates.take("other", 3, 20_000)


# -- nobody gives what they lack -------------------------------------------------------------------
ESCALATIONS = [
    (("repo.*",), ["llm.chat"]),
    (("repo.*",), ["repo.tree", "admin"]),
    (("repo.*",), ["*"]),
    (("repo.file.read",), ["repo.file.*"]),
    (("repo.file.*",), ["repo.*"]),
    (("auth.*", "host.*"), ["admin"]),
    ((), ["repo.tree"]),
]


@pytest.mark.row("A15")
@pytest.mark.parametrize(("has", "wants"), ESCALATIONS)
def test_nobody_makes_a_key_user_or_child_with_more_than_they_have(
    registry: Registry, has: tuple[str, ...], wants: list[str]
) -> None:
    ada = add_user(registry, "ada", *has)
    for act in (
        lambda: registry.create_key(ada, None, wants),
        lambda: registry.create_user(ada, "eve", "hash", wants),
        lambda: registry.create_child(
            ada, token=None, user=None, scopes=wants, life_ms=1000, label=""
        ),
        lambda: registry.update_user(ada, "ada", [*has, *wants], None),
    ):
        with pytest.raises(Forbidden) as refusal:
            act()
        assert refusal.value.facts["scope"]
    assert users.find(registry.store.reader, "eve") is None
    assert credentials.of_user(registry.store.reader, "ada", "key") == []


@pytest.mark.row("A15")
def test_a_key_of_few_scopes_does_no_more_though_its_user_could(registry: Registry) -> None:
    add_user(registry, "ada", "repo.*", "llm.chat", "auth.*")
    small = actor("ada", "auth.*", "repo.tree")
    big, _ = registry.create_key(OWNER, "ada", ["repo.*", "llm.chat"])
    with pytest.raises(Forbidden):
        registry.create_key(small, None, ["llm.chat"])
    with pytest.raises(Forbidden, match=r"repo\.\*|llm"):
        registry.rotate_key(small, big.id, None)  # would hand it the bigger key's secret
    with pytest.raises(Forbidden):
        registry.update_user(small, "ada", None, False)


@pytest.mark.row("A15")
def test_a_plugin_that_acts_for_an_admin_gives_no_more_than_its_calls(registry: Registry) -> None:
    through = Actor("admin", "admin", None, (("admin",), ("auth.createKey", "repo.tree")))
    made, _ = registry.create_key(through, None, ["repo.tree"])
    assert made.scopes == ("repo.tree",)
    with pytest.raises(Forbidden):
        registry.create_key(through, None, ["repo.file.write"])
    with pytest.raises(Forbidden):
        registry.set_password(through, "ada2", "hash", proven=None) if add_user(
            registry, "ada2", "repo.*"
        ) else None


def test_nobody_manages_whom_they_do_not_cover(registry: Registry) -> None:
    deputy = add_user(registry, "deputy", "auth.*", "repo.*")
    add_user(registry, "bob", "repo.tree")
    key, _ = registry.create_key(OWNER, "admin", ["llm.chat"])
    for act in (
        lambda: registry.update_user(deputy, "admin", None, True),
        lambda: registry.delete_user(deputy, "admin"),
        lambda: registry.set_password(deputy, "admin", "hash", proven=None),
        lambda: registry.create_key(deputy, "admin", ["repo.tree"]),
        lambda: registry.keys(deputy, "admin", ended=False),
        lambda: registry.sessions(deputy, "admin"),
        lambda: registry.revoke_sessions(deputy, None, "admin"),
    ):
        with pytest.raises(Forbidden):
            act()
    assert registry.revoke_key(deputy, key.id) is False
    assert [user.name for user in registry.users(deputy)] == ["bob", "deputy"]
    assert registry.update_user(deputy, "bob", ["repo.file.read"], None).scopes == (
        "repo.file.read",
    )


def test_the_last_admin_stays(registry: Registry) -> None:
    for act in (
        lambda: registry.delete_user(OWNER, "admin"),
        lambda: registry.update_user(OWNER, "admin", None, True),
        lambda: registry.update_user(OWNER, "admin", ["repo.*"], None),
    ):
        with pytest.raises(InvalidParams, match="No enabled admin"):
            act()
    add_user(registry, "root", "*")
    registry.delete_user(ADMIN, "admin")


def test_a_key_shrinks_with_its_user_and_grows_with_nobody(registry: Registry) -> None:
    add_user(registry, "ada", "repo.*", "llm.chat")
    _, issued = registry.create_key(OWNER, "ada", ["repo.*", "llm.chat"])
    registry.update_user(OWNER, "ada", ["repo.tree", "goose.*"], None)
    assert prove(registry, issued.token).scopes == ("repo.tree",)


@pytest.mark.row("A7")
def test_disabling_and_deleting_a_user_end_all_that_is_theirs(registry: Registry) -> None:
    add_user(registry, "ada", "repo.*")
    _, key = registry.create_key(OWNER, "ada", ["repo.*"])
    session = login(registry, "ada")
    registry.update_user(OWNER, "ada", None, True)
    assert not is_valid(registry, key.token)
    assert not is_valid(registry, session)
    registry.update_user(OWNER, "ada", None, False)
    assert is_valid(registry, key.token)
    assert not is_valid(registry, session), "a session that ended does not come back"
    registry.delete_user(OWNER, "ada")
    assert not is_valid(registry, key.token)
    add_user(registry, "ada", "repo.*")
    assert not is_valid(registry, key.token), "nor does a namesake bring it back"


# -- child tokens ----------------------------------------------------------------------------------
def child(registry: Registry, token: str, *scopes: str, seconds: int = 900) -> str:
    return registry.create_child(
        OWNER, token=token, user=None, scopes=list(scopes) or None, life_ms=seconds * 1000, label=""
    )[1].token


def test_a_child_does_less_ends_sooner_and_goes_with_its_parent(
    registry: Registry, clock: Clock
) -> None:
    key, issued = registry.create_key(
        OWNER, "admin", ["repo.*"], expires_at=clock.now_ms() + 60_000
    )
    token = child(registry, issued.token, "repo.tree")
    assert prove(registry, token).scopes == ("repo.tree",)
    assert prove(registry, token).expires_at == clock.now_ms() + 60_000, "not after its parent"
    assert prove(registry, child(registry, issued.token)).scopes == ("repo.*",)
    with pytest.raises(Forbidden):
        child(registry, token, "repo.search")
    grandchild = child(registry, token, "repo.tree", seconds=10)
    registry.revoke_key(ADMIN, key.id)
    assert not is_valid(registry, token)
    assert not is_valid(registry, grandchild)


def test_a_line_of_children_is_short(registry: Registry) -> None:
    token = login(registry)
    for _ in range(credentials.MAX_DEPTH):
        token = child(registry, token)
    assert is_valid(registry, token)
    with pytest.raises(InvalidParams, match="at most"):
        child(registry, token)


def test_a_child_of_a_limited_key_shares_its_limit(registry: Registry) -> None:
    key, issued = registry.create_key(OWNER, "admin", ["repo.*"], rate_per_minute=5)
    limited = prove(registry, child(registry, issued.token)).limited
    assert limited is not None
    assert limited.id == key.id


SCOPES = st.lists(
    st.sampled_from(["repo.*", "repo.tree", "repo.file.*", "repo.file.read", "llm.chat", "admin"]),
    max_size=3,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(SCOPES, min_size=1, max_size=3), SCOPES)
def test_no_line_of_children_ever_exceeds_its_parent(
    registry: Registry, wishes: list[list[str]], later: list[str]
) -> None:
    name = f"user{len(users.every(registry.store.reader))}"
    ada = add_user(registry, name, "repo.*", "llm.chat")
    token, line = login(registry, name), [("repo.*", "llm.chat")]
    for wish in wishes:
        try:
            _, issued = registry.create_child(
                ada, token=token, user=None, scopes=wish, life_ms=1000, label=""
            )
        except Forbidden:
            continue
        token = issued.token
        line.append(prove(registry, token).scopes)
    for above, below in pairwise(line):
        assert is_within(below, above)
    registry.update_user(OWNER, name, later, None)
    assert is_within(prove(registry, token).scopes, later)


# -- the trail -------------------------------------------------------------------------------------
@pytest.mark.row("A16")
def test_each_act_leaves_exactly_one_row_done_or_refused(registry: Registry) -> None:
    ada = add_user(registry, "ada", "repo.*")
    key, issued = registry.create_key(ada, None, ["repo.tree"], label="ci")
    registry.rotate_key(ada, key.id, None)
    session = login(registry, "ada")
    child(registry, session)
    registry.logout(ada, session)
    registry.revoke_key(ada, key.id)
    registry.revoke_key(ada, key.id)
    registry.update_user(OWNER, "ada", None, True)
    registry.update_user(OWNER, "ada", ["repo.tree"], False)
    registry.set_password(OWNER, "ada", passwords.make_hash("y" * 12, COST), proven=None)
    registry.revoke_sessions(OWNER, None, "ada")
    registry.login_failed("ada", "10.0.0.1")
    for refused in (
        lambda: registry.create_key(ada, None, ["llm.chat"]),
        lambda: registry.create_key(ada, "nobody", []),
        lambda: registry.create_key(ada, None, ["no scope"]),
        lambda: registry.delete_user(ada, "admin"),
        lambda: registry.create_user(OWNER, "Not A Name", "hash", []),
    ):
        with pytest.raises(WorkbenchError):
            refused()
    registry.delete_user(OWNER, "ada")
    rows = registry.trail(OWNER, 0, 1000)
    assert [(row["actor"], row["action"], row["outcome"]) for row in rows] == [
        ("(first start)", "auth.seed", "ok"),
        ("(owner)", "auth.users.create", "ok"),
        ("ada", "auth.createKey", "ok"),
        ("ada", "auth.rotateKey", "ok"),
        ("ada", "auth.login", "ok"),
        ("(owner)", "auth.createChild", "ok"),
        ("ada", "auth.logout", "ok"),
        ("ada", "auth.revokeKey", "ok"),
        ("ada", "auth.revokeKey", "ok"),
        ("(owner)", "auth.users.update", "ok"),
        ("(owner)", "auth.users.update", "ok"),
        ("(owner)", "auth.users.setPassword", "ok"),
        ("(owner)", "auth.sessions.revoke", "ok"),
        ("(unknown)", "auth.login", "unauthenticated"),
        ("ada", "auth.createKey", "forbidden"),
        ("ada", "auth.createKey", "invalid_params"),
        ("ada", "auth.createKey", "invalid_params"),
        ("ada", "auth.users.delete", "forbidden"),
        ("(owner)", "auth.users.create", "invalid_params"),
        ("(owner)", "auth.users.delete", "ok"),
    ]
    text = json.dumps(rows)
    for secret in (PASSWORD, issued.token, issued.token[-43:], session[-43:], "$2b$"):
        assert secret not in text
    assert [row["actor"] for row in registry.trail(ada, 0, 1000)] == ["ada"] * 10


def test_the_trail_goes_on_page_by_page(registry: Registry) -> None:
    for _ in range(5):
        registry.login_failed("x", "")
    assert [row["seq"] for row in registry.trail(OWNER, None, 2)] == [5, 6]
    assert [row["seq"] for row in registry.trail(OWNER, 2, 2)] == [3, 4]


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 3", 3),
        ("UPDATE audit SET detail = '{}' WHERE seq = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE seq = 6", 6),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET hash = 'x' WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq > 4", 5),
    ],
)
def test_a_row_that_was_touched_is_found(registry: Registry, change: str, broken_at: int) -> None:
    for number in range(5):
        add_user(registry, f"user{number}", "repo.*")
    whole = registry.verify()
    assert (whole.is_whole, whole.records) == (True, 6)
    noted = (whole.records, whole.head)
    with registry.store.writing() as tx:
        tx.execute(change)
    found = registry.verify(noted)
    assert (found.is_whole, found.broken_at) == (False, broken_at)
    assert found.why


def test_a_head_that_was_noted_shows_that_all_was_written_anew(registry: Registry) -> None:
    noted = registry.verify()
    registry.login_failed("x", "")
    assert registry.verify((noted.records, noted.head)).is_whole
    assert not registry.verify((noted.records, "0" * 64)).is_whole


# -- the database ----------------------------------------------------------------------------------
@pytest.mark.row("A8")
def test_the_database_holds_no_token_and_no_password(registry: Registry, database: Path) -> None:
    _, key = registry.create_key(OWNER, "admin", ["repo.*"])
    _, rotated = registry.rotate_key(ADMIN, key.id, None)
    session = login(registry)
    token = child(registry, session)
    held = b"".join(file.read_bytes() for file in database.parent.iterdir())
    for secret in (PASSWORD, key.token, rotated.token, session, token):
        assert secret.encode() not in held
        assert secret[-43:].encode() not in held
    assert all(file.stat().st_mode & 0o077 == 0 for file in database.parent.iterdir())


def test_what_ended_is_removed_in_its_time(registry: Registry, clock: Clock) -> None:
    key, _ = registry.create_key(OWNER, "admin", ["repo.*"])
    registry.revoke_key(ADMIN, key.id)
    login(registry)
    clock.move(25 * HOUR)
    with registry.store.writing() as tx:
        credentials.purge(tx, registry.now())
    assert credentials.of_user(registry.store.reader, "admin", "session") == []
    assert [k.id for k in registry.keys(OWNER, None, ended=True)] == [key.id]
    assert registry.keys(OWNER, None, ended=False) == []
    clock.move(30 * 24 * HOUR)
    with registry.store.writing() as tx:
        credentials.purge(tx, registry.now())
    assert registry.keys(OWNER, None, ended=True) == []


def test_the_use_of_a_key_is_kept_by_scope_and_day(registry: Registry) -> None:
    key, _ = registry.create_key(OWNER, "admin", ["repo.*"])
    for _ in range(2):
        with registry.store.writing() as tx:
            credentials.touch(tx, {key.id: 7}, {(key.id, "repo.tree", 100): 3, ("gone", "x", 1): 1})
    reader = registry.store.reader
    assert credentials.used_scopes(reader, key.id, 100) == {"repo.tree": 6}
    assert credentials.used_scopes(reader, key.id, 101) == {}
    found = credentials.find(reader, key.id)
    assert found is not None
    assert found.last_used_at == 7
