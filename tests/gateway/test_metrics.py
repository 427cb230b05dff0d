"""The gateway's metrics: valid in both forms, and true."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bkg_workbench.gateway.metrics import HttpMeter, exposed
from bkg_workbench.sdk import Plugin
from bkg_workbench.testing import MemoryHost

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def figures():
    plugin = Plugin("demo")

    @plugin.capability("demo.work")
    async def work(payload, context):
        return {}

    with MemoryHost(plugin) as bench:
        for _ in range(3):
            bench.call("demo.work", {})
        return bench.metrics()


@pytest.fixture
def http() -> HttpMeter:
    meter = HttpMeter()
    meter.answered("GET", "/api/plugins/{name}", 200)
    meter.answered("GET", "/api/plugins/{name}", 200)
    meter.connections = 4
    return meter


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"{series} is not among\n{text}"
    return float(found[1])


def test_the_series_say_what_the_host_counted(figures, http: HttpMeter):
    content, content_type = exposed(figures, http)
    text = content.decode()
    assert content_type.startswith("text/plain")
    labels = 'capability="demo.work",outcome="ok",plugin="demo"'
    assert value(text, "bkg_requests_total{" + labels + "}") == 3
    assert value(text, 'bkg_request_duration_seconds_count{capability="demo.work"}') == 3
    assert value(text, 'bkg_plugin_state{plugin="demo",state="running"}') == 1
    assert value(text, 'bkg_plugin_state{plugin="demo",state="failed"}') == 0
    answers = 'bkg_http_answers_total{method="GET",route="/api/plugins/{name}",status="200"}'
    assert value(text, answers) == 2
    assert value(text, "bkg_http_connections") == 4


def test_a_client_that_asks_for_openmetrics_gets_them(figures, http: HttpMeter):
    content, content_type = exposed(figures, http, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    names = {family.name for family in text_string_to_metric_families(content.decode())}
    assert {"bkg_requests", "bkg_request_duration_seconds", "bkg_loop_lag_seconds"} <= names


def test_promtool_finds_nothing_to_complain_of(figures, http: HttpMeter):
    promtool = shutil.which("promtool")
    assert promtool, "Debian's prometheus is missing; .ci/run installs it"
    content, _ = exposed(figures, http)
    done = subprocess.run([promtool, "check", "metrics"], input=content, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
