"""Axe has no serious violations on the pages, in light and dark, wide and narrow."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.uploader_page import UploaderPage
from tests.support import file_rows
from uploads.models import Folder, Report, State, Tag, Tagging
from uploads.services import folders

pytestmark = pytest.mark.slow

SERIOUS = {"serious", "critical"}


@pytest.fixture
def addresses(uploader: UploaderPage, alice: User) -> list[str]:
    """Each kind of page, with something on it."""
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
    """24 px each way, but for links within a sentence (WCAG 2.5.8)."""
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
