"""Invalid requests of the upload protocol: a 4xx for each error family, and nothing left behind."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support.file_rows import create_row, folder_of, stored_usage
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, sha256
from uploads.models import File, State

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as TestResponse

DIGEST = sha256(b"good")
BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
JSON = "application/json"


pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def upload(upload_client: UploadClient) -> Upload:
    return upload_client.start(BODY)


def assert_refused(response: TestResponse, status: int, code: str) -> None:
    """Assert a JSON error with this status and code, and a message."""
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert len(error["message"]) > 10
    assert "no-store" in response["Cache-Control"]


def assert_nothing_left(bucket: Bucket) -> None:
    assert not File.objects.exists()
    assert not bucket.objects()
    assert not bucket.multipart_uploads()


# --- requests ---------------------------------------------------------------------------------


def test_malformed_body_is_refused(upload_client: UploadClient, upload: Upload, bucket: Bucket) -> None:
    for path in ("/uploads/", "/uploads/finish/", f"/uploads/{upload.id}/parts/"):
        assert_refused(upload_client.client.generic("POST", path, b"nonsense", CONTENT_TYPE=JSON), 400, "bad_request")
    assert File.objects.count() == 1
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"])
def test_other_content_type_is_refused(upload_client: UploadClient, upload: Upload, bucket: Bucket, kind: str) -> None:
    body = json.dumps({"files": [upload_client.item(b"x")]}).encode()
    for path in ("/uploads/", "/uploads/finish/", f"/uploads/{upload.id}/parts/"):
        assert_refused(
            upload_client.client.generic("POST", path, body, content_type=kind), 415, "unsupported_media_type"
        )
    assert File.objects.count() == 1


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
ALLOWED = {
    "/uploads/": {"GET", "HEAD", "POST"},
    "/uploads/finish/": {"POST"},
    "/uploads/{}/": {"GET", "HEAD", "DELETE"},
    "/uploads/{}/parts/": {"POST"},
}


@pytest.mark.parametrize(("path", "method"), [(path, m) for path in ALLOWED for m in sorted(METHODS - ALLOWED[path])])
def test_an_unknown_method_is_refused(upload_client: UploadClient, upload: Upload, path: str, method: str) -> None:
    response = upload_client.client.generic(method, path.format(upload.id))
    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == ALLOWED[path]
    assert method == "HEAD" or response.json()["error"]["code"] == "method_not_allowed"
    assert upload.row().state == State.UPLOADING


def test_body_that_is_too_large_is_refused(upload_client: UploadClient, settings: Settings, bucket: Bucket) -> None:
    body = b" " * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    for path in ("/uploads/", "/uploads/finish/"):
        assert_refused(upload_client.client.generic("POST", path, body, content_type=JSON), 413, "too_large")
    assert_nothing_left(bucket)


def test_body_of_unknown_length_is_refused(upload_client: UploadClient) -> None:
    response = upload_client.client.post("/uploads/", b"{}", content_type=JSON, HTTP_TRANSFER_ENCODING="chunked")
    assert_refused(response, 411, "length_required")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "x"])
def test_invalid_content_length_is_refused(upload_client: UploadClient, length: str) -> None:
    assert_refused(
        upload_client.client.post("/uploads/", b"{}", content_type=JSON, CONTENT_LENGTH=length), 400, "bad_request"
    )


# --- new uploads ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "value", "status", "code"),
    [
        ("token", "x", 400, "bad_request"),
        ("size", -1, 400, "bad_request"),
        ("name", "", 400, "bad_request"),
        ("visibility", "world", 400, "bad_request"),
        ("sha256", "x", 400, "bad_digest"),
        ("size", 5 * 1024**4 + 1, 413, "too_large"),
        ("size", 2**62, 413, "too_large"),
    ],
)
def test_invalid_file_reserves_nothing(
    upload_client: UploadClient, alice: User, bucket: Bucket, member: str, value: Any, status: int, code: str
) -> None:
    assert_refused(upload_client.announce({**upload_client.item(b"x"), member: value}), status, code)
    assert_nothing_left(bucket)
    assert stored_usage(alice) == (0, 0)


def test_empty_file_is_stored(upload_client: UploadClient, bucket: Bucket) -> None:
    assert bucket.read(upload_client.send(b"").key) == b""


def test_text_is_saved_clean(upload_client: UploadClient) -> None:
    file = upload_client.start(b"x", name="../a\x00b.txt", folder="a\x00/\u202eb", type="téxt").row()
    assert (file.name, folder_of(file), file.declared_type) == ("ab.txt", "a/b", "")


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "code"), [({"number": 4}, "bad_request"), ({"sha256": "x"}, "bad_digest")])
def test_invalid_part_is_not_signed(
    upload_client: UploadClient, upload: Upload, bucket: Bucket, part: dict[str, Any], code: str
) -> None:
    assert_refused(upload_client.request_parts(upload.id, [{"number": 1, "sha256": DIGEST, **part}]), 400, code)
    assert not bucket.multipart_uploads()


def test_small_file_has_one_part(upload_client: UploadClient) -> None:
    small = upload_client.start(b"small")
    for number in (0, 2):
        assert_refused(upload_client.request_parts(small.id, [{"number": number}]), 400, "bad_request")


@pytest.mark.parametrize("path", ["/uploads/{}/parts/", "/uploads/{}/"])
@pytest.mark.parametrize(
    "pk", ["x", "1", "../admin", "%2e%2e%2f", "a++../", "0" * 32, "00000000-0000-0000-0000-00000000000g"]
)
def test_malformed_id_is_not_found(upload_client: UploadClient, path: str, pk: str) -> None:
    response = upload_client.client.generic("GET", path.format(pk))
    assert response.status_code == 404


@pytest.mark.parametrize("path", ["/uploads/\x00/", "/uploads/%00/", "/uploads/?x=%00", "/uploads/?%00=1"])
def test_nul_in_the_url_is_refused(upload_client: UploadClient, path: str) -> None:
    response = upload_client.client.get(path)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


def test_nul_in_a_cookie_is_refused(upload_client: UploadClient) -> None:
    upload_client.client.cookies["x"] = "a\x00b"
    assert_refused(upload_client.unfinished(), 400, "bad_request")


# --- finishing --------------------------------------------------------------------------------


@pytest.mark.parametrize("digests", [None, [], [DIGEST], [DIGEST, "x", DIGEST]])
def test_invalid_digests_finish_nothing(
    upload_client: UploadClient, upload: Upload, bucket: Bucket, digests: Any
) -> None:
    upload_client.put(upload)
    files = [{"id": str(upload.id), "sha256": digests}]
    assert_refused(upload_client.post("/uploads/finish/", {"files": files}), 400, "bad_digest")
    assert upload.row().state == State.UPLOADING
    assert not bucket.objects()


def test_etags_of_the_client_are_ignored(upload_client: UploadClient, upload: Upload, bucket: Bucket) -> None:
    upload_client.put(upload)
    files = [{"id": str(upload.id), "sha256": upload.digests, "etags": ['"</ETag>x'] * 3, "parts": [3, 2, 1]}]
    assert upload_client.post("/uploads/finish/", {"files": files}).status_code == 200
    assert bucket.read(upload.row().key) == BODY


# --- permissions -----------------------------------------------------------------------------


def request_each_view(client: Client, pk: uuid.UUID) -> list[TestResponse]:
    """Request each view of one upload: detail, sign, finish, cancel."""
    upload_client = UploadClient(client)
    named = Upload(pk, uuid.uuid4(), b"x", 10, 1, "")
    return [
        upload_client.retrieve(named),
        upload_client.request_parts(pk, [{"number": 1, "sha256": DIGEST}]),
        upload_client.finish(named, digests=[DIGEST]),
        upload_client.cancel(named),
    ]


def test_upload_of_another_user_is_like_an_unknown_id(as_bob: Client, as_admin: Client, alice: User) -> None:
    files = [create_row(alice, state) for state in State]
    before = list(File.objects.order_by("pk").values())
    for client in (as_bob, as_admin):
        unknown = [response.json()["error"] for response in request_each_view(client, uuid.uuid4())]
        for file in files:
            responses = request_each_view(client, file.pk)
            for response in responses:
                assert_refused(response, 404, "not_found")
            assert [response.json()["error"] for response in responses] == unknown
    assert list(File.objects.order_by("pk").values()) == before


def test_anonymous_requests_are_refused(client: Client, alice: User, bucket: Bucket) -> None:
    file = create_row(alice)
    item = UploadClient(client).item(b"x")
    for response in [
        *request_each_view(client, file.pk),
        UploadClient(client).announce(item),
        UploadClient(client).unfinished(),
    ]:
        assert_refused(response, 403, "login_required")
    assert File.objects.count() == 1


def test_request_without_csrf_token_is_refused(alice: User, bucket: Bucket) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    file = create_row(alice)
    for response in request_each_view(client, file.pk)[1:]:
        assert_refused(response, 403, "csrf")
    assert_refused(UploadClient(client).announce(UploadClient(client).item(b"x")), 403, "csrf")
    assert File.objects.get().state == State.UPLOADING


def test_deactivated_user_is_signed_out(upload_client: UploadClient, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert_refused(upload_client.unfinished(), 403, "login_required")
