"""Panels in a real browser without a kernel: what a panel's Python says, its JavaScript draws.

Owns a bare page that loads a panel's module with a stand-in for Jupyter's model. Messages go both
ways through the test's own thread, which `settle` pumps.
"""

from __future__ import annotations

import base64
import json
import queue
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from bkg_workbench.testing import Pilot
from bkg_workbench.widgets.live import Live
from tests.helpers import eventually

SHELL = """<!doctype html><html><head><meta charset="utf-8"><title>Stage</title><style>
body { margin: 0; padding: 14px 24px; background: %(ground)s; }
</style></head><body data-jp-theme-light="%(light)s" %(voila)s>
<script id="jupyter-config-data" type="application/json">{"baseUrl": "/"}</script>
<div class="bkg" id="board"></div>
<script type="module">
window.stages = {};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
window.mount = async (id, source, css, view) => {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const made = await (await import(address)).default();
  const heard = {};
  const model = {
    get: () => view,
    on: (name, fn) => { heard[name] = fn; },
    off: () => {},
    send: (content) => window.said(id, JSON.stringify(content)),
  };
  window.stages[id] = (content, buffers) =>
    heard["msg:custom"](content, buffers.map(bytes));
  const el = document.createElement("div");
  document.getElementById("board").append(el);
  made.initialize({ model });
  made.render({ model, el });
};
</script></body></html>"""


class Stage:
    """The panels of a pilot's board on a page of the browser.

    `settle` redraws, and hands on what either side has said.
    """

    def __init__(
        self,
        page: Page,
        pilot: Pilot,
        *,
        theme: str = "light",
        query: str = "",
        voila: bool = False,
    ) -> None:
        self.page, self.pilot = page, pilot
        self._said: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._posted: queue.SimpleQueue[tuple[int, Any, list[bytes]]] = queue.SimpleQueue()
        light = theme == "light"
        shell = SHELL % {
            "light": str(light).lower(),
            "ground": "#f5f6f8" if light else "#111",
            "voila": 'data-voila="voila"' if voila else "",
        }
        page.route(
            "http://stage.test/**",
            lambda route: route.fulfill(body=shell, content_type="text/html"),
        )
        page.expose_function("said", lambda index, text: self._said.put((index, text)))
        page.goto(f"http://stage.test/plugins{query}")
        pilot.look()
        for index, panel in enumerate(pilot.board.panels):
            self._mount(index, panel)
        self.settle()

    def _mount(self, index: int, panel: Live) -> None:
        post = panel.post

        def keep(content: Any, buffers: list[bytes] | None = None) -> None:
            post(content, buffers)
            self._posted.put((index, content, buffers or []))

        keep.to = self.pilot  # type: ignore[attr-defined]
        panel.post = keep  # type: ignore[method-assign]
        self.page.evaluate(
            "([id, source, css, view]) => window.mount(id, source, css, view)",
            [index, str(panel._esm), str(panel._css), panel.view],
        )

    def settle_until(self, predicate: Callable[[], Any]) -> None:
        """Settle until `predicate` is true, for what other threads do."""

        def settled() -> Any:
            self.settle()
            return predicate()

        eventually(settled, timeout=30.0)
        self.settle()

    def settle(self) -> None:
        """Let intents reach the panels, redraw, and bring what is new to the page."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
        while not self._said.empty():
            index, text = self._said.get()
            self.pilot.board.panels[index]._handle_custom_msg(json.loads(text), [])
        self.pilot.board.settle()
        self.pilot.look()
        while not self._posted.empty():
            index, content, buffers = self._posted.get()
            encoded = [base64.b64encode(b).decode() for b in buffers]
            self.page.evaluate(
                "([id, content, buffers]) => window.stages[id](content, buffers)",
                [index, content, encoded],
            )
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
