"""Traces reach a collector, as the OpenTelemetry protocol has them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bkg_workbench.errors import CapabilityNotFound, WorkbenchError
from bkg_workbench.host import tracing
from bkg_workbench.sdk import Context, Plugin
from bkg_workbench.testing import MemoryHost


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A real HTTP server that takes spans; gives those that came."""
    spans: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    yield spans
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_request_is_a_span_of_its_trace(collector: list[Any]):
    outer, inner = Plugin("outer"), Plugin("inner")

    @inner.capability("inner.work")
    async def work(payload: Any, context: Context) -> Any:
        return {}

    @outer.capability("outer.work")
    async def delegate(payload: Any, context: Context) -> Any:
        return await context.call("inner.work", {})

    with MemoryHost(outer, inner, calls={"outer": ["inner.work"]}) as bench:
        bench.call("outer.work")
        with pytest.raises(CapabilityNotFound):
            bench.call("nobody.there")
    found = {span.name: span for span in collector}
    above, below = found["outer.work"], found["inner.work"]
    assert below.trace_id == above.trace_id
    assert below.parent_span_id == above.span_id
    rounded = 2_000_000  # the end of a request is kept in whole milliseconds
    assert above.start_time_unix_nano <= below.start_time_unix_nano + rounded
    assert below.end_time_unix_nano >= below.start_time_unix_nano
    lost = found["nobody.there"]
    assert lost.status.message == "capability_not_found"


def test_nothing_is_sent_where_nobody_asks():
    assert tracing.tracer("i", {}) is None


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(WorkbenchError, match=r"bkg-workbench\[otlp\]"):
        tracing.tracer("i", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
