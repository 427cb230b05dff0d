"""Which route a request's method and path are: exactly one of the table, or none."""

from __future__ import annotations

import pytest

from bkg_workbench.protocol import routes

EXACT = [
    ("POST", "/v1/chat/completions", "llm.chat"),
    ("GET", "/admin/plugins", "admin"),
    ("GET", "/admin/plugins/goose", "admin"),
    ("POST", "/admin/plugins/goose/stop", "admin"),
    ("GET", "/api/plugins/goose/status", "host.read"),
    ("GET", "/api/plugins/telemetry/summary", "host.read"),
    ("DELETE", "/admin/keys/3f9a21c07be4", "admin"),
    ("GET", "/metrics", "host.metrics"),
    ("POST", "/api/capabilities/repo.tree", "repo.tree"),
]
NONE = [
    ("GET", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/V1/chat/completions"),
    ("POST", "//v1/chat/completions"),
    ("GET", "/admin/plugins/"),
    ("GET", "/admin/plugins/a/b"),
    ("GET", "/%61dmin/plugins"),
    ("GET", "admin/plugins"),
    ("GET", ""),
    ("GET", "/api/capabilities/repo.tree"),
    ("POST", "/api/capabilities/repo.tree/x"),
]


@pytest.mark.parametrize(("method", "path", "scope"), EXACT)
def test_a_request_of_the_table_finds_its_scope(method: str, path: str, scope: str) -> None:
    found = routes.find(method, path)
    assert found is not None
    assert found.scope == scope


@pytest.mark.parametrize(("method", "path"), NONE)
def test_a_request_that_only_looks_like_one_finds_none(method: str, path: str) -> None:
    assert routes.find(method, path) is None


def test_each_row_finds_itself() -> None:
    for rows in routes.OF.values():
        for row in rows:
            filled = "/".join("x" if w.startswith("{") else w for w in row.path.split("/"))
            assert routes.find(row.method, filled) == row
