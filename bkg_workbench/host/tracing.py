"""Finished requests as OpenTelemetry spans, sent to whoever collects them.

Owns the export and nothing of the trace itself (`protocol.trace`). It is on where OpenTelemetry's
own variables name a collector that speaks OTLP over HTTP, and the extra `otlp` is installed;
nothing is loaded otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bkg_workbench._version import __version__
from bkg_workbench.bus.calls import Finished
from bkg_workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
MILLION = 1_000_000


class Tracer:
    """Hands spans to a thread that sends them in batches. `finished` never blocks."""

    def __init__(self, processor: BatchSpanProcessor, resource: Any) -> None:
        self._processor, self._resource = processor, resource

    def finished(self, record: Finished) -> None:
        """A request has its answer; sent unless its caller said that it is not to be sampled."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        span = record.span
        if span is None or not span.is_sampled:
            return
        trace_id, flags = int(span.trace_id, 16), TraceFlags(TraceFlags.SAMPLED)
        above = span.parent_id and SpanContext(trace_id, int(span.parent_id, 16), True, flags)
        end = record.at * MILLION
        failed = record.outcome != "ok"
        self._processor.on_end(
            ReadableSpan(
                name=record.capability,
                context=SpanContext(trace_id, int(span.span_id, 16), False, flags),
                parent=above or None,
                resource=self._resource,
                attributes={
                    "bkg.plugin": record.plugin or "",
                    "bkg.caller": record.caller,
                    "bkg.outcome": record.outcome,
                },
                kind=SpanKind.SERVER,
                status=Status(StatusCode.ERROR, record.outcome) if failed else Status(),
                start_time=end - int(record.duration_ms * MILLION),
                end_time=end,
            )
        )

    def close(self) -> None:
        """Send what waits and end the thread; blocks until then, for at most some seconds."""
        end: Any = self._processor.shutdown  # untyped in the library
        end()


def tracer(instance: str, environment: Mapping[str, str] = os.environ) -> Tracer | None:
    """The tracer that the environment asks for, or None where it asks for none.

    Raises `WorkbenchError` where it asks for one and the library is not installed.
    """
    named = next((name for name in VARIABLES if environment.get(name)), None)
    if named is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise WorkbenchError(
            f"{named} asks for traces, but the library for them is not installed: "
            "pip install 'bkg-workbench[otlp]', or unset it."
        ) from None
    resource = Resource.create(
        {
            "service.name": environment.get("OTEL_SERVICE_NAME", "bkg-workbench"),
            "service.version": __version__,
            "service.instance.id": instance,
        }
    )
    return Tracer(BatchSpanProcessor(OTLPSpanExporter()), resource)
