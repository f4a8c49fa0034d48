"""URLs of previews and previous versions: permissions, expiry and browser caching."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support import factories
from tests.support.pictures import as_file, opened, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, s3, services
from uploads.models import Action, Event, File, Visibility

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=900)


@pytest.fixture
def photo(as_alice: Client, bucket: Bucket) -> File:
    return shown(UploadClient(as_alice).send(as_file(two_halves()), name="photo.png"))


def shown(file: File) -> File:
    services.make_previews(file)
    return file


def fetched(client: Client, url: str) -> urllib3.BaseHTTPResponse:
    response = client.get(url)
    assert response.status_code == 302, response.content
    assert set(response.headers["Cache-Control"].split(", ")) == {"private", "no-store"}
    return urllib3.request("GET", response.headers["Location"], redirect=False)


@pytest.mark.parametrize(("route", "width"), [("thumbnail", 320), ("preview", 640)])
def test_preview_image_has_its_type_and_cache_headers(photo: File, as_bob: Client, route: str, width: int) -> None:
    response = fetched(as_bob, reverse(route, args=[photo.pk]))
    assert (response.status, response.headers["Content-Type"]) == (200, "image/webp")
    assert response.headers["Content-Disposition"] == "inline"
    assert response.headers["Cache-Control"] == "private"
    expires = parsedate_to_datetime(response.headers["Expires"])
    assert timedelta(seconds=890) < expires - datetime.now(UTC) <= 2 * WINDOW
    assert opened(response.data).width == width


@pytest.mark.parametrize("route", ["thumbnail", "preview"])
def test_head_of_preview_has_the_headers_of_get(photo: File, as_bob: Client, route: str) -> None:
    url = reverse(route, args=[photo.pk])
    response, head = fetched(as_bob, url), as_bob.head(url)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(response.data)))
    assert head.headers["Content-Type"] == response.headers["Content-Type"] == "image/webp"


def test_preview_of_html_is_plain_text(as_alice: Client, bucket: Bucket) -> None:
    body = b"<html><script>alert(1)</script></html>"
    file = shown(UploadClient(as_alice).send(body, name="page.html", type="text/html"))
    response = fetched(as_alice, reverse("preview", args=[file.pk]))
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.data == body
    assert as_alice.get(reverse("thumbnail", args=[file.pk])).status_code == 404


@pytest.mark.parametrize("route", ["thumbnail", "preview"])
def test_preview_is_hidden_from_users_who_cannot_see_the_file(
    photo: File, as_bob: Client, as_charlie: Client, alice: User, as_alice: Client, route: str
) -> None:
    url = reverse(route, args=[photo.pk])
    assert as_charlie.get(url).status_code == 404
    File.objects.update(visibility=Visibility.PRIVATE)
    assert as_bob.get(url).status_code == 404
    actions.trash_file(photo, by=alice)
    assert as_alice.get(url).status_code == 404
    assert Client().get(url).headers["Location"].startswith(reverse("login"))


def test_pending_or_failed_preview_is_not_found(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = factories.create_file(alice, b"no picture", bucket=bucket, detected_type="image/png", category="image")
    url = reverse("preview", args=[file.pk])
    assert as_alice.get(url).status_code == 404
    services.make_previews(file)
    assert as_alice.get(url).status_code == 404


def url_at(moment: datetime) -> str:
    return s3.preview_url("p/" + "0" * 32, content_type="image/webp", now=moment)


def test_preview_url_is_stable_within_a_window() -> None:
    urls = {url_at(NOON + timedelta(seconds=after)) for after in (0, 1, 450, 899)}
    assert len(urls) == 1
    assert url_at(NOON + WINDOW) not in urls
    assert s3.preview_url("p/" + "1" * 32, content_type="image/webp", now=NOON) not in urls


def test_browser_cache_expires_with_the_preview_url() -> None:
    query = parse_qs(urlsplit(url_at(NOON)).query)
    assert query["X-Amz-Date"] == ["20261123T120000Z"]
    assert query["X-Amz-Expires"] == ["1800"]
    assert query["response-cache-control"] == ["private"]
    assert query["response-expires"] == ["Mon, 23 Nov 2026 12:30:00 GMT"]


def test_preview_url_expires(photo: File) -> None:
    key = photo.previews.first().key  # type: ignore[union-attr]
    now = datetime.now(UTC)
    for moment, good in ((now, True), (now - WINDOW, True), (now - 2 * WINDOW - timedelta(seconds=1), False)):
        url = s3.preview_url(key, content_type="image/webp", now=moment)
        assert (urllib3.request("GET", url).status == 200) == good
        assert urllib3.request("GET", url.replace("webp", "html")).status in {400, 403}


def test_the_url_never_outlives_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    end = NOON + timedelta(seconds=1000)
    urls = set()
    for after in (0, 100, 899):
        left = int((end - NOON).total_seconds() - after - 0.01)
        monkeypatch.setattr("uploads.s3.signing.seconds_of_credentials", lambda *_, limit, left=left: min(left, limit))
        urls.add(url_at(NOON + timedelta(seconds=after)))
    (url,) = urls
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["999"]
    assert query["response-expires"] == ["Mon, 23 Nov 2026 12:16:39 GMT"]


def test_storage_that_checks_signatures_accepts_the_url(digest_bucket: Bucket) -> None:
    key = "p/" + "2" * 32
    digest_bucket.write(key, b"RIFF")
    response = urllib3.request("GET", s3.preview_url(key, content_type="image/webp"))
    assert (response.status, response.data, response.headers["Content-Type"]) == (200, b"RIFF", "image/webp")


# --- previous versions and the audit log -------------------------------------------------


@pytest.fixture
def versions(as_alice: Client, bucket: Bucket) -> tuple[File, File]:
    """Return the previous and the current version of one file."""
    upload_client = UploadClient(as_alice)
    old = upload_client.send(b"old", name="report.txt")
    new = upload_client.send(b"new", name="report.txt", replaces=str(old.permanent_id))
    old.refresh_from_db()
    return old, new


def test_previous_version_can_be_downloaded(versions: tuple[File, File], as_bob: Client) -> None:
    old, new = versions
    for version, body in ((old, b"old"), (new, b"new")):
        response = fetched(as_bob, reverse("download_version", args=[new.permanent_id, version.pk]))
        assert response.data == body
        assert response.headers["Content-Disposition"] == 'attachment; filename="report.txt"'


def test_head_of_previous_version_has_its_size_and_adds_no_event(versions: tuple[File, File], as_bob: Client) -> None:
    old, new = versions
    head = as_bob.head(reverse("download_version", args=[new.permanent_id, old.pk]))
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(old.size))
    assert not Event.objects.filter(action=Action.DOWNLOAD).exists()


def test_version_of_another_or_a_hidden_file_is_not_found(
    versions: tuple[File, File], alice: User, as_bob: Client
) -> None:
    old, new = versions
    other = factories.create_file(alice)
    assert as_bob.get(reverse("download_version", args=[new.permanent_id, other.pk])).status_code == 404
    File.objects.update(visibility=Visibility.PRIVATE)
    assert as_bob.get(reverse("download_version", args=[new.permanent_id, old.pk])).status_code == 404


def downloads() -> list[Any]:
    return list(Event.objects.filter(action=Action.DOWNLOAD).order_by("id").values_list("actor", "file_id", "detail"))


def test_downloads_of_files_and_versions_are_recorded(versions: tuple[File, File], as_bob: Client) -> None:
    old, new = versions
    as_bob.get(reverse("download", args=[new.permanent_id]))
    as_bob.get(reverse("download_version", args=[new.permanent_id, old.pk]))
    as_bob.head(reverse("download", args=[new.permanent_id]))
    assert downloads() == [("bob", new.permanent_id, {}), ("bob", new.permanent_id, {"version": str(old.pk)})]


def test_repeated_inline_requests_are_recorded_once(photo: File, as_bob: Client) -> None:
    for _ in range(3):
        as_bob.get(reverse("download", args=[photo.pk]) + "?inline=1")
    assert downloads() == [("bob", photo.pk, {"shown": True})]


def test_page_of_file_with_pending_preview_polls(alice: User, as_alice: Client) -> None:
    coming = factories.create_file(alice, detected_type="image/png", category="image")
    never = factories.create_file(alice, detected_type="application/zip", category="archive")
    page = as_alice.get(coming.get_absolute_url()).text
    assert "Creating a preview." in page
    assert 'hx-trigger="load delay:3s"' in page
    page = as_alice.get(never.get_absolute_url()).text
    assert "No preview available for this type of file." in page
    assert "hx-trigger" not in page.split('id="preview"')[1].split("</section>")[0]


# --- tables and Markdown ----------------------------------------------------------------------


def test_csv_file_is_shown_as_a_table_in_a_sandboxed_frame(as_alice: Client, bucket: Bucket) -> None:
    file = shown(UploadClient(as_alice).send(b"name;size\n<b>x</b>;1,5\n", name="export.csv"))
    page = as_alice.get(file.get_absolute_url()).content.decode()
    url = reverse("preview_page", args=[file.pk])
    assert f'sandbox="allow-same-origin allow-popups allow-popups-to-escape-sandbox" src="{url}"' in page
    framed = as_alice.get(url)
    assert b'<td dir="auto">&lt;b&gt;x&lt;/b&gt;</td><td dir="auto">1,5</td>' in framed.content
    assert framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    policy = framed.headers["Content-Security-Policy"].split("; ")  # in any order
    assert "frame-ancestors 'self'" in policy
    assert "script-src 'self'" in policy


def test_markdown_is_shown_as_a_page_to_people_who_see_the_file(
    as_alice: Client, as_bob: Client, bucket: Bucket
) -> None:
    file = shown(UploadClient(as_alice).send(b"# Read me\n\nSome text.\n", name="README.md"))
    url = reverse("preview_page", args=[file.pk])
    assert b"<h1>Read me</h1>" in as_bob.get(url).content
    actions.set_visibility([file.pk], Visibility.PRIVATE, by=file.owner)
    assert as_bob.get(url).status_code == 404


def test_plain_text_has_no_preview_page(as_alice: Client, bucket: Bucket) -> None:
    file = shown(UploadClient(as_alice).send(b"just words\n", name="notes.txt"))
    assert as_alice.get(reverse("preview_page", args=[file.pk])).status_code == 404
