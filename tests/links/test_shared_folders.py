"""Share links to a folder with its current subfolders, and to a selection of files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.support import factories
from tests.support.file_rows import create_row, move_folder, trash_folder
from tests.support.stores import Bucket
from uploads.actions import trash_files
from uploads.actions.restore import RestoreAction
from uploads.models import Action, Event, File, Folder, ShareLink, State, Visibility
from uploads.services import folders, share_links, zips
from uploads.services.share_links import ShareOptions
from uploads.services.zips.archive import MANIFEST

pytestmark = pytest.mark.django_db


@pytest.fixture
def brand(alice: User) -> Folder:
    """The shared folder `Brand` in `Secret/Brand/Logos/Old`."""
    folders.ensure(["Secret/Brand/Logos/Old"], by=alice)
    return Folder.objects.get(name="Brand")


def folder_named(name: str) -> Folder:
    return Folder.objects.get(name=name)


def share(folder: Folder, by: User, **options: Any) -> tuple[ShareLink, str]:
    link, token = share_links.share_folder(folder, ShareOptions(**{"days": 7, **options}), by=by)
    return link, f"/s/{token}/"


def share_selection(files: Sequence[File], by: User, **options: Any) -> tuple[ShareLink, str]:
    options = {"days": 7, **options}
    link, token = share_links.share_selection([file.permanent_id for file in files], ShareOptions(**options), by=by)
    return link, f"/s/{token}/"


def zip_names(response: Any) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(response.getvalue())) as archive:
        return sorted(set(archive.namelist()) - {MANIFEST})


# --- folders ----------------------------------------------------------------------------------


def test_file_page_leads_back_to_its_folder(brand: Folder, alice: User, guest: Client) -> None:
    _link, url = share(brand, alice)
    top = factories.create_file(alice, folder=brand)
    logo = factories.create_file(alice, folder=folder_named("Logos"))
    page = guest.get(f"{url}files/{top.permanent_id}/").content.decode()
    assert '<a href="../../">← <bdi>Brand</bdi></a>' in page
    page = guest.get(f"{url}files/{logo.permanent_id}/").content.decode()
    assert f'<a href="../../folders/{logo.folder_id}/">← <bdi>Logos</bdi></a>' in page


def test_file_page_leads_to_the_files_before_and_after_it(brand: Folder, alice: User, bob: User, guest: Client) -> None:
    names = ("IMG 1.png", "IMG 2.png", "IMG 10.png")
    first, second, last = (factories.create_file(alice, name=name, folder=brand) for name in names)
    factories.create_file(alice, name="IMG 3.png", folder=folder_named("Logos"))
    factories.create_file(alice, name="IMG 4.png", folder=brand, visibility=Visibility.PRIVATE)
    _link, url = share(brand, bob)
    page = guest.get(f"{url}files/{second.permanent_id}/").content.decode()
    assert f'rel="prev" href="../{first.permanent_id}/"' in page
    assert f'rel="next" href="../{last.permanent_id}/"' in page
    assert "2 of 3" in page
    assert 'rel="next"' not in guest.get(f"{url}files/{last.permanent_id}/").content.decode()
    _link, url = share_selection([first, last], alice)
    page = guest.get(f"{url}files/{first.permanent_id}/").content.decode()
    assert f'rel="next" href="../{last.permanent_id}/"' in page
    assert str(second.permanent_id) not in page


def test_folder_page_shows_files_and_links_to_subfolders(
    brand: Folder, alice: User, bucket: Bucket, guest: Client
) -> None:
    factories.create_file(alice, bucket=bucket, name="guide.pdf", folder=brand)
    logo = factories.create_file(alice, bucket=bucket, name="logo.png", folder=folder_named("Logos"))
    _link, url = share(brand, alice)
    text = guest.get(url).content.decode()
    assert "guide.pdf" in text
    assert "logo.png" not in text
    assert f'href="folders/{folder_named("Logos").pk}/"' in text
    page = guest.get(f"{url}folders/{folder_named('Logos').pk}/")
    text = page.content.decode()
    assert f'href="../../files/{logo.permanent_id}/"' in text
    assert 'href="../../">Brand</a>' in text.replace(' dir="auto"', "")
    assert guest.get(f"{url}files/{logo.permanent_id}/").status_code == 200
    assert guest.get(f"{url}files/{logo.permanent_id}/download").status_code == 302
    assert guest.get(f"{url}download").status_code == 404


def test_folder_link_shows_the_current_files(brand: Folder, alice: User, bucket: Bucket, guest: Client) -> None:
    _link, url = share(brand, alice)
    assert "No files here yet." not in guest.get(url).content.decode()  # the folder has subfolders
    later = factories.create_file(alice, bucket=bucket, name="later.txt", folder=brand)
    assert "later.txt" in guest.get(url).content.decode()
    assert guest.get(f"{url}files/{later.permanent_id}/download").status_code == 302
    trash_files([later.permanent_id], by=alice)
    assert "later.txt" not in guest.get(url).content.decode()
    assert guest.get(f"{url}files/{later.permanent_id}/download").status_code == 404


def test_nothing_outside_the_folder_is_accessible(brand: Folder, alice: User, bucket: Bucket, guest: Client) -> None:
    above = factories.create_file(alice, bucket=bucket, name="above.txt", folder=folder_named("Secret"))
    beside = Folder.objects.create(name="Beside", parent=folder_named("Secret"), created_by=alice)
    top = factories.create_file(alice, bucket=bucket, name="top.txt")
    factories.create_file(alice, bucket=bucket, name="in.txt", folder=folder_named("Logos"))
    _link, url = share(brand, alice)
    pages = [
        url,
        f"{url}folders/{folder_named('Logos').pk}/",
        f"{url}files/{File.objects.get(name='in.txt').permanent_id}/",
    ]
    for page in pages:
        text = guest.get(page).content.decode()
        for hidden in ("Secret", "Beside", "above.txt", "top.txt"):
            assert hidden not in text
    for folder in (folder_named("Secret"), beside):
        assert guest.get(f"{url}folders/{folder.pk}/").status_code == 404
    for file in (above, top):
        for path in ("", "download", "download?inline=1", "preview", "thumbnail"):
            assert guest.get(f"{url}files/{file.permanent_id}/{path}").status_code == 404
    assert guest.get(f"{url}folders/{10**30}/").status_code == 404
    assert zip_names(guest.get(f"{url}zip")) == ["Logos/in.txt"]


def test_private_files_and_restricted_subfolders_are_hidden(
    brand: Folder, alice: User, bob: User, bucket: Bucket, guest: Client
) -> None:
    private = factories.create_file(
        alice, bucket=bucket, name="private.txt", folder=brand, visibility=Visibility.PRIVATE
    )  # fmt: skip
    closed = folder_named("Logos")
    own = factories.create_file(alice, bucket=bucket, name="own.txt", folder=closed)
    deeper = factories.create_file(bob, bucket=bucket, name="deeper.txt", folder=folder_named("Old"))
    factories.create_file(alice, bucket=bucket, name="open.txt", folder=brand)
    Folder.objects.filter(pk=closed.pk).update(restricted=True)
    Folder.objects.filter(pk__in=[closed.pk, folder_named("Old").pk]).update(access_root=closed)
    _link, url = share(brand, alice)
    text = guest.get(url).content.decode()
    assert "open.txt" in text
    assert "private.txt" not in text
    assert "Logos" not in text
    for file in (private, own, deeper):
        assert guest.get(f"{url}files/{file.permanent_id}/download").status_code == 404
    for folder in (closed, folder_named("Old")):
        assert guest.get(f"{url}folders/{folder.pk}/").status_code == 404
    assert zip_names(guest.get(f"{url}zip")) == ["open.txt"]


def test_link_ends_when_its_folder_moves_into_one_hidden_from_the_creator(
    brand: Folder, alice: User, bob: User, admin_user: User, bucket: Bucket, guest: Client
) -> None:
    factories.create_file(alice, bucket=bucket, name="in.txt", folder=brand)
    _link, bobs = share(brand, bob)
    _link, roots = share(brand, admin_user)
    closed = Folder.objects.create(name="Closed", restricted=True)
    move_folder(brand, closed, by=admin_user)
    assert guest.get(bobs).status_code == 410
    assert guest.get(f"{bobs}zip").status_code == 410
    assert guest.get(f"{bobs}folders/{folder_named('Logos').pk}/").status_code == 404
    assert guest.get(f"{bobs}files/{File.objects.get(name='in.txt').permanent_id}/download").status_code == 404
    assert guest.get(roots).status_code == 200


def test_link_of_a_folder_ends_in_the_trash_and_works_after_restore(
    alice: User, admin_user: User, guest: Client
) -> None:
    folder = folders.ensure(["Empty"], by=alice)["Empty"]
    assert isinstance(folder, Folder)
    _link, url = share(folder, alice)
    assert "No files here yet." in guest.get(url).content.decode()
    trash_folder(folder, by=admin_user)
    response = guest.get(url)
    assert response.status_code == 410
    assert "Ask alice" in response.content.decode()
    RestoreAction().execute([], {}, by=admin_user, folders=[folder.pk])
    assert guest.get(url).status_code == 200


def test_subfolder_that_forbids_links_is_hidden(
    brand: Folder, alice: User, manager: User, bucket: Bucket, guest: Client
) -> None:
    file = factories.create_file(alice, bucket=bucket, name="in.txt", folder=folder_named("Old"))
    _link, url = share(brand, alice)
    assert guest.get(f"{url}files/{file.permanent_id}/").status_code == 200
    share_links.set_folder_sharing(folder_named("Logos"), allowed=False, by=manager)
    assert "Logos" not in guest.get(url).content.decode()
    assert guest.get(f"{url}files/{file.permanent_id}/").status_code == 404
    assert guest.get(f"{url}folders/{folder_named('Old').pk}/").status_code == 404
    share_links.set_folder_sharing(folder_named("Secret"), allowed=False, by=manager)
    assert guest.get(url).status_code == 410


def test_zip_of_a_folder_counts_once_and_records_each_file(
    brand: Folder, alice: User, bucket: Bucket, guest: Client
) -> None:
    bodies = {"a.txt": brand, "b.txt": folder_named("Logos"), "c.txt": folder_named("Old")}
    for name, folder in bodies.items():
        factories.create_file(alice, name.encode(), bucket=bucket, name=name, folder=folder)
    link, url = share(brand, alice, max_downloads=1)
    response = guest.get(f"{url}zip")
    assert 'filename="Brand.zip"' in response["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(response.getvalue())) as archive:
        assert archive.read("Logos/Old/c.txt") == b"c.txt"
    link.refresh_from_db()
    assert link.use_count == 1
    details = Event.objects.filter(action=Action.DOWNLOAD).values_list("name", "actor", "detail")
    assert sorted(details, key=lambda row: row[0]) == [
        (name, f"share link {link.pk}", {"zip": True, "share_link": link.pk}) for name in bodies
    ]
    assert guest.get(f"{url}zip").status_code == 410


@pytest.mark.parametrize("change", ["revoke", "forbid", "move", "permission", "delete"])
def test_running_zip_is_aborted_when_its_files_are_no_longer_shared(
    change: str, brand: Folder, alice: User, bucket: Bucket, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "RECHECK_SECONDS", 0)
    for number in range(3):
        factories.create_file(alice, b"x" * number, bucket=bucket, name=f"{number}.txt", folder=folder_named("Logos"))
    link, url = share(brand, alice)
    with closing(guest.get(f"{url}zip")) as response:
        chunks = iter(response)
        next(chunks)
        match change:
            case "revoke":
                share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=alice)
            case "forbid":
                Folder.objects.filter(name="Logos").update(unshareable=True)
            case "move":
                closed = Folder.objects.create(name="Closed", created_by=alice, unshareable=True)
                move_folder(folder_named("Logos"), closed, by=alice)
            case "permission":
                alice.groups.clear()
            case "delete":
                ShareLink.objects.filter(pk=link.pk).delete()
        with pytest.raises(zips.DownloadAborted, match="forbidden"):
            list(chunks)


def test_running_zip_continues_when_its_link_expires_or_is_used_up(
    brand: Folder, alice: User, bucket: Bucket, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "RECHECK_SECONDS", 0)
    for number in range(3):
        factories.create_file(alice, b"x" * number, bucket=bucket, name=f"{number}.txt", folder=brand)
    link, url = share(brand, alice, max_downloads=1)
    with closing(guest.get(f"{url}zip")) as response:
        chunks = iter(response)
        first = next(chunks)
        ShareLink.objects.filter(pk=link.pk).update(expires_at=Now() - timedelta(hours=1))
        assert len(first) + sum(map(len, chunks)) == int(response["Content-Length"])


def test_large_folder_is_paginated(brand: Folder, alice: User, guest: Client) -> None:
    for number in range(60):
        create_row(alice, State.AVAILABLE, name=f"n{number:03}.txt", folder=brand)
    _link, url = share(brand, alice)
    first = guest.get(url)
    names = re.findall(r">(n\d+\.txt)</a>", first.content.decode())
    assert (names[0], len(names)) == ("n000.txt", 49)  # and a subfolder
    second = guest.get(url + first.context["next_url"])
    remaining = re.findall(r">(n\d+\.txt)</a>", second.content.decode())
    assert names + remaining == [f"n{number:03}.txt" for number in range(60)]
    assert guest.get(f"{url}?after=nonsense").status_code == 404
    assert guest.get(f"{url}?sort=nonsense").status_code == 200
    newest = re.findall(r">(n\d+\.txt)</a>", guest.get(f"{url}?sort=-size").content.decode())
    assert len(newest) == 49


def test_folder_page_has_a_constant_number_of_queries(brand: Folder, alice: User, guest: Client) -> None:
    _link, url = share(brand, alice)
    counts = []
    for number in range(3):
        for name in range(number * 20):
            create_row(alice, State.AVAILABLE, name=f"{number}-{name}.txt", folder=brand)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert guest.get(url).status_code == 200
        counts.append(len(queries))
    assert counts[1] == counts[2]
    assert counts[2] <= 12


def test_cached_rows_contain_no_token(brand: Folder, alice: User, bucket: Bucket, guest: Client) -> None:
    factories.create_file(alice, bucket=bucket, name="in.txt", folder=brand)
    for url in (share(brand, alice)[1], share(brand, alice)[1]):
        text = guest.get(url).content.decode()
        assert url.split("/")[2] not in text


# --- selections -------------------------------------------------------------------------------


def test_selection_link_opens_only_its_files(
    brand: Folder, alice: User, bob: User, bucket: Bucket, guest: Client
) -> None:
    chosen = [
        factories.create_file(alice, bucket=bucket, name="a.txt", folder=brand),
        factories.create_file(bob, bucket=bucket, name="b.txt", folder=folder_named("Logos")),
    ]
    other = factories.create_file(alice, bucket=bucket, name="other.txt", folder=brand)
    link, url = share_selection(chosen, alice)
    text = guest.get(url).content.decode()
    assert "a.txt" in text
    assert "b.txt" in text
    for hidden in ("other.txt", "Brand", "Logos", "Secret", "bob"):
        assert hidden not in text
    assert [guest.get(f"{url}files/{file.permanent_id}/download").status_code for file in chosen] == [302, 302]
    assert guest.get(f"{url}files/{other.permanent_id}/download").status_code == 404
    assert guest.get(f"{url}folders/{brand.pk}/").status_code == 404
    assert zip_names(guest.get(f"{url}zip")) == ["a.txt", "b.txt"]
    shared = Event.objects.filter(action=Action.SHARE).values_list("file_id", flat=True)
    assert set(shared) == {file.permanent_id for file in chosen}
    assert link.name == "2 files"


def test_trashed_files_leave_a_selection_and_the_last_one_ends_it(alice: User, bucket: Bucket, guest: Client) -> None:
    files = [factories.create_file(alice, bucket=bucket, name=f"{name}.txt") for name in "ab"]
    _link, url = share_selection(files, alice)
    trash_files([files[0].permanent_id], by=alice)
    assert "a.txt" not in guest.get(url).content.decode()
    trash_files([files[1].permanent_id], by=alice)
    assert guest.get(url).status_code == 410
    assert guest.get(f"{url}zip").status_code == 410


def test_selection_is_shared_from_the_list(alice: User, as_alice: Client, bucket: Bucket, guest: Client) -> None:
    files = [factories.create_file(alice, bucket=bucket, name=f"{name}.txt") for name in "ab"]
    ticked = {"file": [str(file.permanent_id) for file in files], "next": "/?sort=name"}
    assert 'formaction="/files/share"' in as_alice.get("/").content.decode()
    page = as_alice.post("/files/share", ticked)
    assert page.status_code == 200
    assert dict(page.context["hidden"])["next"] == "/?sort=name"
    response = as_alice.post("/files/share", {**ticked, "days": "7", "go": "1"})
    match = re.search(r'value="http://testserver(/s/[^/]+/)"', response.content.decode())
    assert match
    assert guest.get(match[1]).status_code == 200
    assert as_alice.post("/files/share", {**ticked, "days": "0", "go": "1"}).status_code == 400
    assert as_alice.post("/files/share").status_code == 400
    assert as_alice.post("/files/share", {"file": "x"}).status_code == 400


def test_selection_of_one_file_becomes_a_file_link(alice: User, bucket: Bucket) -> None:
    file = factories.create_file(alice, bucket=bucket, name="a.txt")
    link, _url = share_selection([file], alice)
    assert (link.file, link.name) == (file.permanent_id, "a.txt")


def test_all_matching_files_can_be_shared(alice: User, as_alice: Client, brand: Folder) -> None:
    for name in "ab":
        create_row(alice, State.AVAILABLE, name=f"{name}.txt", folder=brand)
    data = {"all": "1", "query": "", "folder": str(brand.pk), "days": "7", "go": "1"}
    assert as_alice.post("/files/share", data).status_code == 200
    assert ShareLink.objects.get().files.count() == 2


def test_selection_with_a_file_that_cannot_be_shared_is_refused(
    alice: User, bob: User, as_alice: Client, brand: Folder
) -> None:
    mine = factories.create_file(alice)
    cases: dict[str, dict[str, Any]] = {"private": {"visibility": Visibility.PRIVATE}, "forbidden": {"folder": brand}}
    for name, facts in cases.items():
        Folder.objects.filter(pk=brand.pk).update(unshareable=True)
        other = factories.create_file(bob, name=name, **facts)
        data = {"file": [str(mine.permanent_id), str(other.permanent_id)], "days": "7", "go": "1"}
        response = as_alice.post("/files/share", data)
        assert response.status_code == 400
        assert "1 file can&#x27;t be shared." in response.content.decode()
    assert not ShareLink.objects.exists()


def test_share_button_requires_the_permission_to_share(
    alice: User, as_viewer: Client, as_alice: Client, settings: Any
) -> None:
    factories.create_file(alice)
    assert "/files/share" not in as_viewer.get("/").content.decode()
    assert "/files/share" in as_alice.get("/").content.decode()
    settings.SHARE_LINKS = False
    assert "/files/share" not in as_alice.get("/").content.decode()
