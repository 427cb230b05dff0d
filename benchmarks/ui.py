"""What the pages cost: this workbench's panels beside the naive way, in the same run. Figures only.

    python benchmarks/ui.py [--quick]

Each scene is a page of Voilà in a real Chromium. Bytes are those of the websocket's frames, both
ways; CPU is the kernel's. The scenes themselves: `ui_pages/scenes.py`. Figures are medians of
several runs with the least and the greatest; the full run takes about ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright
from ui_pages.serving import Server, notebook, serving

CHROMIUM = os.environ.get("BKG_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]  # fmt: skip
SCENES = {
    "inventory": ("inventory of 20 plug-ins at 2 Hz", 6.0),
    "log-1000": ("log at 1,000 lines/s", 5.0),
    "log-10000": ("log at 10,000 lines/s", 4.0),
    "form": ("form of 100 × 5 fields", 0.0),
    "chart": ("live chart of 4 × 600 points at 2 Hz", 6.0),
}
WAYS = ("ours", "naive")
NAIVE = {
    "inventory": "GridBox of ipywidgets",
    "log-1000": "Output.append_stdout",
    "log-10000": "Output.append_stdout",
    "form": "ipywidgets",
    "chart": "FigureWidget",
}
MOST_SECONDS = 60.0
FROZEN_SECONDS = 30.0
"""A page that does not answer for so long is given up."""
QUIET_SECONDS = 1.0
READY = "button:not([disabled]):visible"

Figures = dict[tuple[str, str], list[float]]
"""By (what, way): one figure a run."""


class Wire:
    """Counts what a page's websockets carry."""

    def __init__(self, page: Page) -> None:
        self.bytes = 0
        page.on("websocket", self._opened)

    def _opened(self, socket: Any) -> None:
        socket.on("framereceived", self._count)
        socket.on("framesent", self._count)

    def _count(self, frame: Any) -> None:
        self.bytes += len(frame if isinstance(frame, bytes) else frame.encode())


def cpu(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def settle(page: Page, wire: Wire, done: Callable[[], bool]) -> None:
    """Wait until the kernel is done and the wire is quiet."""
    end = time.monotonic() + MOST_SECONDS
    before, since = wire.bytes, time.monotonic()
    while time.monotonic() < end:
        page.wait_for_timeout(100)
        if wire.bytes != before or not done():
            before, since = wire.bytes, time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS:
            return


def answers(page: Page) -> float:
    """Seconds until the page answers. Of a frozen page no frame is counted before that."""
    begun = time.monotonic()
    with contextlib.suppress(TimeoutError):
        page.wait_for_function("true", timeout=FROZEN_SECONDS * 1000)
    return time.monotonic() - begun


def play(browser: Browser, server: Server, folder: Path, scene: str, way: str) -> dict[str, float]:
    """One run of a scene: kB and ms of CPU to show it, and of each second that it plays."""
    said = folder / f"{scene}-{way}"
    for ending in (".pid", ".built", ".played"):
        said.with_suffix(ending).unlink(missing_ok=True)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    wire = Wire(page)
    page.goto(server.url(said.name), wait_until="commit")
    page.get_by_role("button", name="ready").wait_for(timeout=60_000)
    settle(page, wire, said.with_suffix(".pid").exists)
    kernel = psutil.Process(int(said.with_suffix(".pid").read_text()))
    found = {}
    seconds = SCENES[scene][1]
    for number, step in ((signal.SIGUSR1, "built"), (signal.SIGUSR2, "played")):
        carried, used = wire.bytes, cpu(kernel)
        kernel.send_signal(number)
        settle(page, wire, said.with_suffix(f".{step}").exists)
        found[f"{step} answer s"] = answers(page)
        settle(page, wire, lambda: True)
        share = 1.0 if step == "built" else seconds
        if share:
            found[f"{step} kB"] = (wire.bytes - carried) / 1000 / share
            found[f"{step} CPU ms"] = 1000 * (cpu(kernel) - used) / share
    is_alive = found["played answer s"] < FROZEN_SECONDS
    page.close(run_before_unload=is_alive)
    return found


def first_button(browser: Browser, server: Server, name: str) -> float:
    """Seconds from opening a page to the first button that can be pressed."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    begun = time.monotonic()
    page.goto(server.url(name), wait_until="commit")
    page.wait_for_selector(f".jp-OutputArea-output {READY}", timeout=60_000)
    took = time.monotonic() - begun
    page.close(run_before_unload=True)
    context.close()
    return took


def tabs(browser: Browser, server: Server, name: str, count: int) -> tuple[float, float, float]:
    """MB of the server and its kernels: before, with `count` tabs, and after closing them."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    before, kernels = server.memory(), len(server.kernels())
    for _ in range(count):
        page = context.new_page()
        page.goto(server.url(name), wait_until="commit")
        page.wait_for_selector(f".jp-OutputArea-output {READY}", timeout=120_000)
    opened = server.memory()
    for page in context.pages:
        page.close(run_before_unload=True)
    end = time.monotonic() + 30
    while len(server.kernels()) > kernels and time.monotonic() < end:
        time.sleep(0.5)
    context.close()
    return before / 1e6, opened / 1e6, server.memory() / 1e6


def ready_again(server: Server) -> None:
    """Wait until a kernel that is ready ahead is there, so that each run finds the same."""
    end = time.monotonic() + 30
    while server.is_ours and not server.kernels() and time.monotonic() < end:
        time.sleep(0.2)
    time.sleep(4.0 if server.is_ours else 0.5)


def measure(browser: Browser, folder: Path, runs: int, count: int) -> Figures:
    """Everything, one thing after the other, ours beside the naive way."""
    figures: Figures = {}

    def keep(what: str, way: str, value: float) -> None:
        figures.setdefault((what, way), []).append(value)
        print(f"  {what} · {way}: {value:,.2f}", flush=True)

    with serving(folder, is_ours=True) as server:
        for _ in range(runs):
            for scene in SCENES:
                for way in WAYS:
                    for what, value in play(browser, server, folder, scene, way).items():
                        keep(f"{scene} {what}", way, value)
    for way in WAYS:
        with serving(folder, is_ours=way == "ours") as server:
            for n in range(runs + 1):
                ready_again(server)
                took = first_button(browser, server, f"first-{way}")
                if n:  # the first page of a server fills its caches
                    keep("first s", way, took)
            ready_again(server)
            for what, value in zip(
                ("before", "open", "closed"),
                tabs(browser, server, f"first-{way}", count),
                strict=True,
            ):
                keep(f"tabs {what}", way, value)
    return figures


def spread(values: list[float], digits: int) -> str:
    """Median, with the least and the greatest where they differ."""
    middle = f"{statistics.median(values):,.{digits}f}"
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return middle if low == high else f"{middle} ({low}–{high})"


def table(figures: Figures, count: int) -> list[str]:
    """The figures as the lines of a Markdown table."""
    lines = ["| what | ours | naive | naive ÷ ours |", "|---|---:|---:|---:|"]
    labels = [
        (f"{scene} {what}", f"{words}, {how}; beside {NAIVE[scene]}", digits)
        for scene, (words, _) in SCENES.items()
        for what, how, digits in (
            ("built kB", "to show it: kB", 0),
            ("built CPU ms", "to show it: ms of CPU", 0),
            ("played kB", "kB a second", 1),
            ("played CPU ms", "ms of CPU a second", 1),
            ("played answer s", "the page answers again after, s", 2),
        )
    ]
    labels += [
        ("first s", "first button that can be pressed, s; beside stock Voilà", 2),
        ("tabs before", "server and kernels, MB; beside stock Voilà", 0),
        ("tabs open", f"… with {count} tabs open, MB", 0),
        ("tabs closed", "… after closing them, MB", 0),
    ]
    for key, label, digits in labels:
        ours, naive = (figures.get((key, way)) for way in WAYS)
        if ours and naive and not (key.startswith("log") and "built" in key):
            base = statistics.median(ours) if digits != 2 or "first" in key else 0
            ratio = f"{statistics.median(naive) / base:,.1f}" if base else "–"
            lines.append(
                f"| {label} | {spread(ours, digits)} | {spread(naive, digits)} | {ratio} |"
            )
    return lines


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run, three tabs")
    options = parser.parse_args()
    runs, count = (1, 3) if options.quick else (3, 10)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        for scene, (_, seconds) in SCENES.items():
            for way in WAYS:
                arguments = f"{scene!r}, {way!r}, {seconds}, {place!r}"
                notebook(folder, f"{scene}-{way}", f"scenes.stage({arguments})")
        for way in WAYS:
            notebook(folder, f"first-{way}", f"scenes.shown({way!r})")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        figures = measure(browser, folder, runs, count)
        browser.close()
    print("\n" + "\n".join(table(figures, count)))
    print(f"\n{runs} runs, {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
