"""Single sign-on with a certified OpenID provider, through its pages, in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from amalga.local.processes import free_port
from tests.conftest import serving
from tests.support import oidc_server
from uploads.accounts.roles import Role, role_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site that creates accounts and maps groups from this provider."""
    issuer = f"http://127.0.0.1:{free_port()}"
    variables = {
        "OIDC_ISSUER": issuer, "OIDC_CLIENT_ID": oidc_server.CLIENT, "OIDC_CLIENT_SECRET": oidc_server.SECRET,
        "OIDC_NAME": "Example", "OIDC_DOMAINS": "example.org", "OIDC_CREATE_ACCOUNTS": "on",
        "OIDC_ROLE_MAP": "/team=uploader,/team/mona=manager", "SSO_ONLY": "on",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("sso")
    with (
        serving(folder, variables) as site,
        oidc_server.serving(folder, issuer, redirect_uri=f"{site}/accounts/sso/back/"),
    ):
        yield site


def sign_in_at_provider(page: Page, name: str) -> None:
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()  # consent


def test_new_person_gets_an_account_with_the_role_of_their_groups(
    page: Page, transactional_db: None, roles: None, site: str
) -> None:
    page.goto(f"{site}/accounts/login/?next=/tags/")
    expect(page.get_by_label("Password")).to_have_count(0)
    page.get_by_role("link", name="Sign in with Example").click()
    sign_in_at_provider(page, "mona")
    expect(page).to_have_url(f"{site}/tags/")
    user = User.objects.get()
    assert (user.get_username(), user.email, role_of(user)) == ("mona", "mona@example.org", Role.MANAGER)


def test_account_is_matched_by_address_then_by_subject(
    page: Page, transactional_db: None, alice: User, site: str
) -> None:
    User.objects.update(email="alice@example.org")
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("link", name="Sign in with Example").click()
    sign_in_at_provider(page, "alice")
    expect(page).to_have_url(f"{site}/")
    assert SocialAccount.objects.get().user == alice
    User.objects.update(email="")
    page.context.clear_cookies(domain="localhost")
    page.goto(f"{site}/accounts/sso/")  # still signed in at the provider
    expect(page).to_have_url(f"{site}/")
    assert User.objects.count() == 1


def test_sign_in_canceled_at_the_provider_shows_an_error(
    page: Page, transactional_db: None, roles: None, site: str
) -> None:
    page.goto(f"{site}/accounts/sso/")
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("Single sign-on failed.")).to_be_visible()
    assert not User.objects.exists()
