"""Signing in and out: where it leads, and what it does not tell."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from tests.conftest import signed_in

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
PASSWORD = "a long word of its own"


@pytest.fixture
def erin(roles: None) -> User:
    return User.objects.create_user("erin", password=PASSWORD)


def sign_in(client: Client, name: str = "erin", password: str = PASSWORD, **more: str):  # type: ignore[no-untyped-def]
    return client.post(LOGIN, {"username": name, "password": password, **more})


def test_signing_in_leads_to_the_library(erin: User, client: Client) -> None:
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert client.get("/").status_code == 200


def test_signing_in_leads_back_to_where_one_wanted_to_go(erin: User, client: Client) -> None:
    wanted = client.get("/upload/").headers["Location"]
    assert wanted == "/accounts/login/?next=/upload/"
    assert sign_in(client, next="/upload/").headers["Location"] == "/upload/"


HOSTILE = [
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


@pytest.mark.parametrize("wanted", HOSTILE)
def test_signing_in_never_leads_elsewhere(wanted: str, erin: User, client: Client) -> None:
    assert sign_in(client, next=wanted).headers["Location"] == "/"


@pytest.mark.parametrize("wanted", HOSTILE)
def test_who_is_signed_in_is_not_led_elsewhere_either(wanted: str, erin: User) -> None:
    answer = signed_in(erin).get(LOGIN, {"next": wanted})
    assert answer.status_code == 400 if "\x00" in wanted else answer.headers["Location"] == "/"


@pytest.mark.parametrize("wanted", HOSTILE)
def test_signing_out_never_leads_elsewhere(wanted: str, erin: User) -> None:
    answer = signed_in(erin).post("/accounts/logout/", {"next": wanted})
    assert answer.headers["Location"] in {LOGIN, "/accounts/logout/"}


def test_a_line_break_in_next_stays_in_the_line(erin: User, client: Client) -> None:
    answer = sign_in(client, next="/x\r\nSet-Cookie: a=b")
    assert "\n" not in answer.headers["Location"]
    assert "a" not in answer.cookies


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(erin: User, client: Client) -> None:
    wrong = sign_in(client, password="something else")
    unknown = sign_in(client, name="nobody", password="something else")
    assert wrong.status_code == unknown.status_code == 200
    assert wrong.context["form"].errors == unknown.context["form"].errors
    assert without_token(wrong.content, b"erin") == without_token(unknown.content, b"nobody")


def test_a_closed_account_gets_the_answer_of_a_wrong_password(erin: User, client: Client) -> None:
    wrong = sign_in(client, password="something else")
    User.objects.update(is_active=False)
    closed = sign_in(client)
    assert closed.context["form"].errors == wrong.context["form"].errors


def without_token(page: bytes, name: bytes) -> list[bytes]:
    return [line.replace(name, b"?") for line in page.splitlines() if b"csrfmiddlewaretoken" not in line]


def test_signing_in_makes_a_new_session(erin: User, client: Client) -> None:
    session = client.session
    session["planted"] = True
    session.save()
    before = session.session_key
    sign_in(client)
    assert client.session.session_key != before


def test_signing_out_takes_a_post_and_ends_the_session(erin: User) -> None:
    client = signed_in(erin)
    assert client.get("/accounts/logout/").status_code == 405
    assert Session.objects.count() == 1
    assert client.post("/accounts/logout/").headers["Location"] == LOGIN
    assert not Session.objects.exists()
    assert client.get("/").headers["Location"].startswith(LOGIN)


def test_an_old_cookie_is_worth_nothing_after_signing_out(erin: User) -> None:
    client, thief = signed_in(erin), Client()
    name = settings.SESSION_COOKIE_NAME
    thief.cookies[name] = client.cookies[name].value
    assert thief.get("/").status_code == 200
    client.post("/accounts/logout/")
    assert thief.get("/").status_code == 302


def test_a_new_password_ends_the_other_sessions(erin: User) -> None:
    client = signed_in(erin)
    erin.set_password("quite another one")
    erin.save()
    assert client.get("/").status_code == 302


@pytest.mark.parametrize("path", ["/", LOGIN, "/uploads/", "/files/00000000-0000-0000-0000-000000000000/", "/admin/"])
@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver:80@evil.example", "", "a b"])
def test_another_host_is_a_bad_request(path: str, host: str, erin: User) -> None:
    answer = signed_in(erin).get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert b"evil.example" not in answer.content


def test_a_forwarded_host_is_not_believed(erin: User) -> None:
    answer = signed_in(erin).get(LOGIN, headers={"X-Forwarded-Host": "evil.example"})
    assert answer.headers["Location"] == "/"


ODD = ["a\x00b", "\ud800", "x" * 200_000, "' OR 1=1 --", "\u202e", "%00", "{{7*7}}", "\r\n"]


@pytest.mark.parametrize("field", ["username", "password", "next"])
@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:10]))
def test_odd_input_is_refused_and_breaks_nothing(field: str, text: str, erin: User, client: Client) -> None:
    sent = {"username": "erin", "password": PASSWORD, "next": "/", field: text}
    body = urlencode(sent, errors="surrogatepass")
    answer = client.post(LOGIN, body, "application/x-www-form-urlencoded")
    assert answer.status_code == (302 if field == "next" else 200)
    assert answer.headers.get("Location", "/") == "/"


def test_a_body_that_no_form_has_is_refused_unread(erin: User, client: Client) -> None:
    assert sign_in(client, name="x" * 10_000_000).status_code == 413


def test_signing_in_writes_when_it_was(erin: User, client: Client) -> None:
    sign_in(client)
    erin.refresh_from_db()
    assert erin.last_login is not None
