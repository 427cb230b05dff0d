"""Browser windows that can reach nothing but this machine, and a list of what they tried.

Owns the block (Chromium's own resolver knows no name but localhost, and the requests that still
leave the page are aborted) and the record that the tests look at.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Error, Page, Playwright, Route

CHROMIUM = os.environ.get("BKG_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]",
]
PAGE_SECONDS = float(os.environ.get("BKG_PAGE_SECONDS", "90"))
"""A page's kernel starts in three seconds, and in many more on a machine that is busy."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
INSIDE = ("about", "blob", "chrome", "chrome-error", "data", "devtools")
"""Schemes that leave no machine."""
_BEYOND = re.compile(
    r"^(?:https?|wss?|ftp)://(?!(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:/|$))"
)


def launch(playwright: Playwright, *flags: str) -> Browser:
    """Chromium with a fresh profile."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])


def is_foreign(url: str) -> bool:
    """Whether `url` leads beyond this machine."""
    parts = urlsplit(url)
    return parts.scheme not in INSIDE and parts.hostname not in LOOPBACK


class Windows:
    """Opens browser windows (contexts, each with cookies of its own) and watches over them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.asked: list[str] = []
        """Every address that a page asked for."""
        self.errors: list[str] = []
        """What went wrong in the pages' JavaScript, and what they wrote as an error."""

    @property
    def foreign(self) -> list[str]:
        """The addresses beyond this machine among them."""
        return [url for url in self.asked if is_foreign(url)]

    def new(self, **options: Any) -> BrowserContext:
        """A window without cookies, 1280×800 unless `options` say otherwise."""
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = self._browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(PAGE_SECONDS * 1000)
        context.route(_BEYOND, _refuse)
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("page", self._watch)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("console", self._heard)
        return context

    def _watch(self, page: Page) -> None:
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def pictures(self, folder: Path) -> list[str]:
        """Take a picture of each page into `folder`; gives the files."""
        files = []
        for context in self._contexts:
            for page in context.pages:
                file = folder / f"page-{len(files)}.png"
                with contextlib.suppress(Error):
                    page.screenshot(path=file, timeout=5000)
                    files.append(f"{file}: {page.url}")
        return files

    def close(self) -> None:
        """Close every window as a user does, so that pages can say goodbye."""
        for context in self._contexts:
            for page in context.pages:
                with contextlib.suppress(Error):  # a page that is closing or has crashed
                    page.close(run_before_unload=True)
            with contextlib.suppress(Error):
                context.close()
        self._contexts.clear()


def _refuse(route: Route) -> None:
    route.abort("blockedbyclient")
