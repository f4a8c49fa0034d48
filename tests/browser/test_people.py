"""People, invitations and teams in a browser, and the number of steps from installation to a second person."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import watched
from tests.browser.test_accounts import PASSWORD, check_page
from tests.support import factories
from uploads.accounts.invitations import invite
from uploads.accounts.password_reset import create_reset
from uploads.accounts.roles import Role
from uploads.models import File

pytestmark = pytest.mark.slow

NEW_PASSWORD = "a long way to the sea"


class Counter:
    """Counts interactions: clicks, and files that are chosen. Typing counts with the click that submits it."""

    def __init__(self) -> None:
        self.count = 0

    def click(self, page: Page, role: Any, name: str) -> None:
        page.get_by_role(role, name=name, exact=True).click()
        self.count += 1

    def choose(self, page: Page, path: Path) -> None:
        """Press the upload button and choose a file in the dialog that it opens."""
        page.locator("input[type=file]").first.set_input_files(path)
        self.count += 1


def test_first_colleague_uploads_after_few_interactions(
    browser: Browser, transactional_db: None, bucket: object, admin_user: User, small_parts_site: str, tmp_path: Path
) -> None:
    """At most 4 interactions of the administrator, and 3 of the colleague."""
    administrator, colleague = Counter(), Counter()
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    with watched(context):
        page = context.new_page()
        page.goto(f"{small_parts_site}/")
        page.get_by_label("Username").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        administrator.click(page, "button", "Sign in")
        administrator.click(page, "link", "People")
        administrator.click(page, "button", "Invite")
        administrator.click(page, "button", "Copy")
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        link = page.evaluate("navigator.clipboard.readText()")
    with watched(browser.new_context()) as context:
        page = context.new_page()
        page.goto(link)
        colleague.count += 1
        page.get_by_label("Username").fill("carol")
        page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
        page.get_by_label("Password confirmation").fill(NEW_PASSWORD)
        colleague.click(page, "button", "Create account")
        expect(page).to_have_url(f"{small_parts_site}/")
        path = tmp_path / "first.txt"
        path.write_text("hello")
        colleague.choose(page, path)
        expect(page.get_by_role("heading", name="1 file uploaded")).to_be_visible(timeout=30_000)
    assert File.objects.get().owner.username == "carol"
    assert (administrator.count, colleague.count) == (4, 3)


@pytest.mark.parametrize("scripts", [True, False])
def test_password_is_chosen_by_link(
    scripts: bool, browser: Browser, transactional_db: None, alice: User, admin_user: User, small_parts_site: str
) -> None:
    """Also tests that the form works under the referrer policy of these pages."""
    _reset, token = create_reset(alice, by=admin_user)
    with watched(browser.new_context(java_script_enabled=scripts)) as context:
        page = context.new_page()
        page.goto(f"{small_parts_site}/accounts/reset/{token}/")
        for field in page.locator("input[type=password]").all():
            field.fill(NEW_PASSWORD)
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("Your password has been changed")).to_be_visible()
    alice.refresh_from_db()
    assert alice.check_password(NEW_PASSWORD)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_phone(
    scheme: Literal["light", "dark"], browser: Browser, transactional_db: None, admin_user: User, small_parts_site: str
) -> None:
    team = Group.objects.create(name="Communications and press relations")
    user = factories.create_user("a" * 120, "viewers", email="someone.with.a.long.address@department.example.org")
    gone = factories.create_user("gone", is_active=False)
    user.groups.add(team)
    factories.create_file(gone)
    for email in ("", "carol@example.org"):
        _invitation, token = invite(by=admin_user, role=Role.VIEWER, email=email, teams=[team])
    paths = [
        "/people/", f"/people/{user.pk}/", f"/people/{gone.pk}/", f"/people/{user.pk}/deactivate",
        f"/people/{gone.pk}/hand-over", "/people/teams/", f"/people/teams/{team.pk}/",
        f"/people/teams/{team.pk}/delete", "/people/invitations/",
    ]  # fmt: skip
    violations: dict[str, Any] = {}
    with watched(browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 720})) as context:
        page = context.new_page()
        for path in (f"/invitations/{token}/", f"/accounts/reset/{create_reset(user, by=admin_user)[1]}/"):
            page.goto(small_parts_site + path)
            check_page(page, violations)
        page.goto(f"{small_parts_site}/")
        page.get_by_label("Username").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        for path in paths:
            page.goto(small_parts_site + path)
            check_page(page, violations)
        page.goto(f"{small_parts_site}/people/")
        page.get_by_role("button", name="Invite", exact=True).click()
        expect(page.get_by_role("heading", name="Invitation created")).to_be_visible()
        check_page(page, violations)
    assert violations == {}
