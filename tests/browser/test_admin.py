"""The admin in a browser: the upload tray, the strict policy, and pages that fit a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page, expect

from tests.browser.uploader_page import UploaderPage
from tests.support import factories
from tests.support.stores import Bucket
from uploads import actions
from uploads.models import AccessLevel, File, Finding, Report, State
from uploads.services import folders

pytestmark = pytest.mark.slow

PHONE = 360


@pytest.fixture
def admin(
    transactional_db: None, bucket: Bucket, small_parts_site: str, admin_user: User,
    sign_in: Callable[[User, str], Page], tmp_path: Path,
) -> UploaderPage:  # fmt: skip
    """A superuser on the admin index. The page fails on any policy violation."""
    page = sign_in(admin_user, small_parts_site)
    page.goto(f"{small_parts_site}/admin/")
    return UploaderPage(page, tmp_path, small_parts_site)


def make_objects(owner: User) -> list[str]:
    """Create one of everything and return the addresses of its pages."""
    folder = folders.create("Brand", parent=None, by=owner)
    folders.set_access(folder, {Group.objects.create(name="design"): AccessLevel.MANAGE}, by=owner)
    file = factories.create_file(
        owner, name="a name without any space that is much wider than a phone.txt".replace(" ", "_")
    )
    actions.tag_files([file.pk], add=["urgent"], by=owner)
    factories.create_file(owner, folder=folder, state=State.TRASHED)
    details = [
        f"uploads/file/{file.pk}/change/",
        f"uploads/file/{file.pk}/delete/",
        f"uploads/folder/{folder.pk}/change/",
    ]
    report = Report.objects.create(
        command="fsck", outcome="differences", summary={"objects": {"count": 1, "bytes": 1, "sha256": "a" * 64}}
    )
    Finding.objects.create(
        report=report, kind="missing", key=file.key, file_id=file.pk, detail={"row": {"etag": "e" * 32}}
    )
    details.append(f"uploads/report/{report.pk}/change/")
    lists = [f"uploads/{name}/" for name in ("file", "folder", "tag", "event", "usage", "report")]
    more = ["uploads/file/add/", "uploads/folder/add/", "auth/user/", f"auth/user/{owner.pk}/change/", "auth/group/"]
    return ["", "storage/", *lists, *details, *more]


def test_admin_pages_keep_policy_and_fit_phones_and_laptops(admin: UploaderPage, admin_user: User) -> None:
    wide = {}
    over = "(element) => element.scrollWidth - element.clientWidth"
    addresses = make_objects(admin_user)
    for width in (PHONE, 1280):
        admin.page.set_viewport_size({"width": width, "height": 800})
        for address in addresses:
            response = admin.page.goto(f"{admin.site}/admin/{address}")
            assert response is not None
            assert response.status == 200, address
            # on a phone a list scrolls in its own frame
            frames = "html" if width == PHONE else "html, #changelist .results"
            for frame in admin.page.locator(frames).all():
                if (pixels := frame.evaluate(over)) > 0:
                    wide[address, width] = pixels
    assert wide == {}


def test_files_dropped_on_add_page_are_stored(admin: UploaderPage, bucket: Bucket) -> None:
    admin.page.goto(f"{admin.site}/admin/uploads/file/add/")
    admin.drop(admin.file("first.txt", b"first"), admin.file("second.txt", b"second"))
    admin.expect_receipt("2 of 2 stored, size verified")
    stored = {file.name: bucket.read(file.key) for file in File.objects.available()}
    assert stored == {"first.txt": b"first", "second.txt": b"second"}
    admin.page.get_by_role("link", name="Back to the file list").click()
    expect(admin.page.get_by_role("link", name="second.txt")).to_be_visible()


def test_files_chosen_on_add_page_are_stored(admin: UploaderPage, bucket: Bucket) -> None:
    admin.page.goto(f"{admin.site}/admin/uploads/file/add/")
    admin.page.locator("#id_files").set_input_files([admin.file("chosen.txt", b"chosen")])
    admin.page.get_by_role("checkbox").check()
    admin.page.get_by_role("button", name="Upload", exact=True).click()
    admin.expect_receipt("1 of 1 stored, size verified")
    (file,) = File.objects.available()
    assert (file.visibility, bucket.read(file.key)) == ("private", b"chosen")


def test_tray_has_the_accent_color_of_the_library(admin: UploaderPage) -> None:
    colors = []
    for path in ("/", "/admin/uploads/file/add/"):
        admin.page.goto(f"{admin.site}{path}")
        colors.append(
            admin.page.locator("#tray").evaluate("tray => getComputedStyle(tray).getPropertyValue('--accent')")
        )
    assert colors[0] == colors[1] != ""


def test_bulk_action_runs_after_confirmation(admin: UploaderPage, admin_user: User) -> None:
    factories.create_file(admin_user, name="one.txt")
    admin.page.goto(f"{admin.site}/admin/uploads/file/")
    admin.page.locator("input.action-select").check()
    admin.page.locator("select[name=action]").select_option("trash")
    admin.page.get_by_role("button", name="Go").click()
    expect(admin.page.get_by_role("heading", name="1 file will be changed")).to_be_visible()
    admin.page.get_by_role("button", name="Move to trash").click()
    expect(admin.page.get_by_text("Moved 1 file to trash.")).to_be_visible()
    assert File.objects.trashed().count() == 1
