"""The gateway's description: whole, true to the table, and with the plug-ins' own schemas."""

from __future__ import annotations

from typing import Any

import pytest

from bkg_workbench.gateway.openapi import COMPONENTS, Description
from bkg_workbench.gateway.routes import OWN, derived
from bkg_workbench.protocol.capabilities import TABLE
from bkg_workbench.protocol.definition import Definition
from bkg_workbench.protocol.state import PluginState, WorkbenchState

TREE = {
    "$id": "https://example.org/tree",
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}, "again": {"$ref": "#"}},
    "$defs": {"node": {"type": "string"}},
}


def state(**schemas: Any) -> WorkbenchState:
    plugin = PluginState(
        name="trees",
        definition=Definition(name="trees", capabilities=["trees.grow"]),
        state="running",
        capabilities=("trees.grow",),
        meta={"schemas": {"trees.grow": schemas}},
    )
    return WorkbenchState(
        instance="i", version="1", workspace="/w", started_at=0, plugins={"trees": plugin}
    )


def described(found: WorkbenchState) -> dict[str, Any]:
    return Description([*OWN, *derived()], found, hidden=["host.subscribe"]).document()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return described(state(description="Grow a tree", input=TREE, output=TREE, stream=True))


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for item in value.values() for ref in references(item)]
    return [ref for item in value for ref in references(item)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere(document: dict[str, Any]):
    found = set(references(document))
    assert found
    for ref in found:
        place: Any = document
        for part in ref.removeprefix("#/").split("/"):
            place = place[part]
        assert isinstance(place, (dict, bool))


def test_each_route_and_each_capability_is_there_once(document: dict[str, Any]):
    for one in (*OWN, *derived()):
        assert one.method.lower() in document["paths"][one.path]
    for name in set(TABLE) - {"host.subscribe"}:
        assert f"/api/capabilities/{name}" in document["paths"]
    assert "/api/capabilities/host.subscribe" not in document["paths"]
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


def test_a_plugins_schemas_are_those_of_its_route(document: dict[str, Any]):
    operation = document["paths"]["/api/capabilities/trees.grow"]["post"]
    assert operation["summary"] == "Grow a tree"
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": COMPONENTS + "trees.grow.input"}
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    kept = document["components"]["schemas"]["trees.grow.input"]
    assert kept["properties"]["root"] == {"$ref": COMPONENTS + "trees.grow.input/$defs/node"}
    assert kept["properties"]["again"] == {"$ref": COMPONENTS + "trees.grow.input"}
    assert "$id" not in kept


def test_a_field_of_the_path_is_not_asked_for_in_the_body(document: dict[str, Any]):
    save = document["paths"]["/admin/plugins/{name}/config"]["post"]
    schema = save["requestBody"]["content"]["application/json"]["schema"]
    assert "name" not in schema["properties"]
    assert {"settings", "version"} <= set(schema["required"])


def test_what_is_closed_says_so_and_what_is_open_does_not(document: dict[str, Any]):
    assert "security" not in document["paths"]["/health"]["get"]
    listed = document["paths"]["/api/plugins"]["get"]
    assert (listed["security"], listed["description"]) == (
        [{"bearer": []}],
        "Needs the scope `host.read`.",
    )


def test_a_plugin_without_schemas_is_described_as_far_as_is_known():
    operation = described(state())["paths"]["/api/capabilities/trees.grow"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"type": "object"}
