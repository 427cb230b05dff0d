"""The Host's counters as Prometheus and OpenMetrics read them.

Owns the names, types and help texts of the series, and the two text forms. The counting is the
Host's (`host.metrics`) and, for what is the gateway's own, `HttpMeter`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, get_args

from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from bkg_workbench._version import __version__
from bkg_workbench.protocol.state import StateName

Figures = dict[str, Any]


class HttpMeter:
    """What the gateway counts of its own: answers by route and status, open connections."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.connections = 0

    def answered(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is the pattern, never the path that was asked for."""
        self.answers[method, route, status] += 1


def exposed(figures: Figures, http: HttpMeter, accept: str = "") -> tuple[bytes, str]:
    """The text and its content type; `accept` is the Accept header, which chooses the form."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_of_host(figures), *_of_http(http)]))
    encode, content_type = exposition.choose_encoder(accept)
    return encode(registry), content_type


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_host(figures: Figures) -> Iterator[Metric]:
    info = InfoMetricFamily("bkg_host", "The workbench that answers")
    info.add_metric([], {"version": __version__})
    yield info
    yield from _requests(figures)
    yield from _plugins(figures["plugins"])
    lag = HistogramMetricFamily(
        "bkg_loop_lag_seconds", "How late the Host's event loop came back from a sleep"
    )
    _fill(lag, [], figures["lag"])
    yield lag
    yield _gauge("bkg_attached_clients", "Attached workbenches", figures["clients"])
    yield _gauge("bkg_uptime_seconds", "Since the Host started", figures["uptimeSeconds"])
    process = figures["process"]
    yield _gauge("bkg_host_memory_bytes", "Resident memory of the Host", process["memBytes"])
    cpu = CounterMetricFamily("bkg_host_cpu_seconds", "Processor time of the Host")
    cpu.add_metric([], process["cpuSeconds"])
    yield cpu


def _requests(figures: Figures) -> Iterator[Metric]:
    counted = CounterMetricFamily(
        "bkg_requests",
        "Requests answered, by capability, plug-in and outcome (ok, or the error's code)",
        labels=("capability", "plugin", "outcome"),
    )
    for row in figures["requests"]:
        counted.add_metric([row["capability"], row["plugin"], row["outcome"]], row["count"])
    yield counted
    taken = HistogramMetricFamily(
        "bkg_request_duration_seconds", "From request to answer", labels=("capability",)
    )
    for row in figures["durations"]:
        _fill(taken, [row["capability"]], row)
    yield taken


def _plugins(rows: list[Figures]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "bkg_plugin_state", "1 for the state that the plug-in is in", labels=("plugin", "state")
    )
    for row in rows:
        for name in get_args(StateName):
            state.add_metric([row["name"], name], row["state"] == name)
    yield state
    for name, help_text, field in (
        ("bkg_plugin_wanted", "1 where the plug-in is wanted up", "wanted"),
        ("bkg_plugin_waiting_requests", "Requests that wait for the plug-in to come", "waiting"),
        ("bkg_plugin_requests_in_flight", "Requests that the plug-in works on", "inFlight"),
    ):
        gauge = GaugeMetricFamily(name, help_text, labels=("plugin",))
        for row in rows:
            value = row[field]
            gauge.add_metric([row["name"]], value == "up" if field == "wanted" else value)
        yield gauge
    for name, help_text, field in (
        ("bkg_plugin_restarts", "Starts after the first", "restarts"),
        ("bkg_log_lines_received", "Log lines that came", "logsReceived"),
        ("bkg_log_lines_dropped", "Log lines that were not kept", "logsDropped"),
    ):
        counter = CounterMetricFamily(name, help_text, labels=("plugin",))
        for row in rows:
            counter.add_metric([row["name"]], row[field])
        yield counter


def _of_http(http: HttpMeter) -> Iterator[Metric]:
    answers = CounterMetricFamily(
        "bkg_http_answers", "Answers of the gateway", labels=("method", "route", "status")
    )
    for (method, route, status), count in sorted(http.answers.items()):
        answers.add_metric([method, route, str(status)], count)
    yield answers
    yield _gauge("bkg_http_connections", "Open connections to the gateway", http.connections)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, help_text)
    gauge.add_metric([], value)
    return gauge


def _fill(metric: HistogramMetricFamily, labels: list[str], found: Figures) -> None:
    names = [*(str(float(bound)) for bound in found["bounds"]), "+Inf"]
    counts = accumulate(found["counts"])
    metric.add_metric(labels, list(zip(names, counts, strict=True)), sum_value=found["sum"])
