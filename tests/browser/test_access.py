"""What axe finds on the pages, in light and dark, wide and narrow."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.hands import Hands
from tests.support import rows
from uploads.models import Folder, Report, State, Tag, Tagging
from uploads.services import folders

SERIOUS = {"serious", "critical"}


@pytest.fixture
def addresses(hands: Hands, alice: User) -> list[str]:
    """Each kind of page, with something on it."""
    made = folders.ensure(["Brand/Logos", "Empty"], by=alice)
    brand, empty = made["Brand/Logos"], made["Empty"]
    assert isinstance(brand, Folder)
    assert isinstance(empty, Folder)
    file = rows.make_row(alice, State.AVAILABLE, name="logo.png", folder=brand)
    Tagging.objects.create(tag=Tag.objects.create(name="spring"), file=file)
    rows.make_row(alice, State.AVAILABLE, name="loose.txt", visibility="private")
    rows.make_row(alice, State.TRASHED)
    rows.make_row(alice, State.UPLOADING)
    inside, alone = brand.get_absolute_url(), file.get_absolute_url()
    return [
        "/", "/?subfolders=1&view=grid", "/?q=logo", "/?q=zzz&type=x", inside, empty.get_absolute_url(),
        f"{inside}move", f"{inside}remove", alone, f"{alone}replace", "/tags/", "/trash/", "/unfinished/", "/upload/",
        "/nowhere",
    ]  # fmt: skip


def faults(page: Page) -> list[str]:
    found: Any = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    scheme: Literal["light", "dark"], width: int, hands: Hands, addresses: list[str]
) -> None:
    page = hands.page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    found = {}
    for address in addresses:
        page.goto(hands.site + address)
        found[address] = faults(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    assert {address: told for address, told in found.items() if told} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_report(scheme: Literal["light", "dark"], hands: Hands, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    figures = {
        "rows": {"count": 2, "bytes": 5, "sha256": "a" * 64},
        "findings": {"missing": 1},
        "skipped": {"young": 3},
    }
    report = Report.objects.create(command="fsck", outcome="differences", summary=figures)
    report.findings.create(kind="missing", key="f/" + "0" * 32, detail={"row": {"size": 5}})
    hands.page.emulate_media(color_scheme=scheme)
    for width in (1280, 360):
        hands.page.set_viewport_size({"width": width, "height": 800})
        hands.page.goto(f"{hands.site}/admin/uploads/report/{report.pk}/change/")
        assert faults(hands.page) == []
        assert hands.page.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing_serious_in_what_opens(hands: Hands, addresses: list[str]) -> None:
    page = hands.page
    page.locator("summary", has_text="New folder").click()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{hands.site}/")
    page.locator(".row-checkbox").first.check()
    assert faults(page) == []
    page.keyboard.press("?")
    assert faults(page) == []


def test_signing_in_has_no_faults(page: Page, transactional_db: None, small_parts_site: str) -> None:
    page.goto(small_parts_site)
    assert faults(page) == []


def test_targets_are_large_enough(hands: Hands, addresses: list[str]) -> None:
    """24 px each way, but for links within a sentence (WCAG 2.5.8)."""
    script = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]
        .filter((one) => one.checkVisibility() && one.offsetWidth > 1)
        .filter((one) => !one.closest('.visually-hidden, .skip-link, p, label'))
        .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
        .filter(([, box]) => box.width < 24 || box.height < 24).map(([html]) => html)"""
    found = {}
    for address in addresses:
        hands.page.goto(hands.site + address)
        found[address] = hands.page.evaluate(script)
    assert {address: small for address, small in found.items() if small} == {}
