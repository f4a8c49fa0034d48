"""The file page: preview, details, versions and actions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.support import factories
from tests.support.file_rows import create_row, ensure_folder
from tests.support.stores import Bucket
from uploads import actions
from uploads.models import (
    ChecksumStatus,
    Event,
    File,
    Folder,
    Preview,
    PreviewKind,
    PreviewState,
    State,
    Tag,
    Visibility,
)
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(alice: User) -> File:
    return create_row(alice, State.AVAILABLE, name="logo.png", detected_type="image/png", category="image")


def post(client: Client, file: File, action: str, **data: Any) -> Any:
    return client.post(f"{file.get_absolute_url()}{action}", data)


def page_of(client: Client, file: File, **query: Any) -> str:
    return str(client.get(file.get_absolute_url(), query).content.decode())


# --- previews ----------------------------------------------------------------------------------


def add_preview(file: File, kind: PreviewKind, state: PreviewState = PreviewState.READY, **fields: Any) -> None:
    Preview.objects.create(file=file, kind=kind, state=state, lease_until=timezone.now(), **fields)


def test_image_is_shown_by_its_preview(file: File, as_bob: Client) -> None:
    add_preview(file, PreviewKind.PICTURE, width=640, height=480)
    assert f'<img src="/files/{file.pk}/preview" alt="Preview of logo.png" width="640"' in page_of(as_bob, file)


def test_text_is_shown_in_a_sandboxed_frame(file: File, as_bob: Client) -> None:
    add_preview(file, PreviewKind.EXCERPT)
    assert f'<iframe sandbox src="/files/{file.pk}/preview"' in page_of(as_bob, file)


@pytest.mark.parametrize(("category", "media_type"), [("video", "video/mp4"), ("audio", "audio/mpeg")])
def test_playable_media_gets_a_player(category: str, media_type: str, file: File, as_bob: Client) -> None:
    File.objects.update(category=category, detected_type=media_type)
    assert f"<{category} controls" in page_of(as_bob, file)
    File.objects.update(detected_type="video/x-unknown")
    assert f"<{category} controls" not in page_of(as_bob, file)


def test_missing_preview_shows_the_reason(file: File, as_bob: Client) -> None:
    File.objects.update(detected_type="application/zip", category="archive")
    assert "No preview available for this type of file" in page_of(as_bob, file)
    File.objects.update(detected_type="image/png", category="image")
    add_preview(file, PreviewKind.THUMBNAIL, PreviewState.PENDING)
    assert "Creating a preview" in page_of(as_bob, file)
    add_preview(file, PreviewKind.PICTURE, PreviewState.FAILED, reason="the picture is broken.")
    assert "No preview available. the picture is broken." in page_of(as_bob, file)


# --- changing ---------------------------------------------------------------------------------


def test_rename_changes_the_name_and_keeps_the_link(file: File, as_alice: Client) -> None:
    response = post(as_alice, file, "rename", name=" new\u202e name.png")
    assert response.headers["Location"] == file.get_absolute_url()
    file.refresh_from_db()
    assert (file.name, file.normalized_name) == ("new name.png", "new name.png")


@pytest.mark.parametrize("name", ["", "  ", "x" * 10_000, "\x00"])
def test_invalid_name_is_rejected(name: str, file: File, as_alice: Client) -> None:
    assert post(as_alice, file, "rename", name=name).status_code == 400
    file.refresh_from_db()
    assert file.name == "logo.png"


def test_file_is_moved_to_the_chosen_folder(file: File, alice: User, as_alice: Client) -> None:
    brand = ensure_folder("Brand", alice)
    assert isinstance(brand, Folder)
    assert f'value="{brand.pk}"' in as_alice.get(f"{file.get_absolute_url()}move").content.decode()
    post(as_alice, file, "move", go=1, to=brand.pk)
    assert brand.files.get() == file
    post(as_alice, file, "move", go=1, to=0)
    assert not brand.files.exists()


def test_tags_can_be_added_and_removed(file: File, as_alice: Client) -> None:
    post(as_alice, file, "tag", add="Logo, spring")
    post(as_alice, file, "tag", remove="LOGO")
    assert list(Tag.objects.filter(taggings__file=file).values_list("name", flat=True)) == ["spring"]
    assert post(as_alice, file, "tag", add=" , ").status_code == 400


@pytest.mark.parametrize(("data", "status"), [("private", 302), ("team", 302), ("", 400), ("everyone", 400)])
def test_owner_can_change_the_visibility(data: str, status: int, file: File, as_alice: Client) -> None:
    assert post(as_alice, file, "visibility", visibility=data).status_code == status
    file.refresh_from_db()
    assert file.visibility == (data if status == 302 else Visibility.TEAM)


def test_forbidden_actions_are_not_offered(file: File, as_bob: Client) -> None:
    page = page_of(as_bob, file)
    for action in ("rename", "move", "tag", "visibility", "replace", "trash"):
        assert f"{file.get_absolute_url()}{action}" not in page


# --- versions ---------------------------------------------------------------------------------


def replace(client: Client, file: File, body: bytes) -> File:
    """Replace the file through the plain form."""
    page = client.get(f"{file.get_absolute_url()}replace")
    fields = {"submission": str(page.context["form"]["submission"].value()), "replaces": str(file.permanent_id)}
    response = client.post("/upload/", fields | {"files": SimpleUploadedFile("new.png", body)})
    assert response.status_code == 200
    return File.objects.by_permanent_id(file.permanent_id).get()


def test_file_can_be_replaced_and_its_previous_version_restored(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = factories.create_file(alice, b"old", bucket=bucket, name="logo.png")
    current = replace(as_alice, file, b"new")
    assert (current.permanent_id, current.name, bucket.read(current.key)) == (file.pk, "logo.png", b"new")
    page = page_of(as_alice, current)
    assert f"/versions/{file.pk}/download" in page
    post(as_alice, current, f"versions/{file.pk}/restore")
    assert File.objects.by_permanent_id(file.pk).get().pk == file.pk
    assert "restored a previous version" in page_of(as_alice, current)


@pytest.mark.parametrize("name", ["report.pdf", "README"])
def test_replacing_a_file_with_another_type_is_confirmed_in_the_form(
    name: str, alice: User, as_alice: Client, bucket: Bucket
) -> None:
    file = factories.create_file(alice, b"old", bucket=bucket, name="logo.png")
    page = as_alice.get(f"{file.get_absolute_url()}replace")
    for status in (409, 200):
        fields = {key: page.context["form"][key].value() or "" for key in ("submission", "replaces", "other_extension")}
        page = as_alice.post("/upload/", fields | {"files": SimpleUploadedFile(name, b"new")})
        assert page.status_code == status
        if status == 409:
            assert f"“{name}” is a file of another type and wasn't stored." in page.text
            assert File.objects.by_permanent_id(file.permanent_id).get() == file
            assert len(bucket.objects()) == 1
    current = File.objects.by_permanent_id(file.permanent_id).get()
    assert (current.name, bucket.read(current.key)) == ("logo.png", b"new")


def test_a_version_of_another_file_is_not_found(file: File, alice: User, as_alice: Client) -> None:
    other = create_row(alice, State.AVAILABLE)
    for version in (other.pk, uuid.uuid4()):
        assert post(as_alice, file, f"versions/{version}/restore").status_code == 404


# --- activity ---------------------------------------------------------------------------------


def test_file_page_shows_its_activity(file: File, alice: User, as_alice: Client, as_bob: Client) -> None:
    brand = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(brand, Folder)
    post(as_alice, file, "rename", name="mark.png")
    post(as_alice, file, "move", go=1, to=brand.pk)
    post(as_alice, file, "tag", add="a", remove="b")
    post(as_alice, file, "visibility", visibility="private")
    post(as_alice, file, "visibility", visibility="team")
    actions.trash_file(file, by=alice)
    actions.restore_file(file, by=alice)
    page = page_of(as_bob, file)
    for text in ("renamed it to “mark.png”", "moved it to “Brand”", "added the tags a and removed b",
                 "made it private", "shared it with the team", "moved to trash", "restored"):  # fmt: skip
        assert text in page


def test_malformed_event_details_are_tolerated_and_escaped(file: File, as_alice: Client) -> None:
    for detail in ({}, {"folder_id": None}, {"added": None}, {"added": 7 * ["<b>"]}):
        for action in ("rename", "move", "tag", "visibility"):
            Event.objects.create(action=action, actor="x", file_id=file.permanent_id, name="n", detail=detail)
    page = page_of(as_alice, file, activity="all")
    assert page.count("<li><strong") == 16
    assert "<b>" not in page


def test_activity_is_shown_in_pages_that_link_to_older_events(file: File, as_bob: Client) -> None:
    Event.objects.bulk_create(
        Event(action="rename", actor="alice", file_id=file.permanent_id, detail={"new_name": f"n{n}"})
        for n in range(1, 62)
    )

    def shown(start: str = "") -> tuple[list[str], str]:
        activity = as_bob.get(file.get_absolute_url(), {"activity": start}).context["activity"]
        return [event.detail["new_name"] for event, _words in activity["events"]], activity["older"]

    assert shown() == ([f"n{n}" for n in range(61, 51, -1)], "all")
    page = page_of(as_bob, file, **{"from": "/?sort=name"})
    assert '?from=%2F%3Fsort%3Dname&amp;activity=all#activity">Show all</a>' in page
    first, older = shown("all")
    assert first == [f"n{n}" for n in range(61, 11, -1)]
    assert shown(older) == ([f"n{n}" for n in range(11, 0, -1)], "")
    for invalid in ("x", "-1", "9" * 30):
        assert shown(invalid) == (first, older)


def test_checksum_versions_and_activity_are_closed_at_first(file: File, alice: User, as_alice: Client) -> None:
    File.objects.filter(pk=file.pk).update(series=file.pk)
    create_row(alice, State.AVAILABLE, series=file.pk, current=False, uploaded_by=alice)
    actions.tag_files([file.permanent_id], add=["spring"], by=alice)
    page = page_of(as_alice, file)
    for part in ("details", "versions", "activity"):
        before = page[: page.index(f'<h2 id="{part}">')].split()
        assert before[-3:] == ["<details", 'class="disclosure">', "<summary>"]
    assert '<details class="disclosure" open>' in page_of(as_alice, file, activity="all")
    response = post(as_alice, file, "rename", name="")
    assert '<details class="menu" open>' in response.content.decode()


def test_query_count_does_not_grow_with_versions_and_tags(
    file: File, alice: User, as_alice: Client, django_assert_max_num_queries: Any
) -> None:
    counts = []
    File.objects.filter(pk=file.pk).update(series=file.pk)
    for round_ in range(2):
        as_alice.get(file.get_absolute_url())
        with django_assert_max_num_queries(25) as queries:
            as_alice.get(file.get_absolute_url())
        counts.append(len(queries))
        for n in range(5):
            create_row(alice, State.AVAILABLE, series=file.pk, current=False, uploaded_by=alice)
            actions.tag_files([file.permanent_id], add=[f"tag {round_} {n}"], by=alice)
    assert counts[0] == counts[1]


# --- duplicates -------------------------------------------------------------------------------


def test_files_with_the_same_content_are_listed(alice: User, bob: User, as_bob: Client) -> None:
    facts: dict[str, Any] = {"checksum_status": ChecksumStatus.VERIFIED_BY_STORAGE}
    brand = folders.ensure(["Brand"], by=alice)["Brand"]
    file = factories.create_file(bob, name="mine.txt", **facts)
    factories.create_file(alice, name="<copy>.txt", folder=brand, checksum_status=ChecksumStatus.VERIFIED)
    factories.create_file(alice, name="private.txt", visibility=Visibility.PRIVATE, **facts)
    factories.create_file(alice, name="trashed.txt", state=State.TRASHED, **facts)
    factories.create_file(alice, name="unverified.txt")
    factories.create_file(alice, b"other", name="other.txt", **facts)
    page = as_bob.get(file.get_absolute_url())
    assert [other["name"] for other in page.context["duplicates"]["files"]] == ["<copy>.txt"]
    assert "&lt;copy&gt;.txt</a>" in page.content.decode()
    assert page.context["duplicates"]["files"][0]["folder"] == "Brand"


def test_empty_and_unverified_files_have_no_duplicates(alice: User, as_alice: Client) -> None:
    for body, status in ((b"", ChecksumStatus.VERIFIED), (b"x", ChecksumStatus.UNVERIFIED)):
        file, _copy = (factories.create_file(alice, body, checksum_status=status) for _ in range(2))
        assert "Duplicates" not in page_of(as_alice, file)


# --- changes on the page ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "data", "message"),
    [
        ("tag_file", {"add": "urgent"}, "Changed tags of “plan.txt”."),
        ("change_visibility", {"visibility": "private"}, "Made “plan.txt” private."),
    ],
)
def test_change_on_the_page_can_be_undone(
    action: str, data: dict[str, str], message: str, alice: User, as_alice: Client
) -> None:
    file = create_row(alice, State.AVAILABLE, name="plan.txt")
    response = as_alice.post(reverse(action, args=[file.pk]), data, follow=True)
    (shown,) = response.context["messages"]
    assert str(shown) == message
    as_alice.post("/trash/undo", {"event": shown.extra_tags})
    file.refresh_from_db()
    assert (file.visibility, file.taggings.count()) == (Visibility.TEAM, 0)
