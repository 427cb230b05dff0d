"""A form in a real browser without a kernel: the page's module on a model bridged to Python.

The widget is the real one, with the real form model behind it; only the comm between them is
replaced by a function that the page calls. Nothing is served by any network: the page asks
Playwright.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Route

from bkg_workbench.protocol.schema import MASK
from bkg_workbench.widgets.live import Live
from tests.helpers import eventually

ADDRESS = "http://localhost:1"

HTML = """<!doctype html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/panel.css"></head>
<body data-jp-theme-light="%(light)s" style="margin:0;padding:20px;%(style)s"><div id="here"></div>
<script type="module">
import panel from "/panel.js";
const handlers = new Map();
let view = await window.toPython({kind: "view"});
let chain = Promise.resolve();
window.deliver = (messages) => messages.forEach((message) =>
  handlers.get("msg:custom")?.forEach((handler) => handler(message, [])));
const model = {
  get: () => view,
  on: (name, fn) => handlers.set(name, [...(handlers.get(name) ?? []), fn]),
  off: () => {},
  send: (content) => {
    chain = chain.then(() => window.toPython(content)).then(async (answer) => {
      if (window.delayMs) await new Promise((done) => setTimeout(done, window.delayMs));
      window.deliver(answer);
    });
  },
};
window.settled = async () => {
  await new Promise(requestAnimationFrame);
  let before;
  do { before = chain; await before; } while (before !== chain);
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
};
const made = typeof panel === "function" ? panel() : panel;
made.initialize?.({ model });
made.render({ model, el: document.getElementById("here") });
window.ready = true;
</script></body></html>"""

DARK = (
    "background:#111;--jp-layout-color0:#111;--jp-ui-font-color1:rgba(255,255,255,.87);"
    "--jp-border-color2:#424242;--jp-ui-font-color2:rgba(255,255,255,.54)"
)


class Bridge:
    """One widget on one page; `asked` are the addresses that it wanted, `errors` its errors."""

    def __init__(self, context: BrowserContext, widget: Live, *, theme: str = "light") -> None:
        self.widget = widget
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self.sent: list[Any] = []
        widget.post = self._keep  # type: ignore[method-assign]
        self.page: Page = context.new_page()
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.expose_function("toPython", self._hear)
        files: dict[str, Callable[[], tuple[str, str]]] = {
            "/": lambda: ("text/html", _html(theme)),
            "/panel.js": lambda: ("text/javascript", str(widget._esm)),
            "/panel.css": lambda: ("text/css", str(widget._css)),
        }

        def answer(route: Route) -> None:
            path = route.request.url.removeprefix(ADDRESS)
            if path not in files:
                route.abort()
                return
            kind, body = files[path]()
            route.fulfill(content_type=f"{kind}; charset=utf-8", body=body)

        self.page.route("**/*", answer)
        self.page.goto(f"{ADDRESS}/")
        eventually(lambda: self.page.evaluate("window.ready") or self.errors, timeout=30)
        assert self.errors == [], self.errors

    def settle(self) -> None:
        """Wait until what was done on the page has been answered and drawn."""
        self.page.evaluate("window.settled()")

    def deliver(self) -> None:
        """Give the page what the widget has posted by itself meanwhile."""
        messages, self.sent = self.sent, []
        self.page.evaluate("(m) => window.deliver(m)", json.loads(json.dumps(messages)))
        self.settle()

    def close(self) -> None:
        """Close page and widget."""
        self.page.close()
        self.widget.close()

    def _keep(self, content: Any, buffers: list[bytes] | None = None) -> None:
        self.sent.append(content)

    def _hear(self, content: dict[str, Any]) -> Any:
        if content.get("kind") == "view":
            self.sent = []
            return self.widget.view
        self.widget._on_message(None, content, [])
        messages, self.sent = self.sent, []
        return messages


def _html(theme: str) -> str:
    light = theme == "light"
    return HTML % {"light": str(light).lower(), "style": "" if light else DARK}


# --- what the page shows ------------------------------------------------------------------------

READING = (Path(__file__).parent / "form_reading.js").read_text("utf-8")
ABSENT: Any = object()


def read(bridge: Bridge) -> dict[str, Any]:
    """What the form's controls show, all folds opened; see `form_reading.js`."""
    bridge.page.evaluate("document.getElementById('here').opened = 0")
    while "closed" in (
        found := bridge.page.evaluate(f"({READING})(document.getElementById('here'))")
    ):
        bridge.settle()
    return dict(found)


def typed(tree: dict[str, Any] | None, node: dict[str, Any]) -> Any:
    """The value that the controls show; `node` tells only what an option stands for."""
    if tree is None or not tree["set"]:
        return ABSENT
    if tree.get("null"):
        return None
    if "fields" in tree:
        below = {**node.get("unknown", {}), **node.get("fields", {})}
        found = {k: typed(one, below[k]) for k, one in tree["fields"].items()}
        return {k: v for k, v in found.items() if v is not ABSENT}
    if "entries" in tree:
        inside = {**node.get("entries", {})}
        return {k: typed(one, inside[k]) for k, one in tree["entries"].items()}
    if "items" in tree:
        return [typed(one, node["items"][str(n)]) for n, one in enumerate(tree["items"])]
    if "body" in tree:
        return typed(tree["body"], node["body"])
    return _typed_leaf(tree, node)


def _typed_leaf(leaf: dict[str, Any], node: dict[str, Any]) -> Any:
    kind = leaf["leaf"]
    if (leaf.get("placeholder") == "null" and leaf["text"] == "") or leaf.get("words") == "null":
        return None
    if "secret" in leaf:
        return {"kept": MASK, "new": MASK, "unset": ""}[leaf["secret"]]
    if "index" in leaf and leaf["index"] >= 0:
        option = node["options"][leaf["index"]]
        return json.loads(option["text"]) if "text" in option else option["value"]
    if "on" in leaf:
        known = {"On": True, "Off": False}
        return known[leaf["words"]] if leaf["words"] in known else json.loads(leaf["words"])
    if "index" in leaf:
        return json.loads(leaf["words"].removesuffix(" (not an option)"))
    if kind == "text":
        return leaf["text"]
    try:
        return json.loads(leaf["text"])
    except ValueError:
        return leaf["text"]
