"""Pictures of the pages, for the README and for looking at them.

    python scripts/screenshots.py             the README's docs/images/control-centre.png
    python scripts/screenshots.py FOLDER      every page, light and dark, at two sizes

Lays out a workspace, starts it, and opens the pages in Chromium. Everything runs on this machine,
without network.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bkg_workbench import Host  # noqa: E402
from bkg_workbench.host.workspace import init  # noqa: E402

CHROMIUM = os.environ.get("BKG_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
SIZES = ((1280, 800), (1920, 1080))
THEMES = ("light", "dark")
README_PICTURE = ROOT / "docs" / "images" / "control-centre.png"
SETTLE_MS = 12_000
"""Until telemetry draws a line."""


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 for a wrong command line."""
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 1
    target = Path(arguments[0]) if arguments else None
    (target or README_PICTURE.parent).mkdir(parents=True, exist_ok=True)
    for variable in ("BKG_WEB_PORT", "BKG_API_PORT", "BKG_PLUGIN_BUS_PORT"):
        os.environ.setdefault(variable, "0")
    with tempfile.TemporaryDirectory(prefix="bkg-screenshots-") as place:
        workspace = Path(place, "forecasting")
        init(workspace)
        with Host(workspace) as host:
            for plugin in host.plugins():
                if plugin.definition.autostart:
                    host.start(plugin.name)
            _work(host)
            address = host.serve_web()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                _pictures(browser, address, target)
                browser.close()
    return 0


def _work(host: Host) -> None:
    """Something to see: a few requests."""
    for query in ("capability", "plugin", "workspace"):
        host.call("repo.search", {"query": query})


def _pictures(browser: Browser, address: str, target: Path | None) -> None:
    for theme in THEMES if target else THEMES[:1]:
        page = browser.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
        page.goto(f"{address}&theme={theme}", wait_until="commit")
        page.wait_for_selector(".bkg-badge", timeout=120_000)
        page.wait_for_timeout(SETTLE_MS)
        if target is None:
            _write(page, README_PICTURE)
            return
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)
            _write(page, target / f"plugins-{theme}-{width}x{height}.png")
        page.close(run_before_unload=True)


def _write(page: Page, file: Path) -> None:
    page.screenshot(path=file)
    print(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
