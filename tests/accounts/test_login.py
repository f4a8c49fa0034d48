"""Signing in and out: where it redirects, and what it does not reveal."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from tests.accounts.conftest import PASSWORD
from tests.conftest import signed_in

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"


def sign_in(client: Client, name: str = "alice", password: str = PASSWORD, **more: str):  # type: ignore[no-untyped-def]
    return client.post(LOGIN, {"username": name, "password": password, **more})


def test_signing_in_redirects_to_the_library(alice: User, client: Client) -> None:
    response = sign_in(client)
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert client.get("/").status_code == 200


def test_signing_in_redirects_to_the_requested_page(alice: User, client: Client) -> None:
    next_url = client.get("/upload/").headers["Location"]
    assert next_url == "/accounts/login/?next=/upload/"
    assert sign_in(client, next="/upload/").headers["Location"] == "/upload/"


def test_language_change_after_a_wrong_password_keeps_the_requested_page(alice: User, client: Client) -> None:
    page = sign_in(client, password="wrong", next="/upload/?folder=1").text
    match = re.search(r'id="languages".*?name="next" value="([^"]*)"', page, re.DOTALL)
    assert match
    response = client.post("/i18n/setlang/", {"language": "es", "next": unescape(match[1])}, follow=True)
    assert response.redirect_chain == [("/accounts/login/?next=%2Fupload%2F%3Ffolder%3D1", 302)]
    assert 'name="next" value="/upload/?folder=1"' in response.text


HOSTILE_URLS = [
    "https://evil.example/",
    "http://evil.example/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "https:///evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    " //evil.example",
    "\t//evil.example",
    "\x00//evil.example",
    "https://testserver@evil.example/",
    "https://testserver.evil.example/",
    "ftp://testserver/",
    "http://[",
]
HOSTILE_URLS_OF_EACH_KIND = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "\x00//evil.example",
]


@pytest.mark.parametrize("next_url", HOSTILE_URLS)
def test_signing_in_never_redirects_to_another_site(next_url: str, alice: User, client: Client) -> None:
    assert sign_in(client, next=next_url).headers["Location"] == "/"


@pytest.mark.parametrize("next_url", HOSTILE_URLS_OF_EACH_KIND)
def test_login_page_never_redirects_signed_in_users_to_another_site(next_url: str, alice: User) -> None:
    response = signed_in(alice).get(LOGIN, {"next": next_url})
    assert response.status_code == 400 if "\x00" in next_url else response.headers["Location"] == "/"


@pytest.mark.parametrize("next_url", HOSTILE_URLS_OF_EACH_KIND)
def test_signing_out_never_redirects_to_another_site(next_url: str, alice: User) -> None:
    response = signed_in(alice).post("/accounts/logout/", {"next": next_url})
    assert response.headers["Location"] in {LOGIN, "/accounts/logout/"}


def test_line_break_in_next_adds_no_header(alice: User, client: Client) -> None:
    response = sign_in(client, next="/x\r\nSet-Cookie: a=b")
    assert "\n" not in response.headers["Location"]
    assert "a" not in response.cookies


def test_wrong_password_and_unknown_name_get_the_same_response(alice: User, client: Client) -> None:
    wrong = sign_in(client, password="something else")
    unknown = sign_in(client, name="unknown", password="something else")
    assert wrong.status_code == unknown.status_code == 200
    assert wrong.context["form"].errors == unknown.context["form"].errors
    assert without_token(wrong.content, b"alice") == without_token(unknown.content, b"unknown")


def test_inactive_account_gets_the_response_of_a_wrong_password(alice: User, client: Client) -> None:
    wrong = sign_in(client, password="something else")
    User.objects.update(is_active=False)
    closed = sign_in(client)
    assert closed.context["form"].errors == wrong.context["form"].errors


def without_token(page: bytes, name: bytes) -> list[bytes]:
    return [line.replace(name, b"?") for line in page.splitlines() if b"csrfmiddlewaretoken" not in line]


def test_signing_in_creates_a_new_session(alice: User, client: Client) -> None:
    session = client.session
    session["planted"] = True
    session.save()
    before = session.session_key
    sign_in(client)
    assert client.session.session_key != before


def test_signing_out_requires_post_and_ends_the_session(alice: User) -> None:
    client = signed_in(alice)
    assert client.get("/accounts/logout/").status_code == 405
    assert Session.objects.count() == 1
    assert client.post("/accounts/logout/").headers["Location"] == LOGIN
    assert not Session.objects.exists()
    assert client.get("/").headers["Location"].startswith(LOGIN)


def test_session_cookie_is_useless_after_signing_out(alice: User) -> None:
    client, thief = signed_in(alice), Client()
    name = settings.SESSION_COOKIE_NAME
    thief.cookies[name] = client.cookies[name].value
    assert thief.get("/").status_code == 200
    client.post("/accounts/logout/")
    assert thief.get("/").status_code == 302


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver:80@evil.example", "", "a b"])
@pytest.mark.parametrize("path", ["/", LOGIN])
def test_unknown_host_is_a_bad_request(path: str, host: str, alice: User) -> None:
    response = signed_in(alice).get(path, headers={"Host": host})
    assert response.status_code == 400
    assert b"evil.example" not in response.content


def test_forwarded_host_is_ignored(alice: User) -> None:
    response = signed_in(alice).get(LOGIN, headers={"X-Forwarded-Host": "evil.example"})
    assert response.headers["Location"] == "/"


ODD_TEXTS = ["a\x00b", "\ud800", "x" * 200_000, "' OR 1=1 --", "\u202e", "%00", "{{7*7}}", "\r\n"]


@pytest.mark.parametrize("field", ["username", "password", "next"])
@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: repr(text[:10]))
def test_odd_input_is_refused(field: str, text: str, alice: User, client: Client) -> None:
    fields = {"username": "alice", "password": PASSWORD, "next": "/", field: text}
    body = urlencode(fields, errors="surrogatepass")
    response = client.post(LOGIN, body, "application/x-www-form-urlencoded")
    assert response.status_code == (302 if field == "next" else 200)
    assert response.headers.get("Location", "/") == "/"


def test_body_larger_than_any_form_is_refused_before_reading(alice: User, client: Client) -> None:
    assert sign_in(client, name="x" * 10_000_000).status_code == 413


def test_signing_in_updates_last_login(alice: User, client: Client) -> None:
    sign_in(client)
    alice.refresh_from_db()
    assert alice.last_login is not None
