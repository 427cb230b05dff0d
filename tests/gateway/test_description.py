"""What the gateway says of itself over HTTP, and the trace that a request leaves."""

from __future__ import annotations

import shutil
import subprocess

import httpx
import pytest

from tests.gateway.conftest import Served
from tests.helpers import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.shared_host
def test_anybody_may_read_the_description_and_its_page(served: Served):
    with served.client(None) as client:
        document = client.get("/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        greet = document["paths"]["/api/capabilities/demo.greet"]["post"]
        assert greet["responses"]["200"]["content"]["application/json"]["schema"]
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert "'none'" in page.headers["content-security-policy"]
        bundle = client.get("/docs/swagger-ui-bundle.js")
        assert b"SwaggerUIBundle" in bundle.content
        assert client.get("/docs/other.js").status_code == 404


@pytest.mark.shared_host
def test_the_metrics_are_valid_and_count_what_was_asked(served: Served):
    promtool = shutil.which("promtool")
    assert promtool, "Debian's prometheus is missing; .ci/run installs it"
    with served.client("admin") as client:
        client.post("/api/capabilities/demo.greet", json={"name": "Ada"})
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert 'bkg_requests_total{capability="demo.greet"' in answer.text
    assert 'route="/api/capabilities/{capability}"' in answer.text
    done = subprocess.run([promtool, "check", "metrics"], input=answer.content, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.shared_host
def test_a_request_goes_on_with_the_trace_of_its_client(served: Served):
    with served.client("admin") as client:
        answer = client.post(
            "/api/capabilities/demo.greet",
            json={"name": "Ada"},
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
    version, trace, span, flags = answer.headers["traceresponse"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    found = eventually(lambda: list(served.host.calls("demo.greet", trace=TRACE)))
    assert [call["parent_id"] for call in found] == [span]


@pytest.mark.shared_host
def test_a_request_without_a_trace_begins_one(served: Served):
    with served.client("admin") as client:
        first, second = (
            client.post("/api/capabilities/demo.greet", json={"name": "Ada"}) for _ in range(2)
        )
    traces = {answer.headers["traceresponse"].split("-")[1] for answer in (first, second)}
    assert len(traces) == 2


def test_a_wrong_trace_is_no_error(served: Served):
    answer = httpx.get(f"{served.url}/health", headers={"traceparent": "nonsense"})
    assert answer.status_code == 200
