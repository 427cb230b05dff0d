"""The first start: the database with its first user, made from `ADMIN_PASSWORD`.

The variable is looked at when there is no database yet, and never again. It is removed from this
process's environment either way.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from apikeys import audit, passwords, users
from apikeys.store import Store, Transaction, create
from apikeys.watch import Clock
from bkg_workbench.sdk import ConfigInvalid, InvalidParams

VARIABLE = "ADMIN_PASSWORD"


def open_store(
    path: Path, clock: Clock, variables: MutableMapping[str, str], cost: int
) -> tuple[Store, bool]:
    """The store, and whether this was its first start.

    Raises `ConfigInvalid`, which ends the plug-in with 78, where there is nothing to open and no
    password to begin with.
    """
    password = variables.pop(VARIABLE, "")
    is_first = not path.exists()
    if is_first:
        _seed(path, clock, password, cost)
    return Store(path, clock), is_first


def _seed(path: Path, clock: Clock, password: str, cost: int) -> None:
    if not password:
        raise ConfigInvalid(
            f"There is no user yet and {VARIABLE} is not set. Choose the password of `admin` with "
            f"`bkg users password admin`, or set {VARIABLE} once and start again.",
            plugin="apikeys",
        )
    try:
        kept = passwords.make_hash(password, cost)
    except InvalidParams as error:
        reason = error.facts["errors"]["/password"]
        raise ConfigInvalid(f"{VARIABLE} cannot be used: {reason}.", plugin="apikeys") from None

    def fill(tx: Transaction) -> None:
        now = clock.now_ms()
        users.create(tx, users.ADMIN, kept, ["admin"], now)
        audit.append(tx, now, actor="(first start)", action="auth.seed", target=users.ADMIN)

    create(path, fill)
