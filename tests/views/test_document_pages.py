"""The pages of a document: who may open them, and what the page of the file shows."""

from __future__ import annotations

import pytest
import urllib3
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support.pictures import as_file, document, number_of_page, opened, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, services
from uploads.models import File, Preview, PreviewKind, PreviewState, ScanStatus, ShareLink, Visibility
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def report(as_alice: Client, bucket: Bucket) -> File:
    return with_pages(UploadClient(as_alice).send(document(4, broken=[3]), name="report.pdf"))


def with_pages(file: File) -> File:
    services.make_previews(file)
    services.make_pages(file)
    return file


def fetched_page(client: Client, url: str) -> int:
    """Return the number of the page that this URL leads to."""
    response = client.get(url)
    assert response.status_code == 302, response.content
    return number_of_page(opened(urllib3.request("GET", response["Location"], redirect=False).data))


def test_each_page_has_a_url(report: File, as_bob: Client) -> None:
    url = reverse("preview", args=[report.pk])
    assert [fetched_page(as_bob, url + query) for query in ("", "?page=1", "?page=2", "?page=4")] == [1, 1, 2, 4]
    head = as_bob.head(url + "?page=2")
    size = Preview.objects.get(file=report, page=2).size
    assert (head.status_code, head["Content-Type"], head["Content-Length"]) == (200, "image/webp", str(size))


@pytest.mark.parametrize("page", ["3", "5", "0", "-1", "02", "x", "", "1.5", "٢", "999", "1000", "9" * 50])
def test_invalid_or_missing_page_is_not_found(report: File, as_bob: Client, page: str) -> None:
    assert as_bob.get(reverse("preview", args=[report.pk]), {"page": page}).status_code == 404


def test_page_is_hidden_from_users_who_cannot_see_the_file(
    report: File, alice: User, as_alice: Client, as_bob: Client, as_charlie: Client
) -> None:
    url = reverse("preview", args=[report.pk]) + "?page=2"
    assert as_charlie.get(url).status_code == 404
    assert Client().get(url)["Location"].startswith(reverse("login"))
    File.objects.update(visibility=Visibility.PRIVATE)
    assert as_bob.get(url).status_code == 404
    File.objects.update(scan_status=ScanStatus.INFECTED, quarantined=True)
    assert as_alice.get(url).status_code == 409
    assert "?page=" not in as_alice.get(report.get_absolute_url()).text
    File.objects.update(scan_status="", quarantined=False)
    actions.trash_file(report, by=alice)
    assert as_alice.get(url).status_code == 404


def test_page_of_a_document_shows_its_pages(report: File, as_bob: Client) -> None:
    page = as_bob.get(report.get_absolute_url()).text
    url = reverse("preview", args=[report.pk])
    assert [f'src="{url}?page={number}"' in page for number in (1, 2, 3, 4)] == [True, True, False, True]
    assert page.count("This page can't be displayed.") == 1
    assert "Page 3 of 4" in page
    assert page.count('loading="lazy"') == 2
    assert "The preview shows" not in page


def test_last_pages_that_cannot_be_displayed_are_only_counted(report: File, as_bob: Client) -> None:
    Preview.objects.filter(page__gte=3).update(state=PreviewState.FAILED)
    page = as_bob.get(report.get_absolute_url()).text
    assert "Page 2 of 4" in page
    assert "Page 3 of 4" not in page
    assert "The preview shows pages 1 to 2 of 4." in page
    Preview.objects.filter(page__gte=2).update(state=PreviewState.FAILED)
    page = as_bob.get(report.get_absolute_url()).text
    assert "<figure" not in page
    assert "The preview shows page 1 of 4." in page


def test_page_polls_while_pages_are_waiting(as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(document(2), name="report.pdf")
    services.make_previews(file)
    url = file.get_absolute_url()
    page = as_alice.get(url).text
    assert "Page 1 of 2. Creating previews of the other pages." in page
    assert f'hx-get="{url}?pages=waiting"' in page
    assert as_alice.get(url, {"pages": "waiting"}).status_code == 204
    services.make_pages(file)
    assert "Page 2 of 2" in as_alice.get(url, {"pages": "waiting"}).text


def test_previews_without_pages_look_as_before(as_alice: Client, bucket: Bucket) -> None:
    upload = UploadClient(as_alice)
    single = with_pages(upload.send(document(1), name="single.pdf"))
    photo = with_pages(upload.send(as_file(two_halves()), name="photo.png"))
    older = with_pages(upload.send(document(3), name="older.pdf"))
    Preview.objects.filter(file=older, kind=PreviewKind.PAGE).delete()
    Preview.objects.filter(file=older).update(page_count=None)
    for file in (single, photo, older):
        page = as_alice.get(file.get_absolute_url()).text
        assert f'src="{file.get_absolute_url()}preview"' in page
        assert "Page 1" not in page
        assert "pages" not in page.split('id="preview"')[1].split("</section>")[0]


def test_share_link_opens_the_pages_of_its_file_only(report: File, alice: User, as_alice: Client) -> None:
    other = with_pages(UploadClient(as_alice).send(document(2), name="other.pdf"))
    link, token = share_links.share_file(report, ShareOptions(days=7, view_only=True), by=alice)
    guest, url = Client(), f"/s/{token}/"
    page = guest.get(url).text
    assert f'src="files/{report.pk}/preview?page=2"' in page
    assert "Page 4 of 4" in page
    assert fetched_page(guest, f"{url}files/{report.pk}/preview?page=2") == 2
    assert guest.get(f"{url}files/{report.pk}/preview?page=3").status_code == 404
    assert guest.get(f"{url}files/{report.pk}/preview?page=x").status_code == 404
    assert guest.get(f"{url}files/{other.pk}/preview?page=2").status_code == 404
    share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=alice)
    assert guest.get(f"{url}files/{report.pk}/preview?page=2").status_code == 410
