"""A browser, a site with small parts (so that files of many parts are small), and a page object that drops files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings as live_settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.uploader_page import UploaderPage
from tests.conftest import serving, signed_in
from tests.support import chromium, csp_reports, file_rows
from tests.support.stores import Address
from uploads.models import State

NAMES = [f"note {n}.txt" for n in range(6)]
SMALLEST_PART = {"UPLOAD_PART_BYTES": str(5 * 1024**2)}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    assert path, chromium.ADVICE
    # Playwright keeps an event loop in this thread, but no Django code runs inside it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    live_settings.SILENCED_SYSTEM_CHECKS = ["async.E001"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def no_policy_violations() -> Iterator[None]:
    """No page of any test site reported a policy violation."""
    yield
    assert csp_reports.begin().take() == []


@contextmanager
def watched(context: BrowserContext) -> Iterator[BrowserContext]:
    """Fail on script errors and policy violations in any page of the context, and close it."""
    faults: list[str] = []
    context.on("page", lambda page: page.on("pageerror", lambda error: faults.append(str(error))))
    context.on(
        "console",
        lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield context
    errors = list(faults)  # modules that are still loading when the context closes are not errors
    context.close()
    assert not errors


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page without a session."""
    with watched(browser.new_context()) as context:
        yield context.new_page()


@pytest.fixture
def sign_in(page: Page) -> Callable[[User, str], Page]:
    """Return a function that adds the session of a user to the page: `sign_in(alice, site)`."""

    def sign_in(user: User, site: str) -> Page:
        name = live_settings.SESSION_COOKIE_NAME
        value = signed_in(user).cookies[name].value
        page.context.add_cookies([{"name": name, "value": value, "url": site, "httpOnly": True}])
        return page

    return sign_in


@pytest.fixture(scope="session")
def small_parts_site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("small-parts"), SMALLEST_PART) as url:
        yield url


@pytest.fixture(scope="session")
def small_parts_digest_site(
    django_db_setup: None, digest_store: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    variables = {**digest_store.variables(), **SMALLEST_PART}
    with serving(tmp_path_factory.mktemp("small-parts-digests"), variables) as url:
        yield url


@pytest.fixture
def uploader(
    transactional_db: None,
    bucket: object,
    small_parts_site: str,
    alice: User,
    sign_in: Callable[[User, str], Page],
    tmp_path: Path,
) -> UploaderPage:
    """Alice on her library, with a local folder."""
    page = sign_in(alice, small_parts_site)
    page.goto(small_parts_site)
    return UploaderPage(page, tmp_path, small_parts_site)


@pytest.fixture
def listed(uploader: UploaderPage, alice: User) -> Page:
    """Alice's library with six files, sorted by name."""
    for name in NAMES:
        file_rows.create_row(alice, State.AVAILABLE, name=name)
    uploader.page.goto(f"{uploader.site}/?sort=name")
    return uploader.page
