"""Passkeys in a browser with a virtual authenticator: adding, signing in, failing, removing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import watched
from tests.browser.test_accounts import check_page, sign_in

pytestmark = pytest.mark.slow


class Device:
    """Chromium's virtual authenticator (CDP, domain WebAuthn)."""

    def __init__(self, page: Page, **options: Any) -> None:
        self.session = page.context.new_cdp_session(page)
        self.session.send("WebAuthn.enable")
        defaults = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        result = self.session.send("WebAuthn.addVirtualAuthenticator", {"options": {**defaults, **options}})
        self.id = result["authenticatorId"]

    def credentials(self) -> list[Any]:
        credentials: list[Any] = self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})[
            "credentials"
        ]
        return credentials

    def refuse(self) -> None:
        """Fail user verification, as without a touch or with the wrong finger."""
        self.session.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": False})


@pytest.fixture
def site(small_parts_site: str) -> str:
    """The site at localhost, because browsers support no passkeys at IP addresses."""
    return small_parts_site.replace("127.0.0.1", "localhost")


@pytest.fixture
def page(browser: Browser, transactional_db: None, alice: User) -> Iterator[Page]:
    with watched(browser.new_context()) as context:
        yield context.new_page()


def add_passkey(page: Page, site: str, name: str = "Laptop") -> None:
    page.goto(f"{site}/accounts/security/")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add passkey").click()


def test_passkey_is_added_and_signs_in(page: Page, site: str) -> None:
    device = Device(page)
    sign_in(page, site)
    add_passkey(page, site)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert [credential["isResidentCredential"] for credential in device.credentials()] == [True]
    page.context.clear_cookies()
    page.goto(f"{site}/accounts/login/?next=/tags/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page).to_have_url(f"{site}/tags/")
    page.goto(f"{site}/accounts/security/")
    expect(page.locator(".passkeys")).to_contain_text("Laptop")
    page.get_by_role("link", name="Remove passkey “Laptop”").click()
    page.get_by_role("link", name="Use a passkey instead").click()  # instead of the password
    page.get_by_role("button", name="Use your passkey").click()
    page.get_by_role("button", name="Remove passkey").click()
    expect(page.locator(".passkeys")).to_have_count(0)
    page.context.clear_cookies()
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator(".message.error").filter(visible=True)).to_be_visible()


def test_passkey_is_the_second_factor(page: Page, site: str) -> None:
    Device(page)
    sign_in(page, site)
    add_passkey(page, site)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.context.clear_cookies()
    sign_in(page, site)
    page.get_by_role("button", name="Use your passkey").click()
    expect(page).to_have_url(f"{site}/")


def test_refused_passkey_leaves_the_page_usable(page: Page, site: str) -> None:
    device = Device(page)
    sign_in(page, site)
    add_passkey(page, site)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    code = page.locator(".recovery-codes li").first.inner_text()
    device.refuse()
    page.context.clear_cookies()
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("The passkey wasn't used.")).to_be_visible()
    expect(page.get_by_role("button", name="Use a passkey")).to_be_enabled()
    sign_in(page, site)
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(f"{site}/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_passkeys_are_accessible(
    scheme: Literal["light", "dark"], browser: Browser, transactional_db: None, alice: User, site: str
) -> None:
    violations: dict[str, Any] = {}
    narrow = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 720})
    with watched(narrow) as context:
        page = context.new_page()
        Device(page)
        page.goto(f"{site}/accounts/login/")
        check_page(page, violations)
        sign_in(page, site)
        page.goto(f"{site}/accounts/passkeys/add/")
        check_page(page, violations)
        add_passkey(page, site, name="The long name of a laptop that belongs to the company")
        expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()  # the passkey was added
        page.goto(f"{site}/accounts/security/")
        check_page(page, violations)
        page.get_by_role("link", name="Remove passkey").click()
        check_page(page, violations)
        page.goto(f"{site}/accounts/passkeys/confirm/")
        check_page(page, violations)
        context.clear_cookies()
        sign_in(page, site)
        expect(page.get_by_role("button", name="Use your passkey")).to_be_visible()
        check_page(page, violations)
    assert violations == {}


def test_passkey_buttons_are_hidden_without_scripts(
    browser: Browser, transactional_db: None, alice: User, site: str
) -> None:
    with watched(browser.new_context(java_script_enabled=False)) as context:
        page = context.new_page()
        page.goto(f"{site}/accounts/login/")
        expect(page.get_by_role("button", name="Use a passkey")).to_have_count(0)
        sign_in(page, site)
        page.goto(f"{site}/accounts/passkeys/add/")
        expect(page.get_by_text("Passkeys need a current browser")).to_be_visible()
        expect(page.get_by_role("button", name="Add passkey")).to_have_count(0)
