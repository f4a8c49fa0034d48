"""Headers of every response: the content security policy, cookies, HTTPS, and caching."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as live
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.conftest import PROJECT
from tests.support import factories
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads.models import State

pytestmark = pytest.mark.django_db

TOO_MUCH = live.DATA_UPLOAD_MAX_MEMORY_SIZE + 1


def responses(client: Client, alice: User) -> Iterator[tuple[str, Any]]:
    """Yield one response of every kind: pages, JSON, redirects, and errors from every layer."""
    file = factories.create_file(alice)
    unfinished = factories.create_file(alice, state=State.UPLOADING)
    client.raise_request_exception = False
    for url in ("/", "/upload/", "/trash/", "/unfinished/", "/uploads/", "/nothing", "/uploads/nothing", "/admin/no",
                file.get_absolute_url(), reverse("download", args=[file.pk]), "/accounts/login/",
                reverse("upload_detail", args=[unfinished.pk]), "/files/%00/", "/?after=x", "/?q=%00"):  # fmt: skip
        yield url, client.get(url)
    yield "logout by GET", client.get("/accounts/logout/")
    yield "not a form", client.post("/upload/", b"x", content_type="text/plain")
    yield "not JSON", client.post("/uploads/", b"x", content_type="application/json")
    yield (
        "too large",
        client.post("/uploads/", b"x" * (live.DATA_UPLOAD_MAX_MEMORY_SIZE + 1), content_type="text/plain"),
    )
    yield "chunked", client.post("/uploads/", headers={"Transfer-Encoding": "chunked"})
    yield "another host", client.get("/", headers={"Host": "evil.example"})
    yield "a stranger", Client().get("/")
    yield "a stranger's program", Client().get("/uploads/")
    yield "no token", strict(alice).post(reverse("trash_file", args=[file.pk]))


def strict(user: User) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def policy(response: Any) -> dict[str, list[str]]:
    parts = (part.split() for part in response.headers["Content-Security-Policy"].split(";") if part.strip())
    return {name: sources for name, *sources in parts}


def test_every_response_has_the_security_headers(alice: User, as_alice: Client) -> None:
    for what, response in responses(as_alice, alice):
        headers = response.headers
        assert headers.get("X-Content-Type-Options") == "nosniff", what
        assert headers.get("X-Frame-Options") == "DENY", what
        assert headers.get("Referrer-Policy") == "same-origin", what
        assert headers.get("Cross-Origin-Opener-Policy") == "same-origin", what
        assert headers.get("Cross-Origin-Resource-Policy") == "same-origin", what
        assert "camera=()" in headers.get("Permissions-Policy", ""), what
        assert "default-src 'none'" in headers.get("Content-Security-Policy", ""), what


def test_admin_pages_have_the_security_headers(alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice)
    for url in ("/admin/", "/admin/uploads/file/", reverse("admin:uploads_file_change", args=[file.pk])):
        response = as_admin.get(url)
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Frame-Options"] == "DENY"


def test_content_security_policy_allows_only_the_site_and_bucket(as_alice: Client) -> None:
    directives = policy(as_alice.get("/"))
    assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == directives["form-action"] == ["'self'"]
    assert directives["connect-src"] == ["'self'", live.S3_ORIGIN]
    everything = {source for sources in directives.values() for source in sources}
    assert everything == {"'none'", "'self'", "data:", live.S3_ORIGIN}
    assert directives["img-src"] == ["'self'", "data:", live.S3_ORIGIN]
    assert directives["media-src"] == directives["frame-src"] == ["'self'", live.S3_ORIGIN]


def test_static_files_have_nosniff_and_are_immutable(site: str) -> None:
    import urllib3

    page = urllib3.request("GET", f"{site}/accounts/login/").data.decode()
    style = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert style
    response = urllib3.request("GET", site + style[1])
    assert response.status == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in response.headers["Cache-Control"]


# --- caching -------------------------------------------------------------------------


def test_responses_with_a_signature_are_not_cached(alice: User, as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    item = upload_client.item(b"hello")
    announced = upload_client.announce(item)
    pk = uuid.UUID(announced.json()["files"][0]["id"])
    signed = upload_client.request_parts(pk, [{"number": 1, "sha256": item["sha256"]}])
    download = as_alice.get(reverse("download", args=[factories.create_file(alice).pk]))
    assert b"X-Amz-Signature" in announced.content
    assert b"X-Amz-Signature" in signed.content
    assert "X-Amz-Signature" in download.headers["Location"]
    for response in (announced, signed, download):
        assert "no-store" in response.headers["Cache-Control"]


def test_protocol_responses_are_not_cached(alice: User, as_alice: Client) -> None:
    for what, response in responses(as_alice, alice):
        if response.headers.get("Content-Type") == "application/json":
            assert "no-store" in response.headers.get("Cache-Control", ""), what


def test_personal_pages_are_not_stored_in_shared_caches(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice)
    for url in ("/", file.get_absolute_url(), "/trash/", "/unfinished/", "/upload/"):
        assert "private" in as_alice.get(url).headers.get("Cache-Control", ""), url


# --- cookies and HTTPS ------------------------------------------------------------------------


def test_scripts_cannot_read_cookies(alice: User) -> None:
    alice.set_password("a long word of its own")
    alice.save()
    client = Client()
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"username": "alice", "password": "a long word of its own"})
    for name in (live.SESSION_COOKIE_NAME, live.CSRF_COOKIE_NAME):
        cookie = client.cookies[name]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert not cookie["domain"]


BY_HTTPS = """
import json, django
django.setup()
from django.test import Client
from django.conf import settings
client = Client(headers={"host": "files.example.org"})
plain = client.get("/accounts/login/?next=/")
secure = client.get("/accounts/login/", secure=True)
print(json.dumps({
    "plain": [plain.status_code, plain.headers["Location"]],
    "headers": dict(secure.headers),
    "cookies": {name: dict(morsel) for name, morsel in secure.cookies.items()},
    "session": [settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_DOMAIN],
}))
"""


@pytest.fixture(scope="module")
def by_https() -> dict[str, Any]:
    """Return a response with production settings; the login page needs no database."""
    env = {
        **os.environ,
        "HTTPS": "on",
        "ALLOWED_HOSTS": "files.example.org",
        "DJANGO_SETTINGS_MODULE": "amalga.settings",
    }
    done = subprocess.run([sys.executable, "-c", BY_HTTPS], env=env, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_plain_http_redirects_to_https(by_https: dict[str, Any]) -> None:
    assert by_https["plain"] == [301, "https://files.example.org/accounts/login/?next=/"]


def test_hsts_lasts_a_year(by_https: dict[str, Any]) -> None:
    header = by_https["headers"]["Strict-Transport-Security"]
    seconds = re.search(r"max-age=(\d+)", header)
    assert seconds
    assert int(seconds[1]) >= 365 * 24 * 3600
    assert "includeSubDomains" in header


def test_cookies_are_host_only_and_secure(by_https: dict[str, Any]) -> None:
    (name, cookie), *others = by_https["cookies"].items()
    assert not others
    assert name.startswith("__Host-")
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    session, secure, domain = by_https["session"]
    assert session.startswith("__Host-")
    assert (secure, domain) == (True, None)


def test_hsts_is_not_sent_without_https(client: Client) -> None:
    response = client.get("/accounts/login/")
    assert response.status_code == 200
    assert "Strict-Transport-Security" not in response.headers
