"""The first start of apikeys: one password, for one process, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bkg_workbench import Host
from bkg_workbench.errors import PluginNotFound, RequestError
from bkg_workbench.host.firststart import FirstStart
from bkg_workbench.host.workspace import Workspace
from tests.plugins import write_plugin

OUTER = {"ADMIN_PASSWORD": "from outside"}


@pytest.fixture
def database(workspace: Path) -> Path:
    return workspace / ".bkg" / "plugins" / "apikeys" / "data" / "apikeys.db"


@pytest.mark.row("A14")
def test_a_password_is_given_until_there_is_a_database(workspace: Path, database: Path) -> None:
    first = FirstStart(Workspace(workspace))
    assert first.waits({})
    assert not first.waits(OUTER)
    assert first.variables(OUTER) == OUTER
    first.give("chosen here")
    assert first.variables(OUTER) == {"ADMIN_PASSWORD": "chosen here"}
    first.forget()
    assert first.variables({}) == {}
    database.parent.mkdir(parents=True)
    database.touch()
    assert first.variables(OUTER) == {}
    assert not first.waits({})
    with pytest.raises(RequestError, match="has had its first start"):
        first.give("too late")


def test_a_workspace_without_apikeys_is_not_told_of_it(workspace: Path) -> None:
    write_plugin(workspace)
    with Host(workspace, autostart=False) as host:
        assert host.state.notices == ()
        with pytest.raises(PluginNotFound):
            host.call("host.auth.begin", {"password": "correct horse battery"})


def test_the_banner_stays_until_apikeys_is_up(workspace: Path) -> None:
    write_plugin(workspace, "apikeys", autostart=True)
    with Host(workspace) as host:
        assert [(n.key, n.level) for n in host.state.notices] == [("first-start", "info")]
        assert host.state.plugins["apikeys"].state == "stopped"
        host.call("host.auth.begin", {"password": "correct horse battery"}, timeout=60)
        assert host.state.plugins["apikeys"].state == "running"
        assert host.state.notices == ()
