"""Definitions that are added and changed through a running Host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bkg_workbench import Host, attach
from bkg_workbench.errors import InvalidParams
from bkg_workbench.protocol.definition import Definition
from tests.helpers import eventually
from tests.plugins import CAPABILITIES, DEMO, write_plugin


def mirror(workspace: Path) -> dict[str, dict[str, object]]:
    entries = json.loads((workspace / "plugins" / "plugins.json").read_text())
    return {entry["name"]: entry for entry in entries}


def test_a_definition_is_added_for_everybody_and_the_plugin_starts(workspace: Path) -> None:
    with Host(workspace) as host, attach(workspace) as other:
        write_plugin(workspace, "later", code="", capabilities=["later.nothing"])
        (workspace / "plugins" / "plugins.json").write_text("[]\n")
        (workspace / "plugins" / "later" / "plugin.py").write_text(DEMO)
        made = other.define(Definition(name="later", capabilities=CAPABILITIES), author="Ada")
        assert made.state == "stopped"
        assert made.definition.capabilities == CAPABILITIES
        assert eventually(lambda: "later" in host.state.plugins)
        assert mirror(workspace)["later"]["capabilities"] == CAPABILITIES
        host.start("later")
        assert other.call("demo.greet", {"name": "Ada"})["text"] == "Hello Ada"
        assert host.config_history("later")[0]["author"] == "Ada"


def test_a_definition_is_changed_while_the_plugin_goes_on(workspace: Path) -> None:
    write_plugin(workspace, settings={"greeting": "Moin", "password": "secret"})
    with Host(workspace) as host:
        pid = host.start("demo").pid
        settings = {"greeting": "Moin", "password": "***"}
        host.define(
            Definition(
                name="demo", description="new", capabilities=CAPABILITIES[:1], settings=settings
            )
        )
        plugin = host.plugin("demo")
        assert (plugin.state, plugin.pid, plugin.definition.description) == ("running", pid, "new")
        runtime = workspace / ".bkg" / "plugins" / "demo" / "config.runtime.json"
        host.restart("demo")
        assert json.loads(runtime.read_text())["password"] == "secret"


def test_a_definition_that_is_none_is_refused_and_changes_nothing(workspace: Path) -> None:
    with Host(workspace) as host:
        with pytest.raises(InvalidParams):
            host.call("host.plugin.define", {"definition": {"name": "Not A Name"}})
        assert mirror(workspace) == {}
        assert host.plugins() == []
