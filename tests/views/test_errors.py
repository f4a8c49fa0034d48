"""Invalid requests get an explanation, as a page or as JSON, and are never reported as server errors."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as live
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories, form_client
from tests.support.form_client import Chosen, Form
from uploads.models import State

pytestmark = pytest.mark.django_db

UNKNOWN_ID = "6d0c4f5e-3d0b-4b52-9d7e-1f2a3b4c5d6e"  # no file has this id


def is_page(response: Any) -> bool:
    """Return whether this is an HTML page with a heading and a sentence, and without internals."""
    text = response.content.decode()
    return (
        response.headers["Content-Type"].startswith("text/html")
        and bool(re.search(r"<h1>[^<]{10,}</h1>", text))
        and bool(re.search(r"<p>[^<]{20,}</p>", text))
        and "Traceback" not in text
        and "Django" not in text
    )


def error_code(response: Any) -> str:
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert len(error["message"]) > 10
    assert set(error) >= {"code", "message"}
    return str(error["code"])


# --- each error status, as a page and as JSON ------------------------------------------------------


def test_400(as_alice: Client) -> None:
    page = as_alice.get("/?x=%00")
    assert (page.status_code, is_page(page)) == (400, True)
    data = as_alice.get("/uploads/?x=%00")
    assert (data.status_code, error_code(data)) == (400, "bad_request")


def test_400_for_another_host(as_alice: Client) -> None:
    page = as_alice.get("/", headers={"Host": "evil.example"})
    assert (page.status_code, is_page(page)) == (400, True)
    data = as_alice.get("/uploads/", headers={"Host": "evil.example"})
    assert (data.status_code, error_code(data)) == (400, "bad_request")


def test_403(as_viewer: Client) -> None:
    page = as_viewer.get("/upload/")
    assert (page.status_code, is_page(page)) == (403, True)
    data = as_viewer.get("/uploads/")
    assert (data.status_code, error_code(data)) == (403, "forbidden")


def test_forbidden_page_says_what_to_do_beside_its_heading(roles: None) -> None:
    staff = signed_in(factories.create_user("staff", "viewers", is_staff=True))
    page = staff.get("/admin/storage/").content.decode()
    assert page.count("You don't have permission to do this") == 2  # title and heading
    assert "<p>Your role doesn't allow this. If you need access, ask an administrator.</p>" in page


def test_anonymous_request_gets_the_login_page_or_403_json(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"
    data = client.get("/uploads/")
    assert (data.status_code, error_code(data)) == (403, "login_required")


def test_403_for_a_missing_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    page = client.post(reverse("trash_file", args=[uuid.uuid4()]))
    assert (page.status_code, is_page(page)) == (403, True)
    data = client.post("/uploads/", {}, content_type="application/json")
    assert (data.status_code, error_code(data)) == (403, "csrf")


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "/files/x/", f"/files/{UNKNOWN_ID}/", "/files/%2e%2e%2f/"])
def test_404(path: str, as_alice: Client) -> None:
    page = as_alice.get(path)
    assert (page.status_code, is_page(page)) == (404, True)


@pytest.mark.parametrize("path", ["x/", f"{UNKNOWN_ID}/", f"{UNKNOWN_ID}/nothing/", "%2e%2e%2f/", "a++../"])
def test_404_in_the_protocol(path: str, as_alice: Client) -> None:
    data = as_alice.get(f"/uploads/{path}")
    assert (data.status_code, error_code(data)) == (404, "not_found")


def test_405(as_alice: Client) -> None:
    for path, allowed in [("/", "GET, HEAD"), ("/upload/", "GET, HEAD, POST"), ("/accounts/logout/", "POST, OPTIONS")]:
        page = as_alice.delete(path)
        assert (page.status_code, is_page(page), page.headers["Allow"]) == (405, True, allowed)
    data = as_alice.put("/uploads/")
    assert (data.status_code, error_code(data), data.headers["Allow"]) == (405, "method_not_allowed", "GET, HEAD, POST")


def test_411(as_alice: Client) -> None:
    page = as_alice.post("/upload/", headers={"Transfer-Encoding": "chunked"})
    assert (page.status_code, is_page(page)) == (411, True)
    data = as_alice.post("/uploads/", headers={"Transfer-Encoding": "chunked"})
    assert (data.status_code, error_code(data)) == (411, "length_required")


def test_413(as_alice: Client) -> None:
    body = b"x" * (live.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    page = as_alice.post("/", body, content_type="text/plain")
    assert (page.status_code, is_page(page)) == (413, True)
    data = as_alice.post("/uploads/", body, content_type="application/json")
    assert (data.status_code, error_code(data)) == (413, "too_large")


def test_415(as_alice: Client) -> None:
    data = as_alice.post("/uploads/", b"{}", content_type="text/plain")
    assert (data.status_code, error_code(data)) == (415, "unsupported_media_type")


def test_503_when_storage_is_unavailable(storage_unavailable: None, alice: User, as_alice: Client) -> None:
    page = form_client.post(as_alice, Chosen("a.txt"))
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    data = as_alice.get(reverse("upload_detail", args=[factories.create_file(alice, state=State.UPLOADING).pk]))
    assert (data.status_code, error_code(data), data.headers["Retry-After"]) == (503, "unavailable", "5")


def raise_runtime_error(*_: object, **__: object) -> None:
    raise RuntimeError("a secret of ours: postgres at host/db")


def raise_operational_error(*_: object, **__: object) -> None:
    raise OperationalError("connection to server at 10.0.0.1 failed: password")


@pytest.mark.parametrize(("error", "code"), [(raise_runtime_error, 500), (raise_operational_error, 503)])
def test_server_error_leaks_no_details(
    error: Any, code: int, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_alice.raise_request_exception = False
    monkeypatch.setattr("uploads.views.library.read_list_query", error)
    monkeypatch.setattr("uploads.api.protocol.unfinished", error)
    page, data = as_alice.get("/"), as_alice.get("/uploads/")
    assert (page.status_code, is_page(page)) == (code, True)
    assert (data.status_code, error_code(data)) == (code, "server_error" if code == 500 else "unavailable")
    for response in (page, data):
        for secret in (b"secret", b"password", b"postgres", b"10.0.0.1", b"RuntimeError", b"pages.py"):
            assert secret not in response.content
        assert ("Retry-After" in response.headers) == (code == 503)


def test_error_pages_have_the_navigation_for_people_who_are_signed_in(
    as_viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [as_viewer.get("/nothing"), as_viewer.get("/upload/"), as_viewer.delete("/"), as_viewer.get("/?x=%00")]
    as_viewer.raise_request_exception = False
    monkeypatch.setattr("uploads.views.library.read_list_query", raise_runtime_error)
    pages.append(as_viewer.get("/"))
    assert [page.status_code for page in pages] == [404, 403, 405, 400, 500]
    for page in pages:
        text = page.content.decode()
        assert 'role="search"' in text
        links = re.findall(r'<a href="([^"]+)"', text)
        assert {"/", "/tags/", "/trash/", "/notifications/", reverse("mfa_index")} <= set(links)
    assert 'role="search"' not in Client().get("/static/nothing").content.decode()


def test_error_pages_run_no_queries(as_alice: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert as_alice.get("/?x=%00").status_code == 400
        assert as_alice.get("/nothing").status_code == 404


def test_server_error_page_runs_no_queries(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    def fail(request: Any) -> None:
        raise RuntimeError

    as_alice.raise_request_exception = False
    monkeypatch.setattr("uploads.middleware.ClientIPMiddleware.__call__", lambda self, request: fail(request))
    with django_assert_num_queries(0):
        page = as_alice.get("/")
    assert (page.status_code, is_page(page), b'href="/trash/"' in page.content) == (500, True, True)


# --- NUL, everywhere --------------------------------------------------------------------------


def test_nul_in_a_url_is_rejected(as_admin: Client) -> None:
    for path in ("/%00", "/files/%00/", "/?after=%00", "/?%00=1", "/uploads/%00/", "/admin/%00",
                 "/accounts/login/?next=%00", "/static/%00", "/trash/?after=%2500%00"):  # fmt: skip
        assert as_admin.get(path).status_code in {400, 404}, path
        assert as_admin.post(path).status_code in {400, 404}, path


def test_nul_in_a_cookie_is_ignored_or_rejected(as_alice: Client) -> None:
    for cookie in ("x=\x00", f"{live.SESSION_COOKIE_NAME}=a\x00b", f"{live.CSRF_COOKIE_NAME}=\x00"):
        assert Client().get("/", headers={"Cookie": cookie}).status_code in {302, 400}


def test_nul_in_a_form_is_rejected(client: Client) -> None:
    for field in ("username", "password", "next", "csrfmiddlewaretoken", "extra\x00"):
        data = {"username": "a", "password": "b", field: "x\x00y"}
        assert client.post("/accounts/login/", data).status_code in {200, 400, 403}, field


def test_nul_in_json_is_stripped_or_rejected(as_alice: Client) -> None:
    for member in ("token", "name", "type", "folder", "sha256", "visibility", "modified", "size"):
        item = {"token": str(uuid.uuid4()), "name": "a.txt", "size": 1, member: "x\x00y"}
        response = as_alice.post("/uploads/", {"files": [item]}, content_type="application/json")
        assert response.status_code in {200, 400}, member
    assert b"\\u0000" not in as_alice.get("/uploads/").content


# --- no request causes a server error ------------------------------------------------

PIECES = [
    "%00", "%0d%0a", "..", "%2e%2e%2f", "%ff%fe", "%c0%af", "%e2%80%ae", "\ud7ff", "💣", "'", '"', "<script>", "{}",
    "[]", "null", "-1", "0", "1e999", "9" * 400, "NaN", "true", "a" * 3000, "%", "%%", "%25%32%66", ";", "&&", "==",
    "\\", " ",
    "2026-01-01T00:00:00+00:00_" + "0" * 32, "__proto__", "id", "files", "after", "inline", "next", "q", "o", "p",
    "6e1bd3f6-7b44-4a7b-8c6d-3f3b6a2e9d55", "state__exact", "owner__id", "_to_field", "_popup", "e", "all",
]  # fmt: skip
BODIES = [
    b"", b"\x00", b"{", b"[]", b"null", b"{}", b'{"files": null}', b'{"files": {}}', b'{"files": [null]}',
    b'{"files": [{}]}', b'{"files": [[]]}', b'{"parts": [{"number": null}]}', b'{"parts": [{"number": 1e400}]}',
    b'{"files": [{"token": []}]}', b'{"files": [{"id": {}, "sha256": {}}]}', b"[" * 100_000, b'{"a":' * 50_000,
    b"\xff\xfe" * 50, '{"files": [{"token": "\ud7ff"}]}'.encode(), b'{"files": [{"token": "\\ud800", "name": ""}]}',
    b"9" * 5000, b"NaN", b"a=%00&b=%ff", b"csrfmiddlewaretoken=x", b"--x\r\n\r\n--x--", Form([Chosen("a")]).body(),
    json.dumps({"files": [{"token": str(uuid.UUID(int=1)), "name": "x", "size": 10**30}]}).encode(),
    json.dumps({"files": [{"token": str(uuid.UUID(int=2)), "name": "x", "size": 1, "modified": 10**400}]}).encode(),
    json.dumps({"files": [{"token": str(uuid.UUID(int=3)), "name": "x", "size": 1, "modified": -1e300}]}).encode(),
    json.dumps({"files": [{"token": str(uuid.UUID(int=4)), "name": "x", "size": 1, "folder": "/" * 1000}]}).encode(),
]  # fmt: skip
TYPES = ["application/json", "text/plain", form_client.MULTIPART, "multipart/form-data", "", "x" * 500, "\x00",
         "application/x-www-form-urlencoded", "application/json; charset=utf-16", "multipart/form-data; boundary=x",
         "application/x-www-form-urlencoded; charset=utf-7", "text/html; charset=\xff"]  # fmt: skip


def random_requests(seed: int, count: int, paths: list[str]) -> Iterator[tuple[str, str, bytes, str]]:
    rng = random.Random(seed)  # reproducible: a failure can be rerun
    for _ in range(count):
        path = rng.choice(paths)
        if rng.random() < 0.4:
            path += rng.choice(PIECES) + rng.choice(["", "/"])
        if rng.random() < 0.6:
            path += f"?{rng.choice(PIECES)}={rng.choice(PIECES)}&{rng.choice(PIECES)}={rng.choice(PIECES)}"
        method = rng.choice(["GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
        yield method, path, rng.choice(BODIES), rng.choice(TYPES)


@pytest.mark.parametrize("seed", range(4))
def test_random_requests_cause_no_server_error(seed: int, alice: User, admin_user: User) -> None:
    # a regular user, a superuser, and an anonymous client
    clients = [Client(), Client(), Client()]
    clients[0].force_login(alice)
    clients[1].force_login(admin_user)
    file, unfinished = factories.create_file(alice), factories.create_file(alice, state=State.UPLOADING)
    paths = ["/", "/upload/", "/uploads/", "/uploads/finish/", "/trash/", "/unfinished/", "/accounts/login/", "/admin/",
             "/admin/uploads/file/", f"/admin/uploads/file/{file.pk}/change/", "/admin/auth/user/", "/admin/jsi18n/",
             f"/files/{file.pk}/", f"/files/{file.pk}/download", f"/files/{file.pk}/trash",
             f"/uploads/{unfinished.pk}/", f"/uploads/{unfinished.pk}/parts/", f"/unfinished/{unfinished.pk}/cancel",
             "/admin/r/", "/admin/autocomplete/", "/admin/login/", "/static/", "/admin/uploads/usage/"]  # fmt: skip
    faults = []
    for number, (method, path, body, content_type) in enumerate(random_requests(seed, 250, paths)):
        client = clients[number % 3]
        client.raise_request_exception = False
        response = client.generic(method, path.replace("#", ""), body, content_type)
        if response.status_code >= 500:
            faults.append((method, path[:200], body[:80], content_type[:80], response.status_code))
    assert faults == []


def test_admin_view_on_site_url_causes_no_server_error(as_admin: Client) -> None:
    content_types = ContentType.objects.filter(model__in=["file", "user"]).values_list("pk", flat=True)
    for kind in (*content_types, "99999999999999999999", "x"):
        for object_id in ("x", "6e1bd3f6-7b44-4a7b-8c6d-3f3b6a2e9d55", "%00", "1" * 50):
            assert as_admin.get(f"/admin/r/{kind}/{object_id}/").status_code in {302, 400, 404}, (kind, object_id)


def test_invalid_content_length_is_rejected(as_alice: Client) -> None:
    as_alice.raise_request_exception = False
    for length in ("-1", "1.5", "x", "١", "9" * 5000, " 5", "+5"):
        response = as_alice.post("/uploads/", b"", content_type="application/json", CONTENT_LENGTH=length)
        assert response.status_code in {400, 411, 413}, length
