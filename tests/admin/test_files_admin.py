"""The admin of files: its pages, read-only fields, and deletion, which moves files to trash."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks

from tests.conftest import signed_in
from tests.support import factories
from tests.support.form_client import Chosen, send
from tests.support.guests import create_request
from tests.support.stores import Bucket
from uploads.models import File, Folder, ShareLink, State, Visibility
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/file/"
PRIVATE = Visibility.PRIVATE


def change_url(file: File) -> str:
    return reverse("admin:uploads_file_change", args=[file.pk])


# --- editing ----------------------------------------------------------------------------------


def test_add_page_shows_the_tray_and_creates_no_row(as_admin: Client) -> None:
    page = as_admin.get(reverse("admin:uploads_file_add")).content.decode()
    assert 'id="tray"' in page
    assert f'action="{reverse("upload")}"' in page
    assert as_admin.post(reverse("admin:uploads_file_add"), {"name": "x"}).status_code == 405
    assert not File.objects.exists()


def test_the_add_page_works_without_javascript(admin_user: User, as_admin: Client) -> None:
    page = as_admin.get(reverse("admin:uploads_file_add")).content.decode()
    match = re.search(r'name="submission" value="([0-9a-f-]{36})"', page)
    assert match
    (file,) = send(as_admin, Chosen("a.txt"), submission=match[1])
    assert (file.name, file.owner) == ("a.txt", admin_user)


def test_add_page_is_forbidden_without_upload_permission(roles: None) -> None:
    viewer = signed_in(factories.create_user("viewer", "viewers", is_staff=True))
    assert viewer.get(reverse("admin:uploads_file_add")).status_code == 403


def test_storage_fields_are_read_only(alice: User, bob: User, as_admin: Client) -> None:
    file = factories.create_file(alice, visibility=Visibility.TEAM)
    before = File.objects.values().get()
    forged = {"key": "f/" + "0" * 32, "size": "1", "state": "deleting", "checksum": "x", "checksum_status": "verified",
              "etag": "x", "owner": str(bob.pk), "token": str(file.pk), "part_size": "1", "multipart_id": "x",
              "detected_type": "text/html", "declared_type": "text/html", "id": "x", "category": "image",
              "series": str(file.pk), "current": ""}  # fmt: skip
    response = as_admin.post(change_url(file), {"name": "new.txt", "visibility": "team", **forged})
    assert response.status_code == 302
    after = File.objects.values().get()
    names = dict.fromkeys(("name", "normalized_name", "natural_name"), "new.txt")
    assert after == before | names | {"updated_at": after["updated_at"]}


def test_name_is_cleaned(alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice)
    as_admin.post(change_url(file), {"name": " \u202egpj.exe ", "visibility": "team"})
    file.refresh_from_db()
    assert file.name == "gpj.exe"


@pytest.mark.parametrize("name", ["", "   ", "x" * 256, "nul\x00byte", "2026/plan.txt", "..\\plan.txt"])
def test_invalid_name_is_rejected(name: str, alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice)
    response = as_admin.post(change_url(file), {"name": name, "visibility": "team"})
    assert (response.status_code, bool(response.context["adminform"].form.errors)) == (200, True)
    file.refresh_from_db()
    assert file.name == "report.txt"


def test_unknown_visibility_is_rejected(admin_user: User, as_admin: Client) -> None:
    file = factories.create_file(admin_user)
    assert as_admin.post(change_url(file), {"name": "a", "visibility": "public"}).status_code == 200
    file.refresh_from_db()
    assert file.visibility == Visibility.TEAM


def test_usage_is_read_only(alice: User, as_admin: Client) -> None:
    factories.create_file(alice)
    url = reverse("admin:uploads_usage_change", args=[alice.pk])
    as_admin.post(url, {"bytes": "0", "files": "0"})
    assert factories.stored_usage(alice) == (1, 5)
    assert as_admin.post(reverse("admin:uploads_usage_delete", args=[alice.pk]), {"post": "yes"}).status_code == 403


# --- deletion ---------------------------------------------------------------------------------


def delete(client: Client, file: File) -> Any:
    return client.post(reverse("admin:uploads_file_delete", args=[file.pk]), {"post": "yes"})


def delete_all(client: Client, *files: File) -> Any:
    data = {"action": "trash", "_selected_action": [str(file.pk) for file in files], "confirmed": "yes"}
    return client.post(LIST, data)


def test_delete_moves_to_trash_after_commit(
    alice: User, as_admin: Client, bucket: Bucket, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    file = factories.create_file(alice, bucket=bucket)
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        assert delete(as_admin, file).status_code == 302
        file.refresh_from_db()
        assert file.state == State.AVAILABLE
    for callback in callbacks:
        callback()
    file.refresh_from_db()
    assert (file.state, bucket.read(file.key)) == (State.TRASHED, b"hello")
    assert factories.stored_usage(alice) == (1, 5)


@pytest.mark.django_db(transaction=True)
def test_delete_works_with_real_commits(alice: User, as_admin: Client) -> None:
    file, others = factories.create_file(alice), [factories.create_file(alice) for _ in range(3)]
    assert delete(as_admin, file).status_code == 302
    assert delete_all(as_admin, *others).status_code == 302
    assert File.objects.trashed().count() == 4


@pytest.mark.parametrize("state", [State.UPLOADING, State.COMPLETING, State.TRASHED])
def test_files_in_other_states_are_not_deleted(state: State, alice: User, admin_user: User) -> None:
    """Uploads are canceled and the trash is purged elsewhere."""
    client = signed_in(admin_user)
    file = factories.create_file(admin_user, state=state)
    delete(client, file)
    delete_all(client, file)
    file.refresh_from_db()
    assert file.state == state


def test_private_file_of_another_user_is_not_found(alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice, name="secret.txt", visibility=PRIVATE)
    delete_url = reverse("admin:uploads_file_delete", args=[file.pk])
    for url in (LIST, f"{LIST}?q=secret", delete_url, change_url(file)):
        assert b"secret.txt" not in as_admin.get(url, follow=True).content, url
    delete(as_admin, file)
    delete_all(as_admin, file)
    as_admin.post(change_url(file), {"name": "mine now", "visibility": "team"})
    file.refresh_from_db()
    assert (file.state, file.name, file.visibility) == (State.AVAILABLE, "secret.txt", PRIVATE)


def test_user_deletion_page_hides_names_of_private_files(alice: User, as_admin: Client) -> None:
    factories.create_file(alice, name="secret.txt", visibility=PRIVATE)
    confirmation = as_admin.get(reverse("admin:auth_user_delete", args=[alice.pk]))
    bulk_confirmation = as_admin.post(
        "/admin/auth/user/", {"action": "delete_selected", "_selected_action": [str(alice.pk)]}
    )
    for response in (confirmation, bulk_confirmation):
        assert response.status_code == 200
        assert b"secret.txt" not in response.content


def test_user_deletion_page_lists_the_links_that_end(alice: User, bob: User, as_admin: Client) -> None:
    file = factories.create_file(alice, name="press kit.pdf")
    link, _token = share_links.share_file(file, ShareOptions(days=7), by=bob)
    create_request(Folder.objects.create(name="Inbox"), bob, title="Photos of the fair")
    page = as_admin.get(reverse("admin:auth_user_delete", args=[bob.pk])).content.decode()
    assert str(link) in page
    assert "Photos of the fair" in page
    as_admin.post(reverse("admin:auth_user_delete", args=[bob.pk]), {"post": "yes"})
    assert not User.objects.filter(username="bob").exists()
    assert not ShareLink.objects.exists()
    assert File.objects.get() == file


def test_user_with_files_cannot_be_deleted(alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice, visibility=PRIVATE)
    as_admin.post(reverse("admin:auth_user_delete", args=[alice.pk]), {"post": "yes"})
    assert File.objects.get().pk == file.pk
    assert User.objects.filter(username="alice").exists()


def test_staff_need_permissions_to_view_and_delete_files(alice: User, roles: None) -> None:
    clerk = factories.create_user("clerk", is_staff=True)
    file = factories.create_file(alice)
    assert signed_in(clerk).get(LIST).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_file"))
    clerk = User.objects.get(pk=clerk.pk)
    assert b"report.txt" in signed_in(clerk).get(LIST).content
    delete(signed_in(clerk), file)
    delete_all(signed_in(clerk), file)
    file.refresh_from_db()
    assert file.state == State.AVAILABLE


def test_staff_manager_can_trash_team_files(
    alice: User, as_clerk: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    file = factories.create_file(alice)
    with django_capture_on_commit_callbacks(execute=True):
        assert delete(as_clerk, file).status_code == 302
    file.refresh_from_db()
    assert file.state == State.TRASHED


def test_admin_pages_have_no_inline_scripts_or_styles(alice: User, as_admin: Client) -> None:
    """The content security policy forbids inline scripts and styles."""
    file = factories.create_file(alice)
    for url in ("/admin/", LIST, change_url(file), reverse("admin:uploads_file_delete", args=[file.pk])):
        page = as_admin.get(url).content.decode()
        assert not re.search(
            r"<script(?![^>]*\bsrc=)[^>]*>(?!\s*</script>)", page.replace('type="application/json"', "src=")
        )
        assert not re.search(r"\s(on\w+|style)=", page)
