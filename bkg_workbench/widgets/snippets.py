"""A request as code: for a notebook, for a shell, for any HTTP client. Pure."""

from __future__ import annotations

import json
import pprint
import shlex
from typing import Any

from bkg_workbench.protocol.state import WorkbenchState

API_PORT = 43119
"""The gateway's port where the port table does not tell."""


def snippets(capability: str, payload: Any, *, stream: bool, api_url: str) -> dict[str, str]:
    """{python, bkg, curl}: the request in three tongues. `payload` without secrets."""
    text = shlex.quote(json.dumps(payload, ensure_ascii=False))
    values = pprint.pformat(payload, width=72, sort_dicts=False)
    arguments = f'"{capability}", {values}' if payload != {} else f'"{capability}"'
    if stream:
        python = f"for piece in bench.stream({arguments}):\n    print(piece)"
    else:
        python = f"bench.call({arguments})"
    accept = " \\\n  -N -H 'Accept: text/event-stream'" if stream else ""
    shell = f"bkg call {capability} {text}{' --stream' if stream else ''}"
    curl = (
        f"curl -sS {api_url}/api/capabilities/{capability} \\\n"
        f'  -H "Authorization: Bearer $BKG_TOKEN" \\\n'
        f"  -H 'Content-Type: application/json'{accept} \\\n"
        f"  -d {text}"
    )
    return {"python": python, "bkg": shell, "curl": curl}


def api_url(state: WorkbenchState) -> str:
    """Where the gateway listens, as the port table says."""
    for port in state.ports:
        if port.name in ("api", "gateway"):
            return f"http://127.0.0.1:{port.port}"
    return f"http://127.0.0.1:{API_PORT}"
