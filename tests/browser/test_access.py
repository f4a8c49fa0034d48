"""Accessibility: no page has Axe violations in light and dark, on desktop and phone, or overflows a phone."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page

from tests.browser.uploader_page import UploaderPage
from tests.conftest import signed_in
from tests.support import factories, file_rows
from tests.support.admin_routes import ADMIN
from tests.support.guest_routes import GUEST_ROUTES
from tests.support.guests import create_request
from tests.support.share_routes import SHARED
from tests.support.stores import Bucket
from tests.views import test_routes as tables
from uploads.models import File, Finding, Folder, Report, ShareLink, State, Tag, Tagging, create_link
from uploads.services import folders

pytestmark = pytest.mark.slow

SERIOUS = {"serious", "critical"}


@pytest.fixture
def addresses(uploader: UploaderPage, alice: User) -> list[str]:
    """The addresses of every kind of page, with content."""
    folders_by_path = folders.ensure(["Brand/Logos", "Empty"], by=alice)
    brand, empty = folders_by_path["Brand/Logos"], folders_by_path["Empty"]
    assert isinstance(brand, Folder)
    assert isinstance(empty, Folder)
    file = file_rows.create_row(alice, State.AVAILABLE, name="logo.png", folder=brand)
    Tagging.objects.create(tag=Tag.objects.create(name="spring"), file=file)
    file_rows.create_row(alice, State.AVAILABLE, name="loose.txt", visibility="private")
    file_rows.create_row(alice, State.TRASHED)
    file_rows.create_row(alice, State.UPLOADING)
    inside, alone = brand.get_absolute_url(), file.get_absolute_url()
    return [
        "/", "/?subfolders=1&view=grid", "/?q=logo", "/?q=zzz&type=x", inside, empty.get_absolute_url(),
        f"{inside}move", f"{inside}remove", alone, f"{alone}replace", "/tags/", "/trash/", "/unfinished/", "/upload/",
        "/nowhere",
    ]  # fmt: skip


def serious_violations(page: Page) -> list[str]:
    violations: Any = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in violations
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_serious_axe_violations(
    scheme: Literal["light", "dark"], width: int, uploader: UploaderPage, addresses: list[str]
) -> None:
    page = uploader.page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    violations = {}
    for address in addresses:
        page.goto(uploader.site + address)
        violations[address] = serious_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    assert {address: serious for address, serious in violations.items() if serious} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_page_has_no_serious_axe_violations(
    scheme: Literal["light", "dark"], uploader: UploaderPage, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    summary = {
        "rows": {"count": 2, "bytes": 5, "sha256": "a" * 64},
        "findings": {"missing": 1},
        "skipped": {"young": 3},
    }
    report = Report.objects.create(command="fsck", outcome="differences", summary=summary)
    report.findings.create(kind="missing", key="f/" + "0" * 32, detail={"row": {"size": 5}})
    uploader.page.emulate_media(color_scheme=scheme)
    for width in (1280, 360):
        uploader.page.set_viewport_size({"width": width, "height": 800})
        uploader.page.goto(f"{uploader.site}/admin/uploads/report/{report.pk}/change/")
        assert serious_violations(uploader.page) == []
        assert uploader.page.evaluate("document.documentElement.scrollWidth") <= width


def test_opened_elements_have_no_serious_axe_violations(uploader: UploaderPage, addresses: list[str]) -> None:
    page = uploader.page
    page.locator("summary", has_text="New folder").click()
    assert serious_violations(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{uploader.site}/")
    page.locator(".row-checkbox").first.check()
    assert serious_violations(page) == []
    page.keyboard.press("?")
    assert serious_violations(page) == []


def test_sign_in_page_has_no_serious_axe_violations(page: Page, transactional_db: None, small_parts_site: str) -> None:
    page.goto(small_parts_site)
    assert serious_violations(page) == []


def test_targets_are_at_least_24_pixels(uploader: UploaderPage, addresses: list[str]) -> None:
    """24 px in both directions, except links within a sentence (WCAG 2.5.8)."""
    script = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]
        .filter((element) => element.checkVisibility() && element.offsetWidth > 1)
        .filter((element) => !element.closest('.visually-hidden, .skip-link, p, label'))
        .map((element) => [element.outerHTML.slice(0, 90), element.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([html]) => html)"""
    violations = {}
    for address in addresses:
        uploader.page.goto(uploader.site + address)
        violations[address] = uploader.page.evaluate(script)
    assert {address: small for address, small in violations.items() if small} == {}


# --- every page -------------------------------------------------------------------------------


def create_scene(bucket: Bucket) -> dict[str, list[Any]]:
    """Create one of everything, and return the arguments of routes that need existing objects."""
    alice = User.objects.get(username="alice")
    folder = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    assert isinstance(folder, Folder)
    name = "a_name_without_any_space_that_is_much_wider_than_a_phone_or_a_column.txt"
    file = factories.create_file(alice, bucket=bucket, name=name, folder=folder)
    Tagging.objects.create(tag=Tag.objects.create(name="spring"), file=file)
    for state in (State.TRASHED, State.UPLOADING):
        factories.create_file(alice, state=state)
    quarantined = factories.create_file(alice)
    File.objects.filter(pk=quarantined.pk).update(scan_status="infected", quarantined=True)
    Finding.objects.create(report=Report.objects.create(command="fsck"), kind="missing", key=file.key, file_id=file.pk)
    parent = folder.parent
    assert parent is not None
    _link, token = create_link(ShareLink, created_by=alice, name="Brand", folder=parent)
    return {
        "file": [file.pk],
        "folder": [parent.pk],
        "shared": [token],
        "shared_folder": [token, folder.pk],
        "shared_file": [token, file.pk],
        "guest_upload": [create_request(folder, alice)[1]],
    }


def html_addresses(client: Client, bucket: Bucket) -> dict[str, str]:
    """Return, by name, the routes that have a page for this client, and one per error status."""
    scene = create_scene(bucket)
    addresses: dict[str, str] = {}
    statuses: set[int] = set()
    for name in {*tables.TABLE, *SHARED, *ADMIN, *GUEST_ROUTES}:
        if name == "logout":
            continue
        if name in ADMIN:
            url = tables.admin_url(name)
        elif name in GUEST_ROUTES and name not in scene:
            continue  # API calls
        else:
            url = reverse(name, args=scene.get(name) or tables.RouteRequest(name, bucket).arguments)
        response = client.get(url)
        response.close()
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and (response.status_code == 200 or response.status_code not in {*statuses, 302}):
            statuses.add(response.status_code)
            addresses[name] = url
    return addresses


def violations_of(page: Page, *rules: str) -> list[str]:
    """Run these rules, or all. Without preload, since Axe would add inline styles, which the policy forbids."""
    options = {"preload": False, **({"runOnly": list(rules)} if rules else {})}
    violations: Any = Axe().run(page, options=options).response["violations"]
    return [f"{violation['id']}: {node['html'][:160]}" for violation in violations for node in violation["nodes"]]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("person", ["root", "viewer", "anonymous"])
def test_every_page_has_no_axe_violations_and_fits_a_phone(
    person: str, page: Page, transactional_db: None, roles: None, bucket: Bucket, small_parts_site: str
) -> None:
    """Dark mode runs only the contrast rules again."""
    users = {
        "alice": factories.create_user("alice", "uploaders"),
        "viewer": factories.create_user("viewer", "viewers"),
        "root": factories.create_user("root", is_staff=True, is_superuser=True),
    }
    client = signed_in(users[person]) if person in users else Client()
    addresses = html_addresses(client, bucket)
    assert len(addresses) > (5 if person == "anonymous" else 15)
    for name, cookie in client.cookies.items():
        page.context.add_cookies([{"name": name, "value": cookie.value, "url": small_parts_site}])
    contrast = ("color-contrast", "link-in-text-block")
    wrong = []
    page.emulate_media(reduced_motion="reduce")
    for name, url in addresses.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")
        page.goto(small_parts_site + url)
        faults = violations_of(page)
        page.emulate_media(color_scheme="dark")
        faults += violations_of(page, *contrast)
        page.set_viewport_size({"width": 360, "height": 720})
        faults += violations_of(page)
        page.emulate_media(color_scheme="light")
        faults += violations_of(page, *contrast)
        if (pixels := page.evaluate("document.documentElement.scrollWidth")) > 360:
            faults.append(f"{pixels} pixels wide")
        wrong += [f"{name}: {fault}" for fault in sorted(set(faults))]
    assert not wrong, "\n".join(wrong)
