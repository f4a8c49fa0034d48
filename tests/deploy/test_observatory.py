"""The site behind TLS, as MDN's HTTP Observatory scores it: every test passes on every page, the admin's too."""

from __future__ import annotations

from dataclasses import replace
from http.cookies import SimpleCookie

import pytest
import urllib3
from django.contrib.auth.models import User
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories
from tests.support.certificate_authority import CertificateAuthority
from tests.support.observatory import PageResponse, policy_of, score
from tests.support.stores import Bucket
from tests.support.tls_proxy import TlsProxy

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SESSION = "__Host-amalga-session"
FOREIGN = {"Origin": "https://http-observatory.security.mozilla.org", "Access-Control-Request-Method": "GET"}


class Observer:
    def __init__(self, proxy: TlsProxy, authority: CertificateAuthority, user: User | None) -> None:
        self.proxy = proxy
        self.pool = urllib3.PoolManager(ca_certs=str(authority.file), retries=False)
        self.own = {"Cookie": f"{SESSION}={signed_in(user).session.session_key}"} if user else {}

    def fetch(self, path: str) -> PageResponse:
        url = self.proxy.url + path
        response = self.pool.request("GET", url, headers=self.own, redirect=False)
        preflight = self.pool.request("OPTIONS", url, headers={**self.own, **FOREIGN}, redirect=False)
        plain = self.pool.request("GET", url.replace("https:", "http:", 1), redirect=False)
        cookies = [
            morsel for header in response.headers.getlist("Set-Cookie") for morsel in SimpleCookie(header).values()
        ]
        return PageResponse(
            headers=response.headers,
            body=response.data.decode(),
            cookies=cookies,
            preflight=preflight.headers,
            plain=(plain.status, plain.headers.get("Location", "")),
            address=self.proxy.address,
        )


@pytest.fixture
def observer(tls_site: TlsProxy, authority: CertificateAuthority, admin_user: User) -> Observer:
    return Observer(tls_site, authority, admin_user)


@pytest.fixture
def stranger(tls_site: TlsProxy, authority: CertificateAuthority) -> Observer:
    return Observer(tls_site, authority, None)


def test_sign_in_page_scores_a_plus(stranger: Observer) -> None:
    page = stranger.fetch("/accounts/login/")
    assert score(page).points == {
        "content-security-policy": 10,
        "cookies": 5,
        "cross-origin-resource-sharing": 0,
        "cross-origin-resource-policy": 10,
        "redirection": 0,
        "referrer-policy": 5,
        "strict-transport-security": 0,
        "subresource-integrity": 0,
        "x-content-type-options": 0,
        "x-frame-options": 5,
    }
    assert (score(page).total, score(page).grade) == (135, "A+")


def test_library_pages_score_a_plus(observer: Observer, admin_user: User, bucket: Bucket) -> None:
    file = factories.create_file(admin_user, b"x", bucket=bucket)
    pages = ["/", "/upload/", "/trash/", "/unfinished/", file.get_absolute_url(), reverse("download", args=[file.pk])]
    for path in pages:
        result = score(observer.fetch(path))
        assert (result.failed, result.grade) == ([], "A+"), path


def test_admin_pages_score_a_plus(observer: Observer, admin_user: User) -> None:
    file = factories.create_file(admin_user)
    change = reverse("admin:uploads_file_change", args=[file.pk])
    for path in ("/admin/", "/admin/uploads/file/", change, "/admin/uploads/event/", "/admin/auth/user/add/"):
        page = observer.fetch(path)
        assert "<h1" in page.body, path
        assert (score(page).failed, score(page).grade) == ([], "A+"), path


def test_account_pages_score_a_plus(observer: Observer) -> None:
    for route in ("mfa_index", "account_change_password", "mfa_activate_totp", "account_reauthenticate"):
        result = score(observer.fetch(reverse(route)))
        assert (result.failed, result.grade) == ([], "A+"), route


def test_error_pages_and_redirects_pass_every_test(observer: Observer, stranger: Observer) -> None:
    paths = ("/nothing", "/uploads/nothing", "/admin/nothing/", "/admin/login/", "/?q=%00", "/", "/accounts/logout/")
    for who in (observer, stranger):
        for path in paths:
            assert score(who.fetch(path)).failed == [], path


def test_static_files_carry_the_headers_too(stranger: Observer) -> None:
    style = stranger.fetch("/accounts/login/").body.partition('rel="stylesheet" href="')[2].partition('"')[0]
    page = stranger.fetch(style)
    assert score(page).failed == []
    assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_csp_allows_only_storage_over_https(observer: Observer) -> None:
    policy = policy_of(observer.fetch("/").headers)
    sources = {source for name, directive in policy.items() if name != "report-uri" for source in directive}
    (store,) = sources - {"'none'", "'self'", "data:"}
    assert store.startswith("https://localhost:")


@pytest.mark.parametrize(
    ("header", "value", "test"),
    [
        ("Content-Security-Policy", "default-src 'none'; script-src 'self' 'unsafe-inline'", "content-security-policy"),
        ("Content-Security-Policy", "default-src 'none'; img-src http://store.example", "content-security-policy"),
        ("Content-Security-Policy", "", "content-security-policy"),
        ("Referrer-Policy", "unsafe-url", "referrer-policy"),
        ("Strict-Transport-Security", "max-age=3600", "strict-transport-security"),
        ("X-Content-Type-Options", "", "x-content-type-options"),
        ("Cross-Origin-Resource-Policy", "same-orgin", "cross-origin-resource-policy"),
    ],
)
def test_score_detects_wrong_headers(header: str, value: str, test: str, stranger: Observer) -> None:
    page = stranger.fetch("/accounts/login/")
    worse = replace(page, headers={**dict(page.headers.items()), header: value})
    assert test in score(worse).failed
