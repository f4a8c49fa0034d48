"""Members create, list and revoke share links."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.conftest import signed_in
from tests.links.conftest import Shared
from tests.support import factories
from tests.support.stores import Bucket
from uploads.errors import ValidationFailed
from uploads.models import Action, Event, File, Folder, ShareLink, create_link
from uploads.models.querysets import database_now
from uploads.services import folders, share_links

pytestmark = pytest.mark.django_db

URL = re.compile(r'value="(http://testserver/s/[A-Za-z0-9_-]{32}/)"')


def create(client: Client, url: str, **form: Any) -> Any:
    return client.post(url, {"days": "7", **form})


def shown_link(response: Any) -> str:
    match = URL.search(response.content.decode())
    assert match
    return match[1].removeprefix("http://testserver")


def test_link_is_created_with_its_options_and_shown_once(file: File, as_alice: Client, guest: Client) -> None:
    response = create(
        as_alice, f"/files/{file.permanent_id}/share", password="a long password", max_downloads="5", note="Hello"
    )  # fmt: skip
    url = shown_link(response)
    link = ShareLink.objects.get()
    assert (link.name, link.file, link.version, link.max_downloads, link.note) == (
        "press kit.pdf", file.permanent_id, None, 5, "Hello",
    )  # fmt: skip
    assert link.expires_at
    assert 6.9 < (link.expires_at - database_now()).total_seconds() / 86_400 <= 7
    text = response.content.decode()
    assert "data:image/svg+xml;base64," in text
    assert 'data-copy="share-link"' in text
    assert response["Cache-Control"] == "private, no-store"
    assert guest.get(url).status_code == 200
    assert url.split("/")[2] not in as_alice.get("/links/").content.decode()
    event = Event.objects.get(action=Action.SHARE)
    assert (event.actor, event.file_id, event.detail) == ("alice", file.permanent_id, {"share_link": link.pk})


def test_link_can_be_pinned_to_the_current_version(file: File, as_alice: Client) -> None:
    create(as_alice, f"/files/{file.permanent_id}/share", version=str(file.pk))
    assert ShareLink.objects.get().version == file.pk


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"days": ""}, "days"),
        ({"days": "0"}, "days"),
        ({"days": "366"}, "days"),
        ({"days": "x"}, "days"),
        ({"days": "9" * 30}, "days"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"password": "nul\x00 in a password"}, "password"),
        ({"max_downloads": "0"}, "max_downloads"),
        ({"max_downloads": "1000001"}, "max_downloads"),
        ({"max_downloads": "5", "view_only": "on"}, "max_downloads"),
        ({"note": "x" * 1001}, "note"),
        ({"version": str(uuid.uuid4())}, "version"),
        ({"version": "x"}, "version"),
    ],
)
def test_invalid_option_is_an_error_below_its_field(
    form: dict[str, str], field: str, file: File, as_alice: Client
) -> None:
    response = create(as_alice, f"/files/{file.permanent_id}/share", **form)
    assert response.status_code == 400
    assert list(response.context["form"].errors) == [field]
    assert not ShareLink.objects.exists()


def test_default_and_maximum_expiry_follow_the_settings(file: File, as_alice: Client, settings: Settings) -> None:
    settings.SHARE_LINK_DAYS, settings.SHARE_LINK_MAX_DAYS = 3, 14
    url = f"/files/{file.permanent_id}/share"
    assert 'value="3"' in as_alice.get(url).content.decode()
    assert create(as_alice, url, days="15").status_code == 400
    assert create(as_alice, url, days="").status_code == 400
    settings.SHARE_LINK_MAX_DAYS = 0
    assert create(as_alice, url, days="").status_code == 200
    assert ShareLink.objects.get().expires_at is None


def test_service_rejects_invalid_expiry(file: File, alice: User, settings: Settings) -> None:
    for days in (None, 366):
        with pytest.raises(ValidationFailed):
            share_links.share_file(file, share_links.ShareOptions(days=days), by=alice)


def test_sharing_requires_the_permission_and_a_visible_file(
    file: File, as_viewer: Client, as_charlie: Client, as_bob: Client, settings: Settings
) -> None:
    url = f"/files/{file.permanent_id}/share"
    assert [client.get(url).status_code for client in (as_viewer, as_charlie, as_bob)] == [403, 403, 200]
    assert create(as_viewer, url).status_code == 403
    assert as_bob.get(f"/files/{uuid.uuid4()}/share").status_code == 404
    settings.SHARE_LINKS = False
    assert as_bob.get(url).status_code == 403
    assert create(as_bob, url).status_code == 403


def test_page_names_the_folder_that_forbids_links(alice: User, as_alice: Client) -> None:
    folder = Folder.objects.create(name="Closed", unshareable=True, created_by=alice)
    file = factories.create_file(alice, folder=folder)
    response = create(as_alice, f"/files/{file.permanent_id}/share")
    assert response.status_code == 403
    assert "turned off in the folder" in response.content.decode()
    assert create(as_alice, f"/folders/{folder.pk}/share").status_code == 403


def test_managers_allow_and_forbid_links_of_a_folder(alice: User, as_alice: Client, as_manager: Client) -> None:
    folder = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(folder, Folder)
    assert as_alice.post(f"/folders/{folder.pk}/sharing").status_code == 403
    assert as_manager.post(f"/folders/{folder.pk}/sharing").status_code == 302
    folder.refresh_from_db()
    assert folder.unshareable
    assert Event.objects.filter(action=Action.ACCESS, folder_id=folder.pk).get().detail == {"share_links": False}
    as_manager.post(f"/folders/{folder.pk}/sharing", {"sharing": "on"})
    folder.refresh_from_db()
    assert not folder.unshareable


# --- lists ------------------------------------------------------------------------------------


def test_own_links_are_listed_with_their_use(file: File, bob: User, as_alice: Client, shared: Shared) -> None:
    shared(file, max_downloads=3)
    _mine, url = shared(file)
    Client().get(f"{url}download")
    other = factories.create_file(bob, name="of bob.txt")
    shared(other, by=bob)
    text = as_alice.get("/links/").content.decode()
    assert "0 of 3 downloads" in text
    assert "1 download" in text
    assert "of bob.txt" not in text
    assert as_alice.get("/links/all/").status_code == 403


def test_managers_see_all_links_and_revoke_them(
    file: File, as_manager: Client, manager: User, shared: Shared, guest: Client
) -> None:
    link, url = shared(file)
    assert "press kit.pdf" in as_manager.get("/links/all/").content.decode()
    assert "press kit.pdf" not in as_manager.get("/links/").content.decode()
    assert as_manager.post(f"/links/{link.pk}/revoke").status_code == 302
    assert guest.get(url).status_code == 410
    event = Event.objects.get(action=Action.SHARE_REVOKED)
    assert (event.actor, event.file_id, event.name) == ("manager", file.permanent_id, "press kit.pdf")


def test_links_are_paginated(file: File, alice: User, as_alice: Client) -> None:
    for number in range(51):
        create_link(ShareLink, created_by=alice, name=f"n{number:03}", file=file.permanent_id)
    first = as_alice.get("/links/")
    assert [link.name for link in first.context["links"]][::49] == ["n050", "n001"]
    second = as_alice.get(first.context["next_url"])
    assert [link.name for link in second.context["links"]] == ["n000"]
    assert as_alice.get("/links/?before=x").status_code == 200


def test_only_own_links_can_be_revoked(file: File, as_bob: Client, bob: User, shared: Shared) -> None:
    link, _url = shared(file)
    assert as_bob.post(f"/links/{link.pk}/revoke").status_code == 404
    assert as_bob.post("/links/revoke", {"file": str(file.permanent_id)}).status_code == 302
    link.refresh_from_db()
    assert link.revoked_at is None


def test_file_owner_revokes_all_links_of_the_file(file: File, bob: User, as_alice: Client, shared: Shared) -> None:
    links = [shared(file, by=bob)[0], shared(file)[0]]
    page = as_alice.get(f"/files/{file.permanent_id}/share")
    assert {link.pk for link in page.context["links"]} == {link.pk for link in links}
    response = as_alice.post(
        "/links/revoke", {"file": str(file.permanent_id), "next": f"/files/{file.permanent_id}/share"}
    )
    assert response["Location"] == f"/files/{file.permanent_id}/share"
    assert not ShareLink.objects.filter(revoked_at__isnull=True).exists()


def test_all_own_links_are_revoked_at_once(
    file: File, bob: User, as_bob: Client, alice: User, shared: Shared
) -> None:  # fmt: skip
    theirs, _url = shared(file)
    for _each in range(2):
        shared(file, by=bob)
    assert "You can't undo this." in as_bob.get("/links/").text
    as_bob.post("/links/revoke")
    assert list(ShareLink.objects.filter(revoked_at__isnull=True)) == [theirs]
    assert ShareLink.objects.filter(revoked_by=bob).count() == 2


@pytest.mark.parametrize("file_id", ["x", ""])
def test_revoking_links_of_an_invalid_file_is_an_error(file_id: str, as_alice: Client) -> None:
    assert as_alice.post("/links/revoke", {"file": file_id}).status_code == 400


def test_activity_of_a_file_names_the_link(file: File, as_alice: Client, shared: Shared, guest: Client) -> None:
    link, url = shared(file)
    guest.get(f"{url}download")
    text = as_alice.get(f"/files/{file.permanent_id}/").content.decode()
    assert f"share link {link.pk}" in text
    assert "shared by link" in text


def test_link_of_a_manager_serves_another_users_file(file: File, manager: User, bucket: Bucket, guest: Client) -> None:
    page = create(signed_in(manager), f"/files/{file.permanent_id}/share")
    assert guest.get(shown_link(page) + "download").status_code == 302
