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
    """Return the host of a redirect as browsers read it: backslashes are slashes, leading blanks are ignored."""
    location = response.headers.get("Location", "").replace("\\", "/").strip()
    return urlsplit(location).netloc if location.startswith("//") or ":" in location.split("/")[0] else ""


def request_target(user: User | None, method: str, url: str, target: str) -> Any:
    """Put the target into every parameter and header that could cause a redirect."""
    client = signed_in(user) if user else Client()
    client.raise_request_exception = False
    named = {"next": target, "redirect_to": target, "url": target, "process": "login"}
    headers = {"Referer": target if target.isprintable() else "", "X-Forwarded-Host": EVIL, "X-Original-URL": target}
    return client.get(url, named, headers=headers) if method == "GET" else client.post(url, named, headers=headers)


@database
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.slow
def test_no_url_redirects_to_another_host(method: str, alice: User, admin_user: User, bucket: object) -> None:
    signed_in(alice)  # the log is not empty
    elsewhere = {}
    for url in list(every_address()):  # collected first: some requests delete what others need
        for user in (None, admin_user):
            host = led_to(request_target(user, method, url, f"//{EVIL}"))
            if host not in OURS | {STORE}:
                elsewhere[url] = host
    assert elsewhere == {}


# Routes that read a redirect target.
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
def test_no_route_redirects_to_a_hostile_url(target: str, admin_user: User) -> None:
    for method, door in DOORS:
        response = request_target(admin_user, method, reverse(door), target)
        assert led_to(response) in OURS, (door, method)
        assert response.status_code < 500, (door, method)


@database
def test_file_forms_redirect_to_this_site(alice: User, bucket: object) -> None:
    for target in HOSTILE_URLS:
        file = factories.create_file(alice)
        for route in ("trash_file", "restore_file"):
            response = request_target(alice, "POST", reverse(route, args=[file.pk]), target)
            assert (response.status_code, led_to(response)) == (302, ""), route
        file.refresh_from_db()
        assert file.state == State.AVAILABLE


# --- the host, and the scheme -----------------------------------------------------------------


def request_raw(proxy: TlsProxy, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Bypass the proxy and send a request straight to the app's port."""
    with closing(http.client.HTTPConnection(urlsplit(proxy.behind).netloc, timeout=20)) as wire:
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
def test_unknown_host_is_rejected_and_not_echoed(host: str, scheme: str, tls_site: TlsProxy) -> None:
    status, location, body = request_raw(tls_site, "/accounts/login/", Host=host, X_Forwarded_Proto=scheme)
    assert (status, location) == (400, "")
    assert EVIL.encode() not in body


@transactional
def test_forwarded_host_headers_are_ignored(tls_site: TlsProxy) -> None:
    headers = {"X_Forwarded_Host": EVIL, "Forwarded": f"host={EVIL};proto=https", "X_Forwarded_Port": "1"}
    status, location, body = request_raw(tls_site, "/", Host="localhost", X_Forwarded_Proto="http", **headers)
    assert (status, location) == (301, "https://localhost/")
    status, location, body = request_raw(tls_site, "/", Host="localhost", X_Forwarded_Proto="https", **headers)
    assert (status, location) == (302, "/accounts/login/?next=/")
    assert EVIL.encode() not in body


@transactional
def test_plain_http_redirects_to_the_same_url_over_https(tls_site: TlsProxy) -> None:
    for path in ("/", "/files/?a=b&c=d", "/admin/", "/uploads/", f"//{EVIL}/", "/%0d%0aSet-Cookie:%20a=b"):
        response = urllib3.request("GET", f"http://{tls_site.address}{path}", redirect=False, retries=False)
        assert response.status == 301, path
        assert urlsplit(response.headers["Location"]).scheme == "https"
        assert urlsplit(response.headers["Location"]).netloc == tls_site.address, path
        assert "Set-Cookie" not in response.headers


@transactional
def test_client_cannot_spoof_the_forwarded_scheme(tls_site: TlsProxy) -> None:
    """The proxy overwrites the header that the client sends."""
    claim = {"X-Forwarded-Proto": "https"}
    response = urllib3.request("GET", f"http://{tls_site.address}/", headers=claim, redirect=False, retries=False)
    assert response.status == 301


@transactional
def test_forwarded_scheme_is_trusted_only_from_the_load_balancer(django_db_setup: None, tmp_path: Path) -> None:
    """The same headers from an address outside FORWARDED_ALLOW_IPS are ignored."""
    with serving(tmp_path, {"HTTPS": "on", "FORWARDED_ALLOW_IPS": "10.1.2.3"}) as site:
        claim = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}
        response = urllib3.request("GET", site, headers=claim, redirect=False, retries=False)
        assert (response.status, response.headers["Location"][:8]) == (301, "https://")


# --- cookies ----------------------------------------------------------------------------------


@transactional
def test_all_cookies_are_host_only_secure_and_httponly(
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
        assert "httponly" in attributes or '=""' in line, line  # Django deletes cookies without it


def cookies_of_a_day(proxy: TlsProxy, authority: CertificateAuthority, user: User) -> Iterator[str]:
    """Return the cookies that the site sets while a user signs in, changes the language, adds a tag, and signs out."""
    pool = urllib3.PoolManager(ca_certs=str(authority.file), retries=False)
    jar: dict[str, str] = {}

    def send(method: str, path: str, **fields: str) -> list[str]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), "Referer": proxy.url + path}
        token = {"csrfmiddlewaretoken": jar.get("__Host-amalga-csrf", "")}
        body = {**token, **fields} if method == "POST" else None
        more: dict[str, Any] = {"fields": body, "encode_multipart": False} if body else {}
        response = pool.request(method, proxy.url + path, headers=headers, redirect=False, **more)
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
