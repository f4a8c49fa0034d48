"""A share link to one file: its page, preview and download, without an account."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
import urllib3
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from tests.conftest import signed_in
from tests.links.conftest import Shared
from tests.support import factories
from tests.support.stores import Bucket
from uploads.actions import restore_files, trash_files
from uploads.errors import Forbidden
from uploads.models import Action, Event, File, Folder, Preview, PreviewKind, PreviewState, ShareLink, Visibility
from uploads.models.links import token_digest
from uploads.models.querysets import seconds_from_now
from uploads.services import files, folders, share_links

pytestmark = pytest.mark.django_db


def fetched(response: Any) -> bytes:
    """Return the bytes that a redirect leads to."""
    return urllib3.request("GET", response["Location"], redirect=False).data


def events(link: ShareLink) -> list[Event]:
    return list(Event.objects.filter(action=Action.DOWNLOAD, detail__share_link=link.pk))


# --- pages and downloads ----------------------------------------------------------------------


def test_page_shows_the_shared_file_and_sets_no_cookie(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, note="For the <press>")
    response = guest.get(url)
    text = response.content.decode()
    assert response.status_code == 200
    assert "press kit.pdf" in text
    assert file.checksum_hex in text
    assert "5" in text
    assert "For the &lt;press&gt;" in text
    assert 'href="download"' in text
    assert dict(response.cookies) == {}


def test_links_stay_out_of_caches_search_engines_and_referrers(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    for path in (url, f"{url}download", "/s/unknown/", f"{url}nothing/here", f"{url}password"):
        response = guest.get(path)
        headers = [response[name] for name in ("X-Robots-Tag", "Referrer-Policy", "Cache-Control")]
        assert headers == ["noindex, nofollow", "no-referrer", "private, no-store"]


def test_download_redirects_to_the_bytes_and_is_recorded(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file)
    response = guest.get(f"{url}download")
    assert response.status_code == 302
    assert fetched(response) == b"hello"
    link.refresh_from_db()
    assert link.use_count == 1
    assert link.last_used_at is not None
    (event,) = events(link)
    assert (event.actor, event.actor_id, event.file_id) == (f"share link {link.pk}", None, file.permanent_id)
    assert event.address == "127.0.0.1"


def test_shared_file_is_also_available_by_its_id(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    assert guest.get(f"{url}files/{file.permanent_id}/").status_code == 200
    assert guest.get(f"{url}files/{file.permanent_id}/download").status_code == 302


def test_head_requests_and_pages_do_not_count_as_downloads(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, max_downloads=1)
    head = guest.head(f"{url}download")
    assert (head.status_code, head["Content-Length"], head["Accept-Ranges"]) == (200, "5", "bytes")
    assert "press kit.pdf" in head["Content-Disposition"]
    for _each in range(3):
        assert guest.get(url).status_code == guest.head(url).status_code == 200
    link.refresh_from_db()
    assert (link.use_count, events(link)) == (0, [])


def test_preview_of_the_file_is_shown(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    Preview.objects.create(
        file=file, kind=PreviewKind.PICTURE, state=PreviewState.READY, width=8, height=8, lease_until=timezone.now()
    )  # fmt: skip
    response = guest.get(url)
    text = response.content.decode()
    assert f'src="files/{file.permanent_id}/preview"' in text
    assert f'property="og:image" content="http://testserver{url}files/{file.permanent_id}/preview"' in text
    assert f'href="files/{file.permanent_id}/download?inline=1"' in text
    assert guest.get(f"{url}files/{file.permanent_id}/preview").status_code == 302
    inline = guest.get(f"{url}files/{file.permanent_id}/download?inline=1")
    assert "inline" in inline["Location"]


def test_views_of_the_file_in_the_browser_are_recorded_but_not_counted(
    file: File, shared: Shared, guest: Client
) -> None:
    link, url = shared(file)
    for _each in range(2):
        assert guest.get(f"{url}files/{file.permanent_id}/download?inline=1").status_code == 302
    link.refresh_from_db()
    assert link.use_count == 0
    assert [event.detail for event in events(link)] == [{"shown": True, "share_link": link.pk}]


def test_link_serves_the_current_or_the_pinned_version(
    alice: User, bucket: Bucket, shared: Shared, guest: Client
) -> None:
    first = factories.create_file(alice, b"first", bucket=bucket, series=uuid.uuid4())
    _link, current_url = shared(first)
    pinned, pinned_url = shared(first, version=first.pk)
    File.objects.filter(pk=first.pk).update(current=False)
    factories.create_file(alice, b"second", bucket=bucket, series=first.series)
    bodies = [fetched(guest.get(f"{url}download")) for url in (current_url, pinned_url)]
    assert bodies == [b"second", b"first"]
    assert events(pinned)[0].detail["version"] == str(first.pk)
    assert "First" not in guest.get(current_url).content.decode()


def test_quarantined_version_is_not_served(alice: User, bucket: Bucket, shared: Shared, guest: Client) -> None:
    first = factories.create_file(alice, b"first", bucket=bucket, series=uuid.uuid4())
    _link, url = shared(first, version=first.pk)
    File.objects.filter(pk=first.pk).update(current=False)
    factories.create_file(alice, b"second", bucket=bucket, series=first.series)
    assert guest.get(f"{url}download").status_code == 302
    File.objects.filter(pk=first.pk).update(quarantined=True, scan_status="infected")
    assert [guest.get(url + path).status_code for path in ("", "download", "zip")] == [410] * 3


# --- ended links ------------------------------------------------------------------------------


def assert_ended(guest: Client, url: str, *, whom: str = "Ask alice for a new one.") -> None:
    for path in (url, f"{url}download"):
        response = guest.get(path)
        assert response.status_code == 410
        assert whom in response.content.decode()
        assert guest.head(path).status_code == 410


def test_expired_link_is_gone(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file)
    ShareLink.objects.filter(pk=link.pk).update(expires_at=seconds_from_now(-1))
    assert_ended(guest, url)
    assert "This link has expired." in guest.get(url).content.decode()


@pytest.mark.parametrize("years", [-10, 10])
def test_clock_of_the_web_server_does_not_matter(
    years: int, file: File, shared: Shared, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_link, url), (expired, expired_url) = shared(file), shared(file)
    ShareLink.objects.filter(pk=expired.pk).update(expires_at=seconds_from_now(-1))
    wrong = timezone.now() + timedelta(days=365 * years)
    monkeypatch.setattr(timezone, "now", lambda: wrong)
    assert [guest.get(each).status_code for each in (url, f"{url}download", expired_url)] == [200, 302, 410]


def test_revoked_link_is_gone(file: File, alice: User, shared: Shared, guest: Client) -> None:
    link, url = shared(file)
    assert share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=alice) == 1
    assert share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=alice) == 0
    assert_ended(guest, url)
    assert "This link was revoked." in guest.get(url).content.decode()


def test_used_up_link_is_gone(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, max_downloads=2)
    assert "2 downloads left" in guest.get(url).content.decode()
    assert [guest.get(f"{url}download").status_code for _each in range(3)] == [302, 302, 410]
    assert_ended(guest, url)
    link.refresh_from_db()
    assert (link.use_count, len(events(link))) == (2, 2)


@pytest.mark.parametrize("path", ["", "files/{file}/", "files/{file}/preview", "files/{file}/thumbnail", "zip"])
def test_range_header_opens_no_page_of_a_used_up_link(path: str, file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, max_downloads=1)
    assert guest.get(f"{url}download").status_code == 302
    response = guest.get(url + path.format(file=file.permanent_id), headers={"Range": "bytes=0-"})
    assert response.status_code == 410
    assert file.name not in response.content.decode()


def test_link_ends_in_trash_and_works_after_restore(file: File, alice: User, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    trash_files([file.permanent_id], by=alice)
    assert_ended(guest, url)
    restore_files([file.permanent_id], by=alice)
    assert guest.get(f"{url}download").status_code == 302


def test_link_ends_when_its_creator_loses_access(
    file: File, alice: User, bob: User, admin_user: User, shared: Shared, guest: Client
) -> None:
    _link, url = shared(file, by=bob)
    assert guest.get(url).status_code == 200
    File.objects.filter(pk=file.pk).update(visibility=Visibility.PRIVATE)
    assert_ended(guest, url, whom="Ask bob")


def test_link_ends_when_its_file_moves_to_a_folder_hidden_from_the_creator(
    file: File, alice: User, bob: User, shared: Shared, guest: Client
) -> None:
    _link, bobs = shared(file, by=bob)
    _link, alices = shared(file, by=alice)
    closed = Folder.objects.create(name="Closed", restricted=True, created_by=alice)
    File.objects.filter(pk=file.pk).update(folder=closed)
    assert_ended(guest, bobs, whom="Ask bob")
    assert guest.get(alices).status_code == 200  # alice's own file


def test_link_ends_without_the_permission_to_share(file: File, alice: User, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    alice.groups.clear()
    assert_ended(guest, url)


def test_link_of_an_inactive_creator_ends_without_naming_them(
    file: File, alice: User, shared: Shared, guest: Client
) -> None:
    _link, url = shared(file)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert_ended(guest, url, whom="Ask the person who sent it to you for a new one.")


def test_links_of_a_deleted_creator_are_unknown(
    file: File, bob: User, shared: Shared, guest: Client
) -> None:  # fmt: skip
    _link, url = shared(file, by=bob)
    bob.delete()
    assert guest.get(url).status_code == 404


def test_links_end_when_sharing_is_turned_off(
    file: File, alice: User, shared: Shared, guest: Client, settings: Settings
) -> None:
    _link, url = shared(file)
    settings.SHARE_LINKS = False
    assert_ended(guest, url)


def test_forbidding_links_in_a_folder_ends_links_at_any_depth(
    alice: User, manager: User, shared: Shared, guest: Client
) -> None:
    tree = folders.ensure(["Brand/Logos"], by=alice)
    logos = tree["Brand/Logos"]
    file = factories.create_file(alice, folder=logos)
    _link, url = shared(file)
    assert guest.get(url).status_code == 200
    brand = Folder.objects.get(name="Brand")
    share_links.set_folder_sharing(brand, allowed=False, by=manager)
    assert_ended(guest, url)
    with pytest.raises(Forbidden):
        shared(file)
    share_links.set_folder_sharing(brand, allowed=True, by=manager)
    assert guest.get(url).status_code == 200


# --- disclosure -------------------------------------------------------------------------------


def test_page_reveals_nothing_else(alice: User, bob: User, bucket: Bucket, shared: Shared, guest: Client) -> None:
    alice.email = "alice@example.org"
    alice.save()
    secret = folders.ensure(["Secret project"], by=alice)["Secret project"]
    file = factories.create_file(
        alice, b"second", bucket=bucket, name="plan.txt", folder=secret, series=uuid.uuid4()
    )  # fmt: skip
    old = factories.create_file(alice, b"first", bucket=bucket, name="draft.txt", series=file.series, current=False)
    files.rename(file, "final.txt", by=alice)
    _link, url = shared(file)
    signed_in(bob).get(f"/files/{file.permanent_id}/download")
    text = guest.get(url).content.decode()
    for hidden in ("Secret project", "alice@example.org", "draft.txt", "plan.txt", "bob", str(old.pk), file.key):
        assert hidden not in text
    for path in (
        f"{url}files/{old.pk}/",
        f"{url}files/{old.pk}/download",
        f"/files/{file.permanent_id}/",
        f"{url}zip/../",
    ):
        assert guest.get(path).status_code in {302, 404}
    assert guest.get(f"{url}files/{old.pk}/download").status_code == 404
    assert guest.get(f"/files/{file.permanent_id}/download")["Location"].startswith("/accounts/login/")


def test_username_that_is_an_email_address_is_hidden(file: File, alice: User, shared: Shared, guest: Client) -> None:
    User.objects.filter(pk=alice.pk).update(username="alice@example.org")
    _link, url = shared(file)
    assert "alice" not in guest.get(url).content.decode()
    User.objects.filter(pk=alice.pk).update(first_name="Alice", last_name="Doe")
    assert "Shared by Alice Doe." in guest.get(url).content.decode()


def test_other_files_are_not_part_of_a_link(file: File, alice: User, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    other = factories.create_file(alice)
    for path in ("", "download", "preview", "thumbnail"):
        assert guest.get(f"{url}files/{other.permanent_id}/{path}").status_code == 404
    assert guest.get(f"{url}folders/1/").status_code == 404


def test_view_only_link_allows_no_downloads(
    file: File, shared: Shared, guest: Client
) -> None:  # fmt: skip
    link, url = shared(file, view_only=True)
    text = guest.get(url).content.decode()
    assert "download" not in text.replace("downloads are turned off", "")
    for path in (
        "download",
        f"files/{file.permanent_id}/download",
        f"files/{file.permanent_id}/download?inline=1",
        "zip",
    ):
        assert guest.get(url + path).status_code == 403
        assert guest.head(url + path).status_code == 403
    Preview.objects.create(
        file=file, kind=PreviewKind.PICTURE, state=PreviewState.READY, lease_until=timezone.now()
    )  # fmt: skip
    assert guest.get(f"{url}files/{file.permanent_id}/preview").status_code == 302
    link.refresh_from_db()
    assert link.use_count == 0


def test_inline_view_of_a_limited_link_counts_as_download(file: File, shared: Shared, guest: Client) -> None:
    """An inline view in the browser transfers the whole file."""
    link, url = shared(file, max_downloads=1)
    assert "inline" not in guest.get(url).content.decode()
    assert guest.get(f"{url}files/{file.permanent_id}/download?inline=1").status_code == 302
    link.refresh_from_db()
    assert link.use_count == 1


# --- tokens -----------------------------------------------------------------------------------


def test_database_holds_only_a_digest_of_the_token(file: File, shared: Shared) -> None:
    link, url = shared(file)
    token = url.split("/")[2]
    assert len(token) == 32
    assert bytes(link.token_digest) == token_digest(token)
    rows = str(factories.database_rows())
    assert token not in rows


@pytest.mark.parametrize("token", ["x", "a" * 32, "é" * 32, "a" * 5000, "%2e%2e", "..", "a b", "%F0%9F%98%80"])
def test_unknown_token_is_not_found(token: str, guest: Client, db: None) -> None:
    response = guest.get(f"/s/{token}/")
    assert response.status_code == 404
    assert response.status_code == guest.get(f"/s/{token}/download").status_code


def test_unknown_tokens_are_throttled_by_address_without_queries(
    file: File, shared: Shared, guest: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _link, url = shared(file)
    assert {guest.get(f"/s/{'a' * 32}/").status_code for _each in range(20)} == {404}
    with django_assert_num_queries(0):
        response = guest.get(f"/s/{'b' * 32}/")
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert guest.get(url, REMOTE_ADDR="203.0.113.9").status_code == 200


def test_download_takes_three_queries(
    file: File, shared: Shared, guest: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _link, url = shared(file)
    guest.get(f"{url}download")
    with django_assert_num_queries(3):  # link with creator and permissions, file, count and event in one
        guest.get(f"{url}download")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_other_methods_are_refused(method: str, file: File, shared: Shared) -> None:
    _link, url = shared(file)
    guest = Client(enforce_csrf_checks=True)
    send: Any = getattr(guest, method)
    assert [send(url + path).status_code for path in ("", "download", "zip")] == [405] * 3
    assert guest.get(f"{url}password").status_code == 405


@pytest.mark.parametrize("path", ["nothing", "download/", "files/x/"])
def test_unknown_page_of_a_link_says_so_without_leading_to_the_library(
    path: str, file: File, shared: Shared, guest: Client
) -> None:
    _link, url = shared(file)
    response = guest.get(url + path)
    text = response.content.decode()
    assert (response.status_code, "Check that you copied the whole link." in text) == (404, True)
    assert "Go to library" not in text


# --- link previews ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user_agent",
    [
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "TelegramBot (like TwitterBot)",
        "WhatsApp/2.23.20.0",
        "facebookexternalhit/1.1 Facebot Twitterbot/1.0",  # of iMessage
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",  # of Teams
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
        "Synapse (bot; +https://github.com/matrix-org/synapse)",
    ],
)
@pytest.mark.parametrize("path", ["download", "files/{file}/download", "zip"])
def test_link_preview_of_a_download_is_led_to_its_page_and_does_not_count(
    path: str, user_agent: str, file: File, shared: Shared, guest: Client
) -> None:
    link, url = shared(file, max_downloads=1)
    headers = {"User-Agent": user_agent, "Range": "bytes=0-32768"}
    response = guest.get(url + path.format(file=file.permanent_id), headers=headers)
    assert (response.status_code, response["Location"]) == (302, "./")
    link.refresh_from_db()
    assert (link.use_count, events(link)) == (0, [])


@pytest.mark.parametrize("user_agent", ["curl/8.5.0", "Mozilla/5.0 (Linux; Android 9; CUBOT X20 PRO) Chrome/120", ""])
def test_other_user_agents_download(user_agent: str, file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    response = guest.get(f"{url}download", headers={"User-Agent": user_agent})
    assert fetched(response) == b"hello"


# --- ranges -----------------------------------------------------------------------------------


def test_ranges_of_a_granted_download_do_not_count_again(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, max_downloads=1)
    assert guest.get(f"{url}download", headers={"Range": "bytes=0-"}).status_code == 302
    for _each in range(3):
        assert guest.get(f"{url}download", headers={"Range": "bytes=2-3"}).status_code == 302
    assert guest.get(f"{url}download").status_code == 410
    elsewhere = guest.get(f"{url}download", headers={"Range": "bytes=2-3"}, REMOTE_ADDR="203.0.113.9")
    assert elsewhere.status_code == 410
    link.refresh_from_db()
    assert link.use_count == 1


def test_range_of_a_new_version_counts(alice: User, bucket: Bucket, shared: Shared, guest: Client) -> None:
    file = factories.create_file(alice, b"first", bucket=bucket)
    link, url = shared(file, max_downloads=2)
    ranges = {"Range": "bytes=2-3"}
    assert guest.get(f"{url}download").status_code == 302
    assert guest.get(f"{url}download", headers=ranges).status_code == 302
    File.objects.filter(pk=file.pk).update(current=False, series=file.pk)
    second = factories.create_file(alice, b"second", bucket=bucket, series=file.pk)
    counts = []
    for _each in range(2):
        assert fetched(guest.get(f"{url}download", headers=ranges)) == b"second"
        link.refresh_from_db()
        counts.append(link.use_count)
    assert counts == [2, 2]
    File.objects.filter(pk=second.pk).update(current=False)
    factories.create_file(alice, b"third", bucket=bucket, series=file.pk)
    assert guest.get(f"{url}download", headers=ranges).status_code == 410


def test_uncounted_ranges_end_with_the_presigned_url(
    file: File, shared: Shared, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:

    _link, url = shared(file, max_downloads=1)
    guest.get(f"{url}download")
    monkeypatch.setattr(share_links, "DOWNLOAD_SECONDS", -timedelta(minutes=1).total_seconds())
    assert guest.get(f"{url}download", headers={"Range": "bytes=2-3"}).status_code == 410


def test_zip_of_one_file_counts_as_one_download(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, max_downloads=1)
    head = guest.head(f"{url}zip")
    assert head.status_code == 200
    response = guest.get(f"{url}zip")
    assert len(response.getvalue()) == int(head["Content-Length"])
    assert guest.get(f"{url}zip").status_code == 410
    assert [event.detail for event in events(link)] == [{"zip": True, "share_link": link.pk}]
