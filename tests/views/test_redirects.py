"""Redirects: never to a foreign host, whatever `next`, `Referer`, `Host` or a proxy contains."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from django.conf import settings as live
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.accounts.test_login import HOSTILE_URLS
from tests.conftest import serving, signed_in
from tests.support import factories
from tests.support.certificate_authority import CertificateAuthority
from tests.support.tls_proxy import TlsProxy
from tests.views.test_routes import every_address
from uploads.models import State

EVIL = "evil.example"
OURS = {"", "testserver"}
STORE = urlsplit(live.S3_ORIGIN).netloc
HOSTS = [
    EVIL,
    f"localhost.{EVIL}",
    f"localhost@{EVIL}",
    f"{EVIL}:443",
    f"localhost:1/{EVIL}",
    f"localhost#{EVIL}",
    "a b",
]

database = pytest.mark.django_db


def led_to(response: Any) -> str:
    """The host of a redirect, as a browser reads it: a backslash is a slash, and blanks in front are none."""
    location = response.headers.get("Location", "").replace("\\", "/").strip()
    return urlsplit(location).netloc if location.startswith("//") or ":" in location.split("/")[0] else ""


def request_target(user: User | None, method: str, url: str, target: str) -> Any:
    """Everything that might lead somewhere says where, at once."""
    client = signed_in(user) if user else Client()
    client.raise_request_exception = False
    named = {"next": target, "redirect_to": target, "url": target, "process": "login"}
    headers = {"Referer": target if target.isprintable() else "", "X-Forwarded-Host": EVIL, "X-Original-URL": target}
    return client.get(url, named, headers=headers) if method == "GET" else client.post(url, named, headers=headers)


@database
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_address_leads_to_another_host(method: str, alice: User, admin_user: User, bucket: object) -> None:
    signed_in(alice)  # the log is not empty
    elsewhere = {}
    for url in list(every_address()):  # first all: some take away what others are about
        for user in (None, admin_user):
            host = led_to(request_target(user, method, url, f"//{EVIL}"))
            if host not in OURS | {STORE}:
                elsewhere[url] = host
    assert elsewhere == {}


# Whatever reads where one wants to go.
DOORS = [
    ("GET", "login"),
    ("GET", "admin:login"),
    ("GET", "account_reauthenticate"),
    ("GET", "mfa_reauthenticate"),
    ("POST", "login"),
    ("POST", "set_language"),
    ("POST", "undo"),
    ("POST", "bulk"),
    ("POST", "logout"),
]


@database
@pytest.mark.parametrize("target", HOSTILE_URLS)
def test_no_door_leads_where_a_hostile_address_points(target: str, admin_user: User) -> None:
    for method, door in DOORS:
        response = request_target(admin_user, method, reverse(door), target)
        assert led_to(response) in OURS, (door, method)
        assert response.status_code < 500, (door, method)


@database
def test_forms_about_a_file_lead_back_to_us(alice: User, bucket: object) -> None:
    for target in HOSTILE_URLS:
        file = factories.create_file(alice)
        for route in ("trash_file", "restore_file"):
            response = request_target(alice, "POST", reverse(route, args=[file.pk]), target)
            assert (response.status_code, led_to(response)) == (302, ""), route
        file.refresh_from_db()
        assert file.state == State.AVAILABLE


# --- the host, and the scheme -----------------------------------------------------------------


def request_raw(front: TlsProxy, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Past the front, as what could reach the app's own port would ask it."""
    with closing(http.client.HTTPConnection(urlsplit(front.behind).netloc, timeout=20)) as wire:
        wire.putrequest("GET", path, skip_host=True)
        for name, value in headers.items():
            wire.putheader(name.replace("_", "-"), value)
        wire.endheaders()
        response = wire.getresponse()
        return response.status, response.headers.get("Location", ""), response.read()


transactional = pytest.mark.django_db(transaction=True)


@transactional
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_host_is_refused_and_not_repeated(host: str, scheme: str, tls_site: TlsProxy) -> None:
    status, location, body = request_raw(tls_site, "/accounts/login/", Host=host, X_Forwarded_Proto=scheme)
    assert (status, location) == (400, "")
    assert EVIL.encode() not in body


@transactional
def test_what_a_proxy_may_say_of_the_host_is_not_listened_to(tls_site: TlsProxy) -> None:
    headers = {"X_Forwarded_Host": EVIL, "Forwarded": f"host={EVIL};proto=https", "X_Forwarded_Port": "1"}
    status, location, body = request_raw(tls_site, "/", Host="localhost", X_Forwarded_Proto="http", **headers)
    assert (status, location) == (301, "https://localhost/")
    status, location, body = request_raw(tls_site, "/", Host="localhost", X_Forwarded_Proto="https", **headers)
    assert (status, location) == (302, "/accounts/login/?next=/")
    assert EVIL.encode() not in body


@transactional
def test_plain_http_leads_to_the_same_address_by_tls(tls_site: TlsProxy) -> None:
    for path in ("/", "/files/?a=b&c=d", "/admin/", "/uploads/", f"//{EVIL}/", "/%0d%0aSet-Cookie:%20a=b"):
        response = urllib3.request("GET", f"http://{tls_site.address}{path}", redirect=False, retries=False)
        assert response.status == 301, path
        assert urlsplit(response.headers["Location"]).scheme == "https"
        assert urlsplit(response.headers["Location"]).netloc == tls_site.address, path
        assert "Set-Cookie" not in response.headers


@transactional
def test_a_visitor_cannot_say_that_it_came_by_tls(tls_site: TlsProxy) -> None:
    """The front says how one came, whatever one brings along."""
    claim = {"X-Forwarded-Proto": "https"}
    response = urllib3.request("GET", f"http://{tls_site.address}/", headers=claim, redirect=False, retries=False)
    assert response.status == 301


@transactional
def test_only_the_balancer_says_by_which_scheme_one_came(django_db_setup: None, tmp_path: Path) -> None:
    """From another address than FORWARDED_ALLOW_IPS, the same words are worth nothing."""
    with serving(tmp_path, {"HTTPS": "on", "FORWARDED_ALLOW_IPS": "10.1.2.3"}) as site:
        claim = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}
        response = urllib3.request("GET", site, headers=claim, redirect=False, retries=False)
        assert (response.status, response.headers["Location"][:8]) == (301, "https://")


# --- cookies ----------------------------------------------------------------------------------


@transactional
def test_every_cookie_of_a_day_is_for_this_host_by_tls_and_for_no_script(
    tls_site: TlsProxy, authority: CertificateAuthority, admin_user: User
) -> None:
    lines = list(cookies_of_a_day(tls_site, authority, admin_user))
    names = {line.split("=")[0] for line in lines}
    assert {"__Host-amalga-session", "__Host-amalga-csrf", "__Host-amalga-language"} <= names
    for line in lines:
        attributes = {part.strip().partition("=")[0].lower() for part in line.split(";")[1:]}
        assert line.startswith("__Host-"), line
        assert {"secure", "path", "samesite"} <= attributes, line
        assert "domain" not in attributes, line
        assert "httponly" in attributes or '=""' in line, line  # Django takes cookies away without it


def cookies_of_a_day(front: TlsProxy, authority: CertificateAuthority, user: User) -> Iterator[str]:
    """Return the cookies that the site sets while a user signs in, changes the language, adds a tag, and signs out."""
    pool = urllib3.PoolManager(ca_certs=str(authority.file), retries=False)
    jar: dict[str, str] = {}

    def send(method: str, path: str, **fields: str) -> list[str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), "Referer": front.url + path}
        token = {"csrfmiddlewaretoken": jar.get("__Host-amalga-csrf", "")}
        body = {**token, **fields} if method == "POST" else None
        more: dict[str, Any] = {"fields": body, "encode_multipart": False} if body else {}
        response = pool.request(method, front.url + path, headers=headers, redirect=False, **more)
        assert response.status in {200, 302}, (path, response.status)
        lines = response.headers.getlist("Set-Cookie")
        jar.update(line.split(";")[0].split("=", 1) for line in lines)  # type: ignore[misc]
        return lines

    yield from send("GET", "/accounts/login/")
    yield from send("POST", "/accounts/login/", username=user.username, password="correct horse battery staple")
    yield from send("GET", "/")
    yield from send("POST", "/i18n/setlang/", language="es", next="/")
    yield from send("POST", "/folders/", name="Brand", parent="")
    yield from send("GET", "/")
    yield from send("GET", "/admin/")
    yield from send("POST", "/accounts/logout/")
