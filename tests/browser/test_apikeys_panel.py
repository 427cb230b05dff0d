"""The panel of apikeys in a real browser: first start, a key's life, users, the trail."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from bkg_workbench import Host
from bkg_workbench.errors import Unauthenticated

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared_host,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

PASSWORD = "correct horse battery"


@pytest.fixture
def page(host: Host, open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> Page:
    """The panel, apikeys up; its first start is done on the page."""
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    tab = open_page("plugins/apikeys", ready=".ak")
    if host.state.plugins["apikeys"].state == "stopped":
        begin = tab.get_by_role("button", name="Begin with this password")
        expect(begin).to_be_disabled()
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_label("The same again").fill(PASSWORD)
        begin.click()
    tab.wait_for_selector("[data-part=keys]")
    return tab


def test_a_key_is_made_shown_once_rotated_and_revoked(page: Page, host: Host) -> None:
    page.locator("[data-verb=new-key]").click()
    page.get_by_label("Label").fill("dashboard")
    create = page.get_by_role("button", name="Create key")
    expect(create).to_be_disabled()
    page.get_by_label("Add a scope").fill("repo.*")
    create.click()
    secret = page.locator("output[data-secret]")
    token = secret.inner_text()
    assert re.fullmatch(r"bkg_[0-9a-f]{12}_[\w-]{43}", token)
    assert host.call("auth.validate", {"token": token})["scopes"] == ["repo.*"]
    page.locator("[data-verb=kept]").click()
    expect(secret).to_have_count(0)
    assert token not in page.content()
    row = page.locator(f'[data-key="{token.split("_")[1]}"]')
    expect(row).to_contain_text("dashboard")
    row.locator("[data-verb=rotate]").click()
    row.get_by_role("button", name="ends now").click()
    again = secret.inner_text()
    with pytest.raises(Unauthenticated):
        host.call("auth.validate", {"token": token})
    revoke = row.locator("[data-verb=revoke]")
    revoke.click()
    expect(revoke).to_have_text("Revoke?")
    assert host.call("auth.validate", {"token": again})["user"] == "admin", "it only asked"
    revoke.click()
    expect(row).to_have_count(0)
    with pytest.raises(Unauthenticated):
        host.call("auth.validate", {"token": again})


def test_a_user_is_made_and_the_trail_is_whole(page: Page, host: Host) -> None:
    page.locator("[data-part=users]").click()
    page.locator("[data-verb=new-user]").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Add a scope").fill("repo.*")
    page.get_by_role("button", name="Create user").click()
    row = page.locator('[data-user="ada"]')
    expect(row).to_contain_text("repo.*")
    assert host.call("auth.login", {"username": "ada", "password": PASSWORD})["user"] == "ada"
    row.get_by_role("button", name="Delete ada").click()
    row.locator("[data-verb=delete]").click()
    expect(row).to_have_count(0)
    page.locator("[data-part=audit]").click()
    page.locator("[data-verb=verify]").click()
    expect(page.locator(".ak-verdict")).to_contain_text("whole")
    expect(page.locator("[data-seq]").first).to_contain_text("users.delete")
