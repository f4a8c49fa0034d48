"""Files that other apps share with Amalga, through the service worker of a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.conftest import signed_in
from tests.support import file_rows
from tests.support.stores import Bucket
from uploads.models import File, Folder, State

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
HOUR_MS = 3_600_000
SHARE = """files => {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: "/share-target/", enctype: "multipart/form-data"});
  const field = Object.assign(document.createElement("input"), {type: "file", name: "files", multiple: true});
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([text], name, {lastModified: 7e11}));
  field.files = transfer.files;
  form.append(field);
  document.body.append(form);
  form.submit();
}"""


def wait_for_worker(page: Page) -> None:
    state = "navigator.serviceWorker.getRegistration('/share-target/').then((it) => it?.active?.state)"
    end = time.monotonic() + WAIT_MS / 1000
    while page.evaluate(state) != "activated":
        assert time.monotonic() < end, "the service worker was not registered"
        page.wait_for_timeout(50)


def share(page: Page, *files: tuple[str, str]) -> None:
    """Send files as the browser does for another app: by a form, as a navigation."""
    with page.expect_navigation():
        page.evaluate(SHARE, files)
    page.wait_for_load_state()


def kept(page: Page) -> list[str]:
    """Return the names of the files that are kept on the device."""
    names: list[str] = page.evaluate(
        """async () => {
          const keys = (await caches.has("shared-files")) ? await (await caches.open("shared-files")).keys() : [];
          return keys.map(({url}) => new URL(url).searchParams.get("name")).filter(Boolean);
        }"""
    )
    return names


def wait_until_nothing_is_kept(page: Page) -> None:
    end = time.monotonic() + WAIT_MS / 1000
    while kept(page):
        assert time.monotonic() < end
        page.wait_for_timeout(50)


def become(page: Page, user: User, site: str) -> None:
    """Replace the session, as when a person's session has ended and another signs in."""
    name = settings.SESSION_COOKIE_NAME
    page.context.clear_cookies()
    page.context.add_cookies([{"name": name, "value": signed_in(user).cookies[name].value, "url": site}])


def stored(bucket: Bucket) -> dict[str, bytes]:
    return {file_rows.path_of(file): bucket.read(file.key) for file in File.objects.filter(state=State.AVAILABLE)}


@pytest.fixture
def shared(uploader: UploaderPage) -> UploaderPage:
    """Alice on her library, where the worker is registered."""
    wait_for_worker(uploader.page)
    return uploader


def test_shared_files_are_offered_and_stored(shared: UploaderPage, bucket: Bucket) -> None:
    page = shared.page
    share(page, ("photo één.txt", "first"), ("large.txt", "x" * 6_000_000))
    panel = page.locator("#shared-files")
    expect(panel.get_by_role("heading")).to_have_text("2 shared files")
    expect(panel).to_contain_text("photo één.txt, large.txt")
    expect(panel).to_contain_text("Folder: Library (top level).")
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    assert page.url == f"{shared.site}/"
    panel.get_by_role("button", name="Upload").click()
    shared.expect_receipt("2 of 2 stored, size verified")
    expect(panel).to_be_hidden()
    assert stored(bucket) == {"photo één.txt": b"first", "large.txt": b"x" * 6_000_000}
    assert kept(page) == []


def test_shared_files_go_to_the_folder_that_people_open(shared: UploaderPage, bucket: Bucket, alice: User) -> None:
    Folder.objects.create(name="Brand", created_by=alice)
    page = shared.page
    share(page, ("a.txt", "hello"))
    page.get_by_role("link", name="Brand", exact=True).click()
    panel = page.locator("#shared-files")
    expect(panel).to_contain_text("Folder: Brand.")
    panel.get_by_role("button", name="Upload").click()
    shared.expect_receipt("1 of 1 stored, size verified")
    assert stored(bucket) == {"Brand/a.txt": b"hello"}


def test_discarded_files_are_removed_and_not_uploaded(shared: UploaderPage) -> None:
    share(shared.page, ("a.txt", "hello"))
    shared.page.locator("#shared-files").get_by_role("button", name="Discard").click()
    wait_until_nothing_is_kept(shared.page)
    expect(shared.tray).to_be_hidden()
    assert not File.objects.exists()


def test_person_who_signs_in_after_sharing_gets_the_files(shared: UploaderPage, bucket: Bucket, alice: User) -> None:
    alice.set_password(PASSWORD)
    alice.save()
    page = shared.page
    page.get_by_text("alice").first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    share(page, ("a.txt", "hello"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.locator("#id_username").fill("alice")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_password").press("Enter")
    page.locator("#shared-files").get_by_role("button", name="Upload").click()
    shared.expect_receipt("1 of 1 stored, size verified")
    assert stored(bucket) == {"a.txt": b"hello"}


def test_files_that_are_not_collected_expire(shared: UploaderPage) -> None:
    page = shared.page
    page.evaluate(
        """async (age) => {
          const store = await caches.open("shared-files");
          await store.put(`/share-target/files/${Date.now() - age}/0?name=old.txt`, new Response("old"));
        }""",
        25 * HOUR_MS,
    )
    page.reload()
    wait_until_nothing_is_kept(page)
    expect(page.locator("#shared-files")).to_be_hidden()


def test_worker_removes_expired_files_of_signed_out_people(shared: UploaderPage) -> None:
    page = shared.page
    page.context.clear_cookies()
    page.goto(f"{shared.site}/accounts/login/")
    for age in (25 * HOUR_MS, HOUR_MS):
        page.evaluate(
            """async (age) => (await caches.open("shared-files")).put(
              `/share-target/files/${Date.now() - age}/0?name=${age}`, new Response("x"))""",
            age,
        )
    share(page, ("new.txt", "new"))
    assert kept(page) == [str(HOUR_MS), "new.txt"]


def test_files_of_a_person_who_cannot_upload_are_removed(shared: UploaderPage, viewer: User) -> None:
    page = shared.page
    become(page, viewer, shared.site)
    share(page, ("a.txt", "hello"))
    expect(page.locator(".message.warning")).to_have_text(
        "You don't have permission to upload, so the shared files were removed."
    )
    wait_until_nothing_is_kept(page)
    assert page.url == f"{shared.site}/"


def test_another_person_does_not_get_the_files(shared: UploaderPage, bob: User) -> None:
    page = shared.page
    share(page, ("secret.txt", "hello"))
    expect(page.locator("#shared-files")).to_contain_text("secret.txt")
    become(page, bob, shared.site)
    page.goto(shared.site)
    panel = page.locator("#shared-files")
    expect(panel).to_contain_text("because another person was signed in before")
    expect(panel).not_to_contain_text("secret.txt")
    expect(panel.get_by_role("button")).to_have_text(["Close"])
    assert kept(page) == []
    share(page, ("own.txt", "hello"))
    expect(panel).to_contain_text("own.txt")


def test_person_after_an_ended_session_does_not_get_the_files(shared: UploaderPage, bob: User) -> None:
    page = shared.page
    share(page, ("secret.txt", "hello"))
    expect(page.locator("#shared-files")).to_contain_text("secret.txt")
    page.context.clear_cookies()
    page.goto(f"{shared.site}/accounts/login/")
    share(page, ("another.txt", "hello"))
    become(page, bob, shared.site)
    page.goto(shared.site)
    expect(page.locator("#shared-files")).to_contain_text("because another person was signed in before")
    assert kept(page) == []


def test_signing_out_removes_the_files(shared: UploaderPage) -> None:
    page = shared.page
    share(page, ("a.txt", "hello"))
    expect(page.locator("#shared-files")).to_be_visible()
    page.get_by_text("alice").first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    wait_until_nothing_is_kept(page)


def test_share_without_file_says_so(shared: UploaderPage) -> None:
    share(shared.page)
    expect(shared.page.locator("main .message")).to_contain_text("The other app shared no file")
    expect(shared.page.locator("#shared-files")).to_be_hidden()


def test_share_without_worker_says_what_to_do(page: Page, site: str, transactional_db: None) -> None:
    page.goto(f"{site}/accounts/login/")
    share(page, ("a.txt", "x" * 6_000_000))
    expect(page.get_by_role("heading", level=1)).to_have_text("Open Amalga once, then share again")
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []


@pytest.mark.parametrize("name", ["viewer", "anonymous"])
def test_worker_is_only_registered_for_people_who_can_upload(
    name: str, page: Page, site: str, sign_in: Callable[[User, str], Page], viewer: User, transactional_db: None
) -> None:
    if name == "viewer":
        sign_in(viewer, site)
    page.goto(site, wait_until="networkidle")
    registrations: list[Any] = page.evaluate("navigator.serviceWorker.getRegistrations()")
    assert registrations == []


def test_pages_do_not_wait_for_the_worker(shared: UploaderPage) -> None:
    """Its scope has only the address that other apps send files to."""
    page = shared.page
    page.reload()
    assert page.evaluate("navigator.serviceWorker.controller") is None
    registrations = "navigator.serviceWorker.getRegistrations().then((all) => all.map(({scope}) => scope))"
    assert page.evaluate(registrations) == [f"{shared.site}/share-target/"]
