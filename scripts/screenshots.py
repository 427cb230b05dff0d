"""Pictures of the pages, for the README and for looking at them.

    python scripts/screenshots.py             the README's pictures in docs/images/
    python scripts/screenshots.py FOLDER      every page, light and dark, at two sizes
    python scripts/screenshots.py FOLDER WORD...   those whose names begin with one of the words

Lays out a workspace, starts its plug-ins, gives them work, and opens the pages in Chromium, those
of Voilà and one in JupyterLab. Everything runs on this machine, without network.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bkg_workbench import Host  # noqa: E402
from bkg_workbench.errors import WorkbenchError  # noqa: E402
from bkg_workbench.host.workspace import init  # noqa: E402
from tests.browser.lab import Lab, running  # noqa: E402
from tests.browser.watching import launch  # noqa: E402
from tests.plugins import write_plugin  # noqa: E402

SIZES = ((1280, 800), (1920, 1080))
THEMES = ("light", "dark")
TABS = ("overview", "capabilities", "log", "config")
WORK_SECONDS = 15.0
"""Until telemetry draws a line."""
SETTLE_MS = 1500
IMAGES = ROOT / "docs" / "images"
LIMIT_BYTES = 300_000
PAGE = "from bkg_workbench import attach, page\n\npage(attach)"


@dataclass(frozen=True)
class Shot:
    """One picture: its file's name, the page's address, and what must be there."""

    name: str
    path: str
    ready: str = ".bkg-badge"


README = (
    (Shot("control-centre", "plugins"), "light"),
    (Shot("plugin-page", "plugins/repoagent"), "light"),
    (Shot("plugin-settings", "plugins/repoagent?tab=config"), "light"),
    (Shot("plugin-capabilities", "plugins/demo?tab=capabilities"), "dark"),
    (Shot("apikeys", "plugins/apikeys"), "light"),
    (Shot("plugin-log", "plugins/repoagent?tab=log"), "dark"),
)


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 for a wrong command line."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 1
    for variable in ("BKG_WEB_PORT", "BKG_API_PORT", "BKG_PLUGIN_BUS_PORT"):
        os.environ.setdefault(variable, "0")
    os.environ.setdefault("ADMIN_PASSWORD", secrets.token_urlsafe(12))  # apikeys starts with it
    with workspace() as (host, place), sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            if arguments:
                folder = Path(arguments[0])
                with running(Path(host.info()["workspace"]), place / "lab") as lab:
                    for theme in THEMES:
                        context = browser.new_context(color_scheme=theme)
                        everything(context, host, lab, theme, folder, tuple(arguments[1:]))
                        context.close()
            else:
                for theme in THEMES:
                    context = browser.new_context(
                        color_scheme=theme, viewport={"width": SIZES[0][0], "height": SIZES[0][1]}
                    )
                    for shot, wanted in README:
                        if wanted == theme:
                            take(context, host, shot, IMAGES / f"{shot.name}.png")
                    context.close()
        finally:
            browser.close()
    return 0 if arguments else too_large()


@contextmanager
def workspace() -> Iterator[tuple[Host, Path]]:
    """A workspace with plug-ins at work."""
    with tempfile.TemporaryDirectory(prefix="bkg-screenshots-") as place, ExitStack() as stack:
        root = Path(place, "forecasting")
        init(root)
        write_plugin(root, description="Says hello, counts, and takes its time")
        host = stack.enter_context(Host(root, autostart=False))
        for plugin in host.plugins():
            try:
                host.start(plugin.name, timeout=300)
            except WorkbenchError as error:  # its page shows that, too
                print(f"{plugin.name}: {error}", file=sys.stderr)
        ended = threading.Event()
        worker = threading.Thread(target=work, args=(host, ended))
        worker.start()
        stack.callback(worker.join)
        stack.callback(ended.set)
        ended.wait(WORK_SECONDS)
        yield host, Path(place)


def work(host: Host, ended: threading.Event) -> None:
    """Something to see: requests, again and again."""
    queries = ("capability", "plugin", "workspace", "lifecycle", "token")
    number = 0
    while not ended.wait(0.7):
        number += 1
        try:
            host.call("repo.search", {"query": queries[number % len(queries)], "limit": 3})
            host.call("demo.greet", {"name": f"visitor {number}"})
        except WorkbenchError:  # the plug-in is just being restarted
            continue


def everything(
    context: BrowserContext,
    host: Host,
    lab: Lab,
    theme: str,
    folder: Path,
    only: tuple[str, ...] = (),
) -> None:
    """Every page in one theme, into `folder`; `only` those whose names begin so."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = only or ("",)
    for shot in shots(host):
        if shot.name.startswith(wanted):
            page = opened(context, host, shot)
            at_both_sizes(page, folder, f"{shot.name}-{theme}")
            page.close(run_before_unload=True)
    if "no-token".startswith(wanted) and context.browser is not None:
        stranger = context.browser.new_context(color_scheme=theme)
        page = stranger.new_page()
        page.goto(f"{base(host)}/plugins")
        at_both_sizes(page, folder, f"no-token-{theme}")
        stranger.close()
    if "jupyterlab".startswith(wanted):
        notebook = lab.open(context, [PAGE], theme=theme)
        notebook.run_all()
        notebook.output(0).locator(".bkg-badge").first.wait_for(timeout=60_000)
        notebook.command("application:toggle-left-area")
        at_both_sizes(notebook.page, folder, f"jupyterlab-{theme}")
        notebook.page.close()
        lab.end_kernels()


def shots(host: Host) -> Iterator[Shot]:
    """Every page of the running workspace."""
    yield Shot("plugins", "plugins")
    for plugin in host.plugins():
        for tab in TABS:
            yield Shot(f"{plugin.name}-{tab}", f"plugins/{plugin.name}?tab={tab}")
    yield Shot("unknown-plugin", "plugins/nobody", ".bkg-sorry")
    yield Shot("no-page", "nobody", ".bkg-message")


def base(host: Host) -> str:
    """The pages' address without path and token."""
    parts = urlsplit(host.serve_web())
    return f"{parts.scheme}://{parts.netloc}"


def opened(context: BrowserContext, host: Host, shot: Shot) -> Page:
    """The page of `shot`, when it is there."""
    page = context.new_page()
    token = urlsplit(host.serve_web()).query
    mark = "&" if "?" in shot.path else "?"
    page.goto(f"{base(host)}/{shot.path}{mark}{token}", wait_until="commit")
    page.wait_for_selector(shot.ready, timeout=120_000)
    return page


def at_both_sizes(page: Page, folder: Path, name: str) -> None:
    """Two pictures of a page."""
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(SETTLE_MS)
        write(page, folder / f"{name}-{width}x{height}.png")


def take(context: BrowserContext, host: Host, shot: Shot, file: Path) -> None:
    """One picture for the README."""
    page = opened(context, host, shot)
    page.wait_for_timeout(SETTLE_MS * 4)
    write(page, file)
    page.close(run_before_unload=True)


def write(page: Page, file: Path) -> None:
    """Write the picture, with as few colours as it needs."""
    page.screenshot(path=file, animations="disabled")
    print(json.dumps({"file": str(file), "bytes": file.stat().st_size}))


def too_large() -> int:
    """Exit status 1 where a picture is too large for a README."""
    large = [file.name for file in IMAGES.glob("*.png") if file.stat().st_size > LIMIT_BYTES]
    if large:
        print(f"more than {LIMIT_BYTES} bytes: {', '.join(large)}", file=sys.stderr)
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
