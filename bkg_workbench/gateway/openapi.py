"""The gateway in OpenAPI 3.1, made from the routes, the table and the schemas of the plug-ins.

Owns the document alone. Requests and results of `host.*` have the table's types, those of a plug-in
the schemas of its `meta` while it is there, and the gateway's own answers `gateway.shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bkg_workbench._version import __version__
from bkg_workbench.gateway import shapes
from bkg_workbench.gateway.door import schema_of
from bkg_workbench.gateway.routes import OWN_NAME, Served
from bkg_workbench.protocol.capabilities import TABLE, Capability
from bkg_workbench.protocol.state import WorkbenchState

Schema = dict[str, Any]

COMPONENTS = "#/components/schemas/"
OBJECT: Schema = {"type": "object"}
TEXTS = {"follow": "text/event-stream", "docs": "text/html", "docs_file": "text/plain"}
"""Views whose answer is no JSON."""
METRICS = ("text/plain", "application/openmetrics-text")
EVENTS = "text/event-stream"
FIELD = re.compile(r"\{(\w+)\}")


class Description:
    """Puts one document together."""

    def __init__(self, routes: Iterable[Served], state: WorkbenchState, hidden: Iterable[str] = ()):
        self._routes, self._state, self._hidden = list(routes), state, frozenset(hidden)
        self._components: dict[str, Schema] = {}

    def document(self) -> Schema:
        """The whole document."""
        paths: dict[str, dict[str, Any]] = {}
        for served in self._routes:
            paths.setdefault(served.path, {})[served.method.lower()] = self._operation(served)
        for name in self._capabilities():
            path = f"/api/capabilities/{name}"
            paths[path] = {"post": self._of_capability(name)}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "BKG Workbench",
                "version": __version__,
                "description": "The capabilities of a workspace's plug-ins and of its Host, over "
                "HTTP. Every request but the open ones carries `Authorization: Bearer`, with a "
                "session's token (POST /auth/login) or an API key.",
            },
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": dict(sorted(self._components.items())),
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
        }

    # -- operations -----------------------------------------------------------------------------
    def _capabilities(self) -> list[str]:
        """What can be asked for: the table's, and whatever else a plug-in serves now."""
        served = {name for plugin in self._state.plugins.values() for name in plugin.capabilities}
        return sorted((set(TABLE) | served) - self._hidden)

    def _operation(self, served: Served) -> Schema:
        fields = FIELD.findall(served.path)
        row = served.row
        operation: Schema = {
            "operationId": _id(served.method, served.path),
            "summary": served.summary,
            "tags": [served.path.split("/")[1]],
            "parameters": [_in_path(name) for name in fields],
            "responses": self._responses(served),
        }
        if served.scope is not None:
            scope = "the capability's name" if served.scope == OWN_NAME else served.scope
            operation["security"] = [{"bearer": []}]
            operation["description"] = f"Needs the scope `{scope}`."
        if served.method == "GET" and row is not None and row.params is not None:
            operation["parameters"] += self._query(row, fields)
        if served.method in ("POST", "PUT", "PATCH"):
            operation["requestBody"] = self._body(served, fields)
        return {key: value for key, value in operation.items() if value != []}

    def _of_capability(self, name: str) -> Schema:
        row, said = TABLE.get(name), schema_of(self._state, name) or {}
        summary = said.get("description") or (row.summary if row else name)
        content = {"application/json": {"schema": self._result(name, said)}}
        if said.get("stream"):
            content[EVENTS] = {"schema": {"type": "string"}}
        return {
            "operationId": f"capability_{name.replace('.', '_')}",
            "summary": str(summary)[:120],
            "tags": ["capabilities"],
            "description": f"Needs the scope `{row.scope if row and row.scope else name}`.",
            "security": [{"bearer": []}],
            "requestBody": _json_body(self._payload(name, said)),
            "responses": {
                "200": {"description": "The result", "content": content},
                "default": self._error(),
            },
        }

    # -- what goes in ---------------------------------------------------------------------------
    def _payload(self, name: str, said: Mapping[str, Any]) -> Schema:
        row = TABLE.get(name)
        if row is not None and row.params is not None:
            return self._of_type(row.params)
        return self._of_plugin(name, "input", said.get("input"))

    def _query(self, row: Capability, fields: list[str]) -> list[Schema]:
        assert row.params is not None
        schema = self._resolved(self._of_type(row.params))
        required = schema.get("required", ())
        return [
            {"name": name, "in": "query", "required": name in required, "schema": found}
            for name, found in schema.get("properties", {}).items()
            if name not in fields and not _is_nested(found)
        ]

    def _body(self, served: Served, fields: list[str]) -> Schema:
        row = served.row
        if row is None:
            return _json_body(OBJECT)
        said = schema_of(self._state, row.name) or {}
        if said.get("input") or served.view not in shapes.REQUESTS:
            schema = self._payload(row.name, said)
        else:
            schema = self._of_type(shapes.REQUESTS[served.view])
        return _json_body(self._without(schema, fields))

    def _without(self, schema: Schema, fields: list[str]) -> Schema:
        """The schema of the body where some fields stand in the path."""
        if not fields:
            return schema
        whole = self._resolved(schema)
        properties = whole.get("properties", {})
        left = {key: value for key, value in properties.items() if key not in fields}
        required = [key for key in whole.get("required", ()) if key not in fields]
        rest = {k: v for k, v in whole.items() if k not in ("properties", "required", "title")}
        return {**rest, "properties": left, **({"required": required} if required else {})}

    # -- what comes out -------------------------------------------------------------------------
    def _responses(self, served: Served) -> Schema:
        responses: Schema = {"200": {"description": "Done", "content": self._content(served)}}
        if served.view == "health":
            return responses
        responses["default"] = self._error(openai=served.path.startswith("/v1/"))
        return responses

    def _content(self, served: Served) -> Schema:
        view, row = served.view, served.row
        if view == "metrics":
            return {kind: {"schema": {"type": "string"}} for kind in METRICS}
        if view in TEXTS:
            return {TEXTS[view]: {"schema": {"type": "string"}}}
        said = (schema_of(self._state, row.name) or {}) if row else {}
        content: Schema
        if view in shapes.ANSWERS:
            content = {"application/json": {"schema": self._of_type(shapes.ANSWERS[view])}}
        elif row is None:
            content = {"application/json": {"schema": {}}}
        else:
            content = {"application/json": {"schema": self._result(row.name, said)}}
        if view in ("chat", "capability"):
            content[EVENTS] = {"schema": {"type": "string"}}
        return content

    def _result(self, name: str, said: Mapping[str, Any]) -> Schema:
        row = TABLE.get(name)
        if row is not None and row.result is not None:
            return self._of_type(row.result)
        return self._of_plugin(name, "output", said.get("output"))

    def _error(self, *, openai: bool = False) -> Schema:
        kind = shapes.OpenAIError if openai else shapes.Error
        schema = self._of_type(kind)
        return {
            "description": "What went wrong",
            "content": {"application/json": {"schema": schema}},
        }

    # -- schemas --------------------------------------------------------------------------------
    def _of_type(self, kind: Any) -> Schema:
        (schema,), components = msgspec.json.schema_components(
            (kind,), ref_template=COMPONENTS + "{name}"
        )
        self._components.update(components)
        return schema

    def _of_plugin(self, name: str, way: str, schema: Any) -> Schema:
        """A plug-in's own schema as a component; its references lead within it."""
        if not isinstance(schema, dict):
            return OBJECT if way == "input" else {}
        key = f"{name}.{way}"
        self._components[key] = _moved(schema, COMPONENTS + key)
        return {"$ref": COMPONENTS + key}

    def _resolved(self, schema: Schema) -> Schema:
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref.startswith(COMPONENTS):
            return self._components.get(ref.removeprefix(COMPONENTS), OBJECT)
        return schema


def _moved(value: Any, place: str) -> Any:
    """A schema whose `#/…` references count from `place`; ids and foreign references go."""
    if isinstance(value, list):
        return [_moved(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    moved = {}
    for key, item in value.items():
        if key in ("$id", "$schema") and isinstance(item, str):
            continue
        if key == "$ref" and isinstance(item, str):
            if item.startswith("#"):
                moved[key] = place + item[1:]
            continue
        moved[key] = _moved(item, place)
    return moved


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _is_nested(schema: Schema) -> bool:
    return schema.get("type") in ("object", "array") or "$ref" in schema


def _json_body(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _id(method: str, path: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_")
    return f"{method.lower()}_{words}"
