"""Share links with a password."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from tests.links.conftest import Shared
from uploads.models import File, Limit, ShareLink
from uploads.services import share_links

pytestmark = pytest.mark.django_db

PASSWORD = "a password of ours"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def enter(guest: Client, url: str, password: str) -> Any:
    return guest.post(f"{url}password", {"password": password})


def test_locked_link_shows_only_the_password_form(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, password=PASSWORD, note="The note")
    page = f"files/{file.permanent_id}/"
    for path, status in [("", 200), ("download", 403), (page, 403), ("zip", 403), (f"{page}preview", 403),
                         (f"{page}download", 403)]:  # fmt: skip
        response = guest.get(url + path)
        text = response.content.decode()
        assert response.status_code == status
        assert 'name="password"' in text
        assert "press kit" not in text
        assert "The note" not in text
        assert "alice" not in text
    link.refresh_from_db()
    assert link.use_count == 0
    assert PASSWORD not in link.password


def test_correct_password_sets_a_cookie_for_this_link_only(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, password=PASSWORD)
    _other, other_url = shared(file, password=PASSWORD)
    response = enter(guest, url, PASSWORD)
    assert (response.status_code, response["Location"]) == (302, url)
    cookie = response.cookies[settings.SHARE_COOKIE_NAME]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (url, True, "Lax")
    assert "press kit.pdf" in guest.get(url).content.decode()
    assert guest.get(f"{url}download").status_code == 302
    guest.cookies[settings.SHARE_COOKIE_NAME]["path"] = "/"
    assert guest.get(f"{other_url}download").status_code == 403


def test_wrong_password_is_an_error_below_the_field(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, password=PASSWORD)
    for wrong, status in [("wrong", 403), ("", 400), ("x" * 200, 400), (f"{PASSWORD} ", 403)]:
        response = enter(guest, url, wrong)
        assert response.status_code == status
        assert settings.SHARE_COOKIE_NAME not in response.cookies
        assert 'class="field-error"' in response.content.decode()


def test_wrong_passwords_are_throttled_by_address_and_link(
    file: File, shared: Shared, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _link, url = shared(file, password=PASSWORD)
    assert [enter(guest, url, "wrong").status_code for _each in range(6)] == [403] * 5 + [429]
    assert enter(guest, url, PASSWORD).status_code == 429  # the correct password gets the same response
    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    assert enter(elsewhere, url, PASSWORD).status_code == 302
    monkeypatch.setattr(share_links, "LINK_LIMIT", Limit(capacity=5, refill_seconds=10, shared=True))
    response = enter(Client(REMOTE_ADDR="203.0.113.10"), url, PASSWORD)
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0


def test_changed_password_invalidates_earlier_cookies(file: File, shared: Shared, guest: Client) -> None:
    link, url = shared(file, password=PASSWORD)
    enter(guest, url, PASSWORD)
    ShareLink.objects.filter(pk=link.pk).update(password="md5$other$x")
    assert guest.get(f"{url}download").status_code == 403


@pytest.mark.parametrize("cookie", ["", "x", "a:b:c", "é"])
def test_forged_cookie_does_not_unlock_the_link(cookie: str, file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, password=PASSWORD)
    guest.cookies[settings.SHARE_COOKIE_NAME] = cookie
    assert guest.get(f"{url}download").status_code == 403


def test_programs_can_send_the_password_as_basic_authentication(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file, password=PASSWORD)

    def get(credentials: bytes) -> int:
        value = f"Basic {base64.b64encode(credentials).decode()}"
        return guest.get(f"{url}download", headers={"Authorization": value}).status_code

    assert get(f":{PASSWORD}".encode()) == 302
    assert get(b":wrong") == 403
    assert get(b"\xff") == 403
    assert guest.get(f"{url}download", headers={"Authorization": "Basic !!"}).status_code == 403
    assert guest.get(f"{url}download", headers={"Authorization": "Bearer x"}).status_code == 403


def test_password_for_a_link_without_one_redirects_to_its_page(file: File, shared: Shared, guest: Client) -> None:
    _link, url = shared(file)
    response = enter(guest, url, "x")
    assert (response.status_code, response["Location"]) == (302, url)
    assert dict(response.cookies) == {}


def test_password_form_requires_a_csrf_token(file: File, shared: Shared) -> None:
    _link, url = shared(file, password=PASSWORD)
    stranger = Client(enforce_csrf_checks=True)
    assert enter(stranger, url, PASSWORD).status_code == 403
    token = stranger.get(url).context["csrf_token"]
    response = stranger.post(f"{url}password", {"password": PASSWORD, "csrfmiddlewaretoken": str(token)})
    assert response.status_code == 302
