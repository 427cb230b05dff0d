"""The log's page without a kernel: its module in a real browser, on a model that a test holds.

Owns the page and its model; `deliver` is the kernel's side of the wire, `asked` the page's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route

from bkg_workbench.widgets.live import text
from bkg_workbench.widgets.logs import SCRIPTS

ORIGIN = "http://localhost:9"
"""Nobody listens there: the browser is answered by the test, and takes it for a safe place."""

DARK = {"layout-color0": "#111111", "ui-font-color1": "#ffffffde", "border-color2": "#424242"}
LIGHT = {"layout-color0": "#ffffff", "ui-font-color1": "#000000de", "border-color2": "#e0e0e0"}

HTML = """<!doctype html><meta charset="utf-8"><title>log</title>
<style>:root {{ {variables} }} body {{ margin: 16px; background: {ground}; }} {css}</style>
<body data-jp-theme-light="{light}" {attributes}><button id="other">click</button>
<div id="log"></div>
<script type="module">
import make, {{ stores }} from "./logs.js";
window.store = () => stores[0];
const handlers = new Map();
const model = {{
  traits: {traits}, sent: [],
  get(key) {{ return this.traits[key]; }},
  on(event, fn) {{ handlers.set(event, [...(handlers.get(event) ?? []), fn]); }},
  off(event, fn) {{
    handlers.set(event, (handlers.get(event) ?? []).filter((one) => one !== fn));
  }},
  send(content) {{ this.sent.push(structuredClone(content)); }},
}};
window.deliver = (content, records) => {{
  const bytes = new TextEncoder().encode(JSON.stringify(records));
  for (const fn of handlers.get("msg:custom") ?? []) fn(content, [new DataView(bytes.buffer)]);
}};
window.model = model;
const widget = make();
const ended = widget.initialize({{ model }});
window.end = widget.render({{ model, el: document.getElementById("log") }});
window.ready = true;
</script>
"""


class LogPage:
    """A page with one log, answered by the test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seq = 0
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def asked(self, kind: str) -> list[dict[str, Any]]:
        """What the page asked of its kernel, and forget it."""
        return self.page.evaluate(
            """(kind) => {
                const found = model.sent.filter((one) => one.kind === kind);
                model.sent = model.sent.filter((one) => one.kind !== kind);
                return found;
            }""",
            kind,
        )

    def deliver(self, content: dict[str, Any], records: list[Any]) -> None:
        """A message of the kernel's."""
        self.page.evaluate("([content, records]) => deliver(content, records)", [content, records])

    def records(self, *messages: str, **fields: Any) -> list[list[Any]]:
        """Records with the next numbers."""
        made = []
        for message in messages:
            self.seq += 1
            made.append(
                [
                    self.seq,
                    fields.get("at", 1_790_000_000_000 + self.seq),
                    fields.get("plugin", "goose"),
                    fields.get("source", "stdout"),
                    fields.get("level", "info"),
                    message,
                ]
            )
        return made

    def begin(self, records: list[list[Any]], *, whole: bool = True) -> None:
        """Answer the page's hello."""
        token = self.asked("hello")[-1]["token"]
        self.deliver({"kind": "backlog", "token": token, "said": {}, "whole": whole}, records)

    def batch(self, records: list[list[Any]], plugin: str = "goose") -> None:
        """A batch in which nothing is missing."""
        said = {plugin: [records[-1][0], records[-1][0], 1]}
        self.deliver({"kind": "batch", "said": said}, records)

    def fill(self, count: int, length: int = 0) -> None:
        """A backlog of `count` lines `line N`, made in the page; N counts from 0."""
        token = self.asked("hello")[-1]["token"]
        self.page.evaluate(
            """([count, token, length]) => {
                const levels = ["debug", "info", "info", "info", "warn", "error"];
                const all = Array.from({length: count}, (_, n) => [n + 1, 1790000000000 + n,
                    "goose", n % 5 ? "stdout" : "stderr", levels[n % 6],
                    `line ${n}` + (length && n % 7 === 0 ? " " + "word ".repeat(length) : "")]);
                deliver({kind: "backlog", token, said: {}, whole: true}, all);
            }""",
            [count, token, length],
        )
        self.seq = count

    def figures(self) -> dict[str, int]:
        """What the page says of received, shown, dropped and passed lines."""
        data = self.page.evaluate("({...document.querySelector('.bkg-log-count').dataset})")
        return {key: int(value) for key, value in data.items()}

    def passed(self, count: int) -> None:
        """Wait until the page says that so many lines pass its filters."""
        self.page.wait_for_selector(f'.bkg-log-count[data-passed="{count}"]', state="attached")

    def lines(self) -> list[str]:
        """The messages in sight, from top to bottom."""
        return self.page.evaluate(
            """() => {
                const box = document.querySelector(".bkg-log-lines").getBoundingClientRect();
                return [...document.querySelectorAll(".bkg-line")].filter((line) => {
                    const at = line.getBoundingClientRect();
                    return at.bottom > box.top + 1 && at.top < box.bottom - 1;
                }).map((line) => (line.querySelector(".bkg-line-message") ?? line).textContent);
            }"""
        )

    def scroll(self, pixels: float) -> None:
        """Put the scroll bar at `pixels` and let the page draw."""
        self.page.evaluate(
            """(y) => new Promise((done) => {
                document.querySelector(".bkg-log-lines").scrollTop = y;
                requestAnimationFrame(() => requestAnimationFrame(done));
            })""",
            pixels,
        )

    def frame(self) -> None:
        """Let the page draw twice."""
        self.page.evaluate(
            "() => new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))"
        )


@contextmanager
def log_page(
    browser: Browser,
    *,
    query: str = "",
    dashboard: bool = False,
    dark: bool = False,
    width: int = 1280,
    height: int = 800,
    **traits: Any,
) -> Iterator[LogPage]:
    """Open the page; `dashboard` as in Voilà, `traits` those of `LogTail`."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": height},
        permissions=["clipboard-read", "clipboard-write"],
        accept_downloads=True,
    )
    colours = "".join(f"--jp-{k}: {v};" for k, v in (DARK if dark else LIGHT).items())
    html = HTML.format(
        css=text("logs.css"),
        variables=colours + ("color-scheme: dark;" if dark else ""),
        ground="#111" if dark else "#f5f6f8",
        light="false" if dark else "true",
        attributes='data-voila="voila"' if dashboard else "",
        traits=json.dumps({"names": [], "only": "", "lines": 100_000, "height": 480, **traits}),
    )

    def answer(route: Route) -> None:
        if route.request.url.endswith("logs.js"):
            # The test looks into the store, which the module keeps to itself.
            module = "\n".join(["export const stores = [];", *map(text, SCRIPTS)])
            made = "store = new LogStore("
            assert made in module
            module = module.replace(made, f"stores[stores.length] = {made}")
            route.fulfill(body=module, content_type="text/javascript")
        else:
            route.fulfill(body=html, content_type="text/html")

    context.route(f"{ORIGIN}/**", answer)
    page = context.new_page()
    shown = LogPage(page)
    page.goto(f"{ORIGIN}/page{query}")
    page.wait_for_function("window.ready")
    try:
        yield shown
        assert shown.errors == []
    finally:
        context.close()
