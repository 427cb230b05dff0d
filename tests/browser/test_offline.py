"""Pages are whole without a network: what they load, what they may load, and who may load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page

from bkg_workbench import Host
from tests.browser.conftest import address_of
from tests.browser.lab import Notebook
from tests.browser.watching import Windows, is_foreign

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

OpenPage = Callable[..., Page]
OpenLab = Callable[..., Notebook]
SCRIPTS_AT_MOST = 40
"""A page without `all.js` asks for more than ninety."""


@pytest.mark.parametrize("page", ["", "plugins/repoagent", "plugins/nobody"])
def test_a_page_asks_only_its_own_server(
    open_page: OpenPage, windows: Windows, address: str, page: str
) -> None:
    tab = open_page(page, ready=".bkg-sorry" if "nobody" in page else ".bkg-badge")
    tab.wait_for_load_state("networkidle")
    home = urlsplit(address).netloc
    elsewhere = {u for u in windows.asked if not u.startswith(("data:", "blob:"))}
    assert {urlsplit(url).netloc for url in elsewhere} == {home}
    assert [e for e in windows.errors if "404" not in e] == []
    scripts = [u for u in windows.asked if urlsplit(u).path.endswith(".js")]
    assert len(scripts) <= SCRIPTS_AT_MOST, scripts


def test_a_page_in_jupyterlab_asks_only_its_own_server(
    open_lab: OpenLab, host: Host, windows: Windows
) -> None:
    notebook = open_lab("from bkg_workbench import attach, page\npage(attach)")
    notebook.run_all()
    notebook.output(0).locator(".bkg-badge").first.wait_for()
    assert [url for url in windows.asked if is_foreign(url)] == []
    assert len(windows.asked) > 10


def test_even_a_page_that_wanted_to_could_load_nothing_else(
    open_page: OpenPage, windows: Windows
) -> None:
    page = open_page()
    refused = page.evaluate(
        """async () => {
          const seen = [];
          const note = (event) => seen.push(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", note);
          const image = new Image();
          const loaded = new Promise((done) => { image.onload = image.onerror = done; });
          image.src = "https://example.org/x.png";
          await loaded;
          await fetch("https://example.org/").catch(() => null);
          const script = document.createElement("script");
          const ran = new Promise((done) => { script.onload = script.onerror = done; });
          script.src = "https://example.org/x.js";
          document.head.append(script);
          await ran;
          return seen;
        }"""
    )
    assert set(refused) >= {"img-src", "connect-src", "script-src-elem"}
    windows.asked.clear()  # these it was told to ask for


def test_scripts_are_kept_by_the_browser_and_the_page_is_not(
    context: BrowserContext, address: str
) -> None:
    page = context.new_page()
    kept: dict[str, str] = {}
    page.on(
        "response",
        lambda answer: kept.update(
            {urlsplit(answer.url).path.rsplit("/", 1)[-1]: answer.headers.get("cache-control", "")}
        ),
    )
    page.goto(address_of(address, "plugins"), wait_until="commit")
    page.wait_for_selector(".bkg-badge")
    assert kept["plugins"] == "no-store"
    for name in ("all.js", "voila.js"):
        assert "immutable" in kept[name]


def test_plotly_comes_from_its_package_and_only_with_the_token(
    windows: Windows, address: str
) -> None:
    base = f"http://{urlsplit(address).netloc}"
    context = windows.new()
    stranger = context.request.get(f"{base}/static-bkg/plotly.min.js", max_redirects=0)
    assert stranger.status in (302, 403)
    context.request.get(address)
    answer = context.request.get(f"{base}/static-bkg/plotly.min.js")
    assert answer.ok
    assert "plotly.js" in answer.text()[:200]
    assert "max-age" in answer.headers["cache-control"]
    same = context.request.get(
        f"{base}/static-bkg/plotly.min.js", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert same.status == 304


@pytest.mark.parametrize("path", ["nobody", "plugin.ipynb", "voila/tree", "plugins/a/b", "../x"])
def test_an_address_without_a_page_says_what_there_is(
    windows: Windows, address: str, path: str
) -> None:
    context = windows.new()
    page = context.new_page()
    answer = page.goto(address_of(address, path))
    assert answer is not None
    assert answer.status == 404
    assert page.locator("h1").inner_text() == "No such page"
    page.locator("a.bkg-action").click()
    page.wait_for_selector(".bkg-badge")


def test_a_wrong_token_is_told_and_the_right_one_opens(windows: Windows, address: str) -> None:
    token = address.rpartition("token=")[2]
    page = windows.new().new_page()
    page.goto(address.replace(token, "wrong"))
    page.wait_for_selector("h1")
    assert "needs its token" in page.locator("h1").inner_text()
    page.get_by_label("Token").fill("wrong again")
    page.get_by_role("button", name="Open").click()
    page.wait_for_selector(".bkg-wrong")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()
    page.wait_for_selector(".bkg-badge")
    assert "token" not in page.url


def test_an_unknown_plugin_is_said_and_leads_to_those_that_there_are(open_page: OpenPage) -> None:
    page = open_page("plugins/nobody", ready=".bkg-sorry")
    assert "nobody" in page.locator(".bkg-sorry").inner_text()
    page.locator(".bkg-sorry").get_by_text("demo", exact=True).click()
    page.wait_for_selector(".bkg-badge")
    assert urlsplit(page.url).path == "/plugins/demo"


def test_a_plugins_page_keeps_its_address_and_has_its_name_as_title(open_page: OpenPage) -> None:
    page = open_page("plugins/demo?tab=log")
    parts = urlsplit(page.url)
    assert (parts.path, parts.query) == ("/plugins/demo", "tab=log")
    assert page.title() == "demo · BKG Workbench"


def test_a_theme_is_followed_chosen_and_remembered(windows: Windows, address: str) -> None:
    context = windows.new(color_scheme="dark")
    page = context.new_page()

    def is_dark() -> bool:
        return bool(page.evaluate("document.body.dataset.jpThemeLight === 'false'"))

    page.goto(address_of(address, "nobody"))
    assert is_dark(), "as the browser prefers"
    page.locator("#bkg-theme").click()
    assert not is_dark()
    page.goto(address_of(address, "plugins"), wait_until="commit")
    page.wait_for_selector(".bkg-badge")
    assert not is_dark(), "as chosen before"
    page.locator("#bkg-theme").click()
    assert is_dark(), "at once, with the panels that are there"
    page.goto(address_of(address, "nobody?theme=light"))
    assert not is_dark(), "as the address says"


def test_a_dashboard_of_ones_own_has_its_name_as_address(
    open_page: OpenPage, workspace: Path
) -> None:
    own = workspace / "dashboards" / "night.ipynb"
    text = (workspace / "dashboards" / "plugins.ipynb").read_text()
    own.write_text(text.replace("page(attach)", "page(attach, plugin=query('which'))").replace(
        "attach, page", "attach, page, query"))  # fmt: skip
    page = open_page("night?which=demo")
    assert urlsplit(page.url).path == "/night"
    assert page.get_by_text("demo").count()
