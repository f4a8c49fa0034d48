"""Bad input through the JSON door: a clear 4xx each, and nothing left behind."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.rows import folder_of, make_row, used
from tests.support.senders import Sender, Upload, sha256
from tests.support.stores import Bucket
from uploads.models import File, State

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

GOOD = sha256(b"good")
BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
JSON = "application/json"


pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def upload(sender: Sender) -> Upload:
    return sender.start(BODY)


def refused(answer: Answer, status: int, code: str) -> None:
    """The status, the code, and words; as JSON."""
    assert answer.status_code == status, answer.content
    error = answer.json()["error"]
    assert error["code"] == code
    assert isinstance(error["message"], str)
    assert len(error["message"]) > 10
    assert "no-store" in answer["Cache-Control"]


def nothing_left(bucket: Bucket) -> None:
    assert not File.objects.exists()
    assert not bucket.objects()
    assert not bucket.multipart_uploads()


# --- a body that is no call -------------------------------------------------------------------

BODIES = [
    b"", b"{", b"nonsense", b"null", b"1", b"[]", b'""', b"{}", b'{"files": null}', b'{"files": {}}', b'{"files": "x"}',
    b'{"files": []}', b'{"files": [1]}', b'{"files": [null]}', b'{"files": [[]]}', b"\xff\xfe\xfd", b'{"files": [{}]}',
    b'{"files": [{"token": 1}]}', b'{"files": [{"token": "x", "id": "x"}]}', b"[" * 100_000,
    b'{"files":' * 50_000, b'{"files": [' + b"9" * 5000 + b"]}", b'{"parts": []}', b"\x00",
    b'{"files": [{"id": null}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("path", ["/uploads/", "/uploads/finish/"])
def test_a_body_that_makes_no_sense_is_refused(sender: Sender, bucket: Bucket, path: str, body: bytes) -> None:
    refused(sender.client.generic("POST", path, body, CONTENT_TYPE=JSON), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_that_makes_no_sense_signs_nothing(sender: Sender, upload: Upload, bucket: Bucket, body: bytes) -> None:
    refused(sender.client.generic("POST", f"/uploads/{upload.id}/parts/", body, CONTENT_TYPE=JSON), 400, "bad_request")
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"])
def test_another_content_type_is_refused(sender: Sender, upload: Upload, bucket: Bucket, kind: str) -> None:
    body = json.dumps({"files": [sender.item(b"x")]}).encode()
    for path in ("/uploads/", "/uploads/finish/", f"/uploads/{upload.id}/parts/"):
        refused(sender.client.generic("POST", path, body, content_type=kind), 415, "unsupported_media_type")
    assert File.objects.count() == 1


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
ALLOWED = {
    "/uploads/": {"GET", "POST"},
    "/uploads/finish/": {"POST"},
    "/uploads/{}/": {"GET", "DELETE"},
    "/uploads/{}/parts/": {"POST"},
}


@pytest.mark.parametrize(("path", "method"), [(path, m) for path in ALLOWED for m in sorted(METHODS - ALLOWED[path])])
def test_an_unknown_method_is_refused(sender: Sender, upload: Upload, path: str, method: str) -> None:
    answer = sender.client.generic(method, path.format(upload.id))
    assert answer.status_code == 405
    assert set(answer["Allow"].split(", ")) == ALLOWED[path]
    assert method == "HEAD" or answer.json()["error"]["code"] == "method_not_allowed"
    assert upload.row().state == State.UPLOADING


def test_a_body_that_is_too_large_is_refused_unread(sender: Sender, settings: Settings, bucket: Bucket) -> None:
    body = b" " * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    for path in ("/uploads/", "/uploads/finish/"):
        refused(sender.client.generic("POST", path, body, content_type=JSON), 413, "too_large")
    nothing_left(bucket)


def test_a_body_of_unknown_length_is_refused(sender: Sender) -> None:
    answer = sender.client.post("/uploads/", b"{}", content_type=JSON, HTTP_TRANSFER_ENCODING="chunked")
    refused(answer, 411, "length_required")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "x"])
def test_a_length_that_is_none_is_refused(sender: Sender, length: str) -> None:
    refused(sender.client.post("/uploads/", b"{}", content_type=JSON, CONTENT_LENGTH=length), 400, "bad_request")


# --- announcements ----------------------------------------------------------------------------


def test_a_hundred_and_one_files_are_refused_together(sender: Sender, bucket: Bucket) -> None:
    refused(sender.announce(*[sender.item(b"x") for _ in range(101)]), 400, "bad_request")
    nothing_left(bucket)


def test_the_same_token_twice_in_a_call_is_refused(sender: Sender, bucket: Bucket) -> None:
    item = sender.item(b"x")
    refused(sender.announce(item, {**item, "token": item["token"].upper()}), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize(
    "token", [None, "", 7, [], {}, True, "x", "0" * 31, "0" * 33, "g" * 32, "\x00" * 36, "0" * 10_000, 1.5]
)
def test_a_token_that_is_no_uuid_is_refused(sender: Sender, bucket: Bucket, token: Any) -> None:
    refused(sender.announce({**sender.item(b"x"), "token": token}), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize(
    "size",
    [None, -1, 0.5, 1.0, "5", "", [], {}, True, False, 2**63, 10**100, float("inf"), float("nan"), -(10**400)],
    ids=str,
)
def test_a_size_that_is_none_is_refused(sender: Sender, bucket: Bucket, size: Any) -> None:
    refused(sender.announce({**sender.item(b"x"), "size": size}), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize("size", [2**62, 5 * 1024**4 + 1])
def test_an_absurd_size_is_too_large(sender: Sender, bucket: Bucket, size: int) -> None:
    refused(sender.announce({**sender.item(b"x"), "size": size}), 413, "too_large")
    nothing_left(bucket)


def test_size_0_works(sender: Sender, bucket: Bucket) -> None:
    assert bucket.read(sender.send(b"").key) == b""


@pytest.mark.parametrize("name", [None, "", "   ", "\t\r\n", "\u3000", 7, [], {}, True, "x" * 10_000, "😀" * 10_000])
def test_a_name_that_is_none_is_refused(sender: Sender, bucket: Bucket, name: Any) -> None:
    refused(sender.announce({**sender.item(b"x"), "name": name}), 400, "bad_request")
    nothing_left(bucket)


def test_an_announcement_without_name_or_size_is_refused(sender: Sender, bucket: Bucket) -> None:
    for member in ("name", "size"):
        item = sender.item(b"x")
        del item[member]
        refused(sender.announce(item), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a\x00b.txt", "ab.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "unnamed"),
        ("a\ud800.txt", "a.txt"),
        ("x" * 900 + ".jpeg", "x" * 250 + ".jpeg"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
    ],
)
def test_a_hostile_name_is_kept_clean(sender: Sender, name: str, kept: str) -> None:
    file = sender.start(b"x", name=name).row()
    assert file.name == kept
    assert name not in file.key


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("folder", 7), ("folder", "x/" * 600), ("folder", []), ("type", 7), ("type", []), ("modified", "today"),
        ("modified", True), ("modified", []), ("visibility", "world"), ("visibility", 7), ("visibility", ""),
        ("visibility", ["team"]), ("visibility", "team\x00"),
    ],
)  # fmt: skip
def test_another_member_that_makes_no_sense_is_refused(sender: Sender, bucket: Bucket, member: str, value: Any) -> None:
    refused(sender.announce(sender.item(b"x", **{member: value})), 400, "bad_request")
    nothing_left(bucket)


@pytest.mark.parametrize(
    ("member", "value", "kept"),
    [
        ("folder", "a\x00/\u202eb", "a/b"),
        ("folder", "/../..", ""),
        ("type", "text/\x00html", ""),
        ("type", "x" * 300, ""),
        ("type", "téxt", ""),
    ],
)
def test_other_text_is_kept_clean_as_well(sender: Sender, member: str, value: str, kept: str) -> None:
    file = sender.start(b"x", **{member: value}).row()
    assert {"type": file.declared_type, "folder": folder_of(file)}[member] == kept


BAD_DIGESTS: list[Any] = [
    "", "x", GOOD[:-1], GOOD + "=", GOOD[:-1] + "!", "é" + GOOD[1:], "\x00" * 44, 7, [], {}, True, [GOOD],
    "A" * 44, GOOD.replace("=", ""), "0" * 64, "\ud800" * 44,
]  # fmt: skip


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=range(len(BAD_DIGESTS)))
def test_a_digest_that_is_none_reserves_nothing(sender: Sender, bucket: Bucket, digest: Any) -> None:
    refused(sender.announce({**sender.item(b"x"), "sha256": digest}), 400, "bad_digest")
    nothing_left(bucket)


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, 4, 10_001, 2**70, "1", 1.0, 1.5, None, True, [], {}])
def test_a_part_that_the_file_does_not_have_is_not_signed(
    sender: Sender, upload: Upload, bucket: Bucket, number: Any
) -> None:
    refused(sender.ask_parts(upload.id, [{"number": number, "sha256": GOOD}]), 400, "bad_request")
    assert not bucket.multipart_uploads()


def test_a_small_file_has_one_part_only(sender: Sender) -> None:
    small = sender.start(b"small")
    for number in (0, 2):
        refused(sender.ask_parts(small.id, [{"number": number}]), 400, "bad_request")


def test_a_part_asked_for_twice_in_a_call_is_refused(sender: Sender, upload: Upload, bucket: Bucket) -> None:
    refused(sender.ask_parts(upload.id, [{"number": 1}, {"number": 2}, {"number": 1}]), 400, "bad_request")
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=range(len(BAD_DIGESTS)))
def test_a_part_with_a_digest_that_is_none_is_not_signed(
    sender: Sender, upload: Upload, bucket: Bucket, digest: Any
) -> None:
    refused(sender.ask_parts(upload.id, [{"number": 1, "sha256": digest}]), 400, "bad_digest")
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("path", ["/uploads/{}/parts/", "/uploads/{}/"])
@pytest.mark.parametrize(
    "pk", ["x", "1", "../admin", "%2e%2e%2f", "a++../", "0" * 32, "00000000-0000-0000-0000-00000000000g"]
)
def test_what_is_no_id_is_not_found(sender: Sender, path: str, pk: str) -> None:
    answer = sender.client.generic("GET", path.format(pk))
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/uploads/\x00/", "/uploads/%00/", "/uploads/?x=%00", "/uploads/?%00=1"])
def test_a_nul_in_the_address_is_refused(sender: Sender, path: str) -> None:
    answer = sender.client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


def test_a_nul_in_a_cookie_is_refused(sender: Sender) -> None:
    sender.client.cookies["x"] = "a\x00b"
    refused(sender.unfinished(), 400, "bad_request")


# --- finishing --------------------------------------------------------------------------------


def test_a_hundred_and_one_finishes_are_refused(sender: Sender) -> None:
    item = {"sha256": [GOOD]}
    files = [{**item, "id": str(uuid.uuid4())} for _ in range(101)]
    refused(sender.post("/uploads/finish/", {"files": files}), 400, "bad_request")


def test_an_id_that_stands_twice_in_a_call_is_refused(sender: Sender, upload: Upload) -> None:
    refused(sender.finish(upload, upload), 400, "bad_request")


@pytest.mark.parametrize("pk", [None, "", 7, "x", [], {}, True, "\x00", "0" * 1000])
def test_an_id_that_is_none_is_refused(sender: Sender, pk: Any) -> None:
    refused(sender.post("/uploads/finish/", {"files": [{"id": pk, "sha256": [GOOD]}]}), 400, "bad_request")


@pytest.mark.parametrize("digests", [None, "", GOOD, {}, 7, [], [None], [7], [GOOD, "x", GOOD], [[GOOD]]])
def test_digests_that_are_none_finish_nothing(sender: Sender, upload: Upload, bucket: Bucket, digests: Any) -> None:
    sender.put(upload)
    files = [{"id": str(upload.id), "sha256": digests}]
    refused(sender.post("/uploads/finish/", {"files": files}), 400, "bad_digest")
    assert upload.row().state == State.UPLOADING
    assert not bucket.objects()


def test_too_many_digests_are_refused(sender: Sender, upload: Upload) -> None:
    refused(sender.finish(upload, digests=[GOOD] * 10_001), 400, "bad_digest")


def test_a_client_cannot_finish_with_etags_of_its_own(sender: Sender, upload: Upload, bucket: Bucket) -> None:
    sender.put(upload)
    files = [{"id": str(upload.id), "sha256": upload.digests, "etags": ['"</ETag>x'] * 3, "parts": [3, 2, 1]}]
    assert sender.post("/uploads/finish/", {"files": files}).status_code == 200
    assert bucket.read(upload.row().key) == BODY


# --- who and when -----------------------------------------------------------------------------


def every_call(client: Client, pk: uuid.UUID) -> list[Answer]:
    """Each call that names an upload."""
    sender = Sender(client)
    named = Upload(pk, uuid.uuid4(), b"x", 10, 1, "")
    return [
        sender.look(named),
        sender.ask_parts(pk, [{"number": 1, "sha256": GOOD}]),
        sender.finish(named, digests=[GOOD]),
        sender.cancel(named),
    ]


def test_a_foreign_id_is_as_unknown_as_none(as_bob: Client, alice: User, bucket: Bucket) -> None:
    for state in State:
        file = make_row(alice, state)
        before = File.objects.filter(pk=file.pk).values().get()
        for answer in every_call(as_bob, file.pk):
            refused(answer, 404, "not_found")
        assert File.objects.filter(pk=file.pk).values().get() == before


def test_an_unknown_id_is_not_found(as_alice: Client, bucket: Bucket) -> None:
    for answer in every_call(as_alice, uuid.uuid4()):
        refused(answer, 404, "not_found")


def test_an_expired_upload_says_so(sender: Sender, alice: User) -> None:
    file = make_row(alice, expires_at=timezone.now())
    _look, sign, finish, _cancel = every_call(sender.client, file.pk)
    refused(sign, 410, "expired")
    refused(finish, 410, "expired")


def test_nobody_unknown_gets_an_answer(client: Client, alice: User, bucket: Bucket) -> None:
    file = make_row(alice)
    item = Sender(client).item(b"x")
    for answer in [*every_call(client, file.pk), Sender(client).announce(item), Sender(client).unfinished()]:
        refused(answer, 403, "login_required")
    assert File.objects.count() == 1


def test_a_call_without_a_csrf_token_is_refused(alice: User, bucket: Bucket) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    file = make_row(alice)
    for answer in every_call(client, file.pk)[1:]:
        refused(answer, 403, "csrf")
    refused(Sender(client).announce(Sender(client).item(b"x")), 403, "csrf")
    assert File.objects.get().state == State.UPLOADING


def test_a_person_who_left_is_signed_out_at_once(sender: Sender, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    refused(sender.unfinished(), 403, "login_required")


def test_bad_input_never_moves_a_usage_figure(sender: Sender, alice: User) -> None:
    sender.announce({**sender.item(b"x"), "size": -5}, {**sender.item(b"x"), "name": ""})
    assert used(alice) == (0, 0)
