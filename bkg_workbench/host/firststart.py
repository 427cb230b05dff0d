"""The first start of apikeys: whether it has been, and the one password that it takes.

Owns that password from whoever chose it until apikeys has it: `ADMIN_PASSWORD` of the Host's
environment, or one that an operator gives while the Host runs. It reaches no other process, and
apikeys only as long as it has no database. Does not own what apikeys makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bkg_workbench.errors import RequestError
from bkg_workbench.host.workspace import Workspace

if TYPE_CHECKING:
    from bkg_workbench.host.engine import Engine

PLUGIN = "apikeys"
VARIABLE = "ADMIN_PASSWORD"
NOTICE = "first-start"

TEXT = (
    "apikeys waits for its first start: choose the password of `admin` with "
    "`bkg users password admin`. Until then nobody can use the gateway."
)


class FirstStart:
    """Of one Host's workspace."""

    def __init__(self, workspace: Workspace) -> None:
        data = workspace.hidden / "plugins" / PLUGIN / "data"
        self._database = data / f"{PLUGIN}.db"
        self._given: str | None = None

    @property
    def is_due(self) -> bool:
        """Whether apikeys has no database yet; it makes one whole or not at all."""
        return not self._database.exists()

    def give(self, password: str) -> None:
        """Keep a password for the start to come. Raises `RequestError` where that has been."""
        if not self.is_due:
            raise RequestError(
                "apikeys has had its first start; change the password with "
                "`bkg users password admin`.",
                capability="host.auth.begin",
            )
        self._given = password

    def forget(self) -> None:
        """Let go of the password: apikeys is up."""
        self._given = None

    def variables(self, outer: Mapping[str, str]) -> dict[str, str]:
        """What apikeys' next process gets of it."""
        password = (self._given or outer.get(VARIABLE)) if self.is_due else None
        return {VARIABLE: password} if password else {}

    def waits(self, outer: Mapping[str, str]) -> bool:
        """Whether a start would fail for want of a password."""
        return self.is_due and not self.variables(outer)


def hold(engine: Engine, outer: Mapping[str, str]) -> set[str]:
    """The plug-ins that autostart leaves alone, with a banner that says why."""
    if PLUGIN not in engine.state.plugins or not engine.first_start.waits(outer):
        return set()
    engine.notice(NOTICE, TEXT, "info")
    return {PLUGIN}


def moved(engine: Engine, name: str, state: str) -> None:
    """A plug-in's state has changed: apikeys is up, so all this is over."""
    if name == PLUGIN and state in ("running", "degraded"):
        engine.first_start.forget()
        engine.clear(NOTICE)
