"""One trace runs through every plug-in that a request makes work."""

from __future__ import annotations

from typing import Any

from bkg_workbench.sdk import Context, Plugin
from bkg_workbench.testing import MemoryHost
from tests.helpers import eventually


def test_a_request_and_what_it_causes_are_one_trace():
    outer, inner = Plugin("outer"), Plugin("inner")
    seen: list[str | None] = []

    @inner.capability("inner.work")
    async def work(payload: Any, context: Context) -> Any:
        seen.append(context.traceparent)
        return {}

    @outer.capability("outer.work")
    async def delegate(payload: Any, context: Context) -> Any:
        seen.append(context.traceparent)
        return await context.call("inner.work", {})

    with MemoryHost(outer, inner, calls={"outer": ["inner.work"]}) as bench:
        bench.call("outer.work")
        bench.call("inner.work")
        eventually(lambda: len(bench.calls()) == 3)
        first = bench.calls("outer.work")[0]
        below, other = bench.calls("inner.work")
        assert first["parent_id"] is None
        assert (below["trace_id"], below["parent_id"]) == (first["trace_id"], first["span_id"])
        assert other["trace_id"] != first["trace_id"]
        assert seen[:2] == [f"00-{c['trace_id']}-{c['span_id']}-01" for c in (first, below)]
        assert list(bench.calls(trace=first["trace_id"])) == [below, first]
