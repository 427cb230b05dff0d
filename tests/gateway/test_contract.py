"""The gateway keeps what its description says, whatever is asked: checked by Schemathesis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bkg_workbench.host.workspace import init
from tests.gateway.conftest import serve
from tests.plugins import write_plugin

CHECKS = (
    "not_a_server_error", "response_schema_conformance", "status_code_conformance",
    "content_type_conformance",
)  # fmt: skip
ENDING = (
    "host_stop", "host_plugins_remove", "host_plugins_add", "host_plugin_define", "_rebuild",
    "_(re)?start$", "_stop$", "auth_begin", "config_(save|restore)", "_config$",
)  # fmt: skip
"""What ends, changes or adds plug-ins: others' cases could not run beside them."""
ENDLESS = ("get_admin_plugins_\\w+_logs",)
"""Streams that end when the client goes."""
OWN = (
    "auth_login",
    "auth_logout",
    "auth_.*(delete|revoke|update|setPassword|rotate)",
    "admin_keys_id",
)
"""What would end the session or the key that the cases are sent with, or slow them down."""

ECHO = '''
from collections.abc import AsyncIterator
from typing import Annotated, Any

from bkg_workbench.sdk import Meta, Plugin, Struct

plugin = Plugin("demo")


class Order(Struct, rename="camel"):
    """What is ordered."""

    item: Annotated[str, Meta(min_length=1, max_length=40)]
    count: Annotated[int, Meta(ge=1, le=99)] = 1
    notes: list[str] = []


class Bill(Struct):
    """What it comes to."""

    lines: list[str]
    total: int


@plugin.capability("demo.order", idempotent=True)
async def order(payload: Order) -> Bill:
    """Count an order."""
    return Bill(lines=[payload.item] * payload.count, total=payload.count)


@plugin.capability("demo.stream", stream=True)
async def stream(payload: Order) -> AsyncIterator[Any]:
    """Give the items one by one."""
    for number in range(payload.count):
        yield {"item": payload.item, "number": number}


plugin.run()
'''


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_case_breaks_the_description_or_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace = tmp_path / "workspace"
    init(workspace)
    monkeypatch.setenv("BKG_API_PORT", "0")
    monkeypatch.setenv("ADMIN_PASSWORD", "open sesame, please")
    write_plugin(
        workspace, "demo", ECHO, autostart=True, capabilities=["demo.order", "demo.stream"]
    )
    for served in serve(workspace):
        session = served.host.call(
            "auth.login", {"username": "admin", "password": "open sesame, please"}
        )
        excluded = "|".join((*ENDING, *ENDLESS, *OWN))
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json",
                "--header", f"Authorization: Bearer {session['token']}",
                "--checks", ",".join(CHECKS), "--phases", "examples,fuzzing",
                "--max-examples", "4", "--seed", "7", "--no-color",
                "--exclude-operation-id-regex", excluded,
            ],
            capture_output=True, text=True, timeout=280, cwd=workspace,
            env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
        )  # fmt: skip
        tested = re.search(r"Tested: (\d+)", done.stdout)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert tested is not None
        assert int(tested[1]) > 50
