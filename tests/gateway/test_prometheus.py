"""A real Prometheus reads the gateway's metrics, and a real trace runs through two plug-ins."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Served, serve
from tests.gateway.plugins import APIKEYS, APIKEYS_CAPABILITIES, TOKENS
from tests.helpers import eventually
from tests.plugins import write_plugin

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

OUTER = """
from typing import Any

from bkg_workbench.sdk import Context, Plugin

plugin = Plugin("outer")


@plugin.capability("outer.greet")
async def greet(payload: dict[str, Any], context: Context) -> Any:
    return await context.call("demo.greet", {"name": payload["name"]})


plugin.run()
"""


@contextmanager
def prometheus(folder: Path, target: str, token: str) -> Iterator[str]:
    """Debian's Prometheus, scraping `target` each second; its address."""
    program = shutil.which("prometheus")
    assert program, "Debian's prometheus is missing; .ci/run installs it"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text(
        "scrape_configs:\n"
        "  - job_name: bkg\n"
        "    scrape_interval: 1s\n"
        "    scrape_timeout: 1s\n"
        f"    authorization: {{ credentials: {token} }}\n"
        f"    static_configs: [{{ targets: ['{target}'] }}]\n"
    )
    command = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def asked(url: str, query: str) -> list[Any]:
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False)
    except httpx.TransportError:  # it has not come up yet
        return []
    return list(answer.json()["data"]["result"]) if answer.status_code == 200 else []


def traced(served: Served, count: int) -> list[Any]:
    """The requests of the trace, once all of them have their answer."""

    def found() -> list[Any] | None:
        calls = list(served.host.calls(trace=TRACE))
        return calls if len(calls) == count else None

    calls = eventually(found)
    assert calls is not None
    return calls


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.shared_host
def test_prometheus_scrapes_the_gateway(served: Served, tmp_path: Path):
    with served.client("admin") as client:
        client.post("/api/capabilities/demo.greet", json={"name": "Ada"})
    target = f"127.0.0.1:{served.port}"
    with prometheus(tmp_path, target, TOKENS["admin"]) as url:
        found = eventually(
            lambda: asked(url, 'bkg_requests_total{capability="demo.greet",outcome="ok"}'),
            timeout=90,
        )
        assert float(found[0]["value"][1]) >= 1
        assert asked(url, 'bkg_plugin_state{plugin="demo",state="running"}')[0]["value"][1] == "1"
        assert asked(url, "histogram_quantile(0.99, bkg_loop_lag_seconds_bucket)")
    with prometheus(tmp_path, target, TOKENS["greeter"]) as url:
        down = eventually(lambda: asked(url, 'up{job="bkg"} == 0'), timeout=90)
        assert down, "a token without the scope host.metrics reads nothing"


def test_one_trace_runs_from_the_request_through_two_plugins(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BKG_API_PORT", "0")
    monkeypatch.setenv("ADMIN_PASSWORD", "open sesame, please")
    write_plugin(workspace, autostart=True)
    write_plugin(workspace, "apikeys", APIKEYS, autostart=True, capabilities=APIKEYS_CAPABILITIES)
    write_plugin(
        workspace, "outer", OUTER, autostart=True,
        capabilities=["outer.greet"], calls=["demo.greet"],
    )  # fmt: skip
    for served in serve(workspace):
        with served.client("admin") as client:
            answer = client.post(
                "/api/capabilities/outer.greet",
                json={"name": "Ada"},
                headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
            )
            assert answer.json() == {"text": "Hello Ada"}
        spans = {call["capability"]: call for call in traced(served, 3)}
        http = answer.headers["traceresponse"].split("-")[2]
        assert spans["auth.validate"]["parent_id"] == http
        assert spans["outer.greet"]["parent_id"] == http
        assert spans["demo.greet"]["parent_id"] == spans["outer.greet"]["span_id"]
