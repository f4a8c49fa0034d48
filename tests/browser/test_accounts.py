"""Two-factor sign-in in a browser: with and without scripts, in light and dark, on a phone."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import watched
from tests.support.authenticator import code

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
PAGES = [
    "/accounts/login/", "/accounts/security/", "/accounts/password/", "/accounts/factor/add/",
]  # fmt: skip
GUARDED = [
    "/accounts/security/",
    "/accounts/recovery-codes/",
    "/accounts/recovery-codes/new/",
    "/accounts/factor/remove/",
]


def sign_in(page: Page, site: str, name: str = "alice") -> None:
    page.goto(f"{site}/accounts/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def set_up(page: Page, site: str) -> str:
    """Set up two-factor authentication with the key below the QR code, and return the key."""
    page.goto(f"{site}/accounts/factor/add/")
    key = page.locator("code.secret-key").inner_text()
    page.get_by_label("Authenticator code").fill(code(key, periods_later=-1))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    return key


def serious_violations(page: Page) -> list[Any]:
    return [item for item in Axe().run(page).response["violations"] if item["impact"] in {"serious", "critical"}]


def wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize("scripts", [True, False])
def test_authenticator_app_is_set_up_and_used_at_next_sign_in(
    scripts: bool, browser: Browser, transactional_db: None, alice: User, small_parts_site: str
) -> None:
    with watched(browser.new_context(java_script_enabled=scripts)) as context:
        page = context.new_page()
        sign_in(page, small_parts_site)
        page.goto(f"{small_parts_site}/accounts/factor/add/")
        # the policy allows the image, and it decodes
        assert page.locator("img.qr").evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
        key = set_up(page, small_parts_site)
        expect(page.locator(".recovery-codes li")).to_have_count(10)
        page.goto(f"{small_parts_site}/accounts/security/")
        expect(page.get_by_text("10 recovery codes left")).to_be_visible()
        context.clear_cookies()
        sign_in(page, small_parts_site)
        expect(page.get_by_role("heading", name="Two-factor authentication")).to_be_visible()
        page.get_by_label("Code").fill(code(key))
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page).to_have_url(f"{small_parts_site}/")


def test_too_many_sign_in_attempts_say_when_to_try_again(
    page: Page, transactional_db: None, alice: User, small_parts_site: str
) -> None:
    for _ in range(6):
        page.goto(f"{small_parts_site}/accounts/login/")
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many attempts. Try again in")
    expect(page.get_by_label("Username")).to_have_value("alice")
    assert serious_violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_account_pages_are_accessible(
    scheme: Literal["light", "dark"], browser: Browser, transactional_db: None, alice: User, small_parts_site: str
) -> None:
    violations: dict[str, Any] = {}
    narrow = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 720})
    with watched(narrow) as context:
        page = context.new_page()
        page.goto(f"{small_parts_site}/accounts/login/")
        check_page(page, violations)
        sign_in(page, small_parts_site)
        for path in PAGES[1:]:
            page.goto(small_parts_site + path)
            check_page(page, violations)
        set_up(page, small_parts_site)
        for path in GUARDED:
            page.goto(small_parts_site + path)
            check_page(page, violations)
        context.clear_cookies()
        sign_in(page, small_parts_site)
        expect(page.get_by_role("heading", name="Two-factor authentication")).to_be_visible()
        check_page(page, violations)
    assert violations == {}


def check_page(page: Page, violations: dict[str, Any]) -> None:
    if wrong := serious_violations(page):
        violations[page.url] = wrong
    if wider_than_the_screen(page):
        violations[f"{page.url} is too wide"] = True
