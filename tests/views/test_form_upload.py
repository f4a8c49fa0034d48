"""The upload form without JavaScript: same files, names and states as the API; failures leave nothing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from tests.support import factories
from tests.support.factories import binary_content, is_all_deleted
from tests.support.form_client import Chosen, post, send, words_of
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, cut
from uploads.errors import Problem
from uploads.models import ChecksumStatus, File, State, Visibility
from uploads.services.start import NewUpload, Started, start

pytestmark = pytest.mark.django_db

MIB = 1024**2
PART = 5 * MIB


# --- what works -------------------------------------------------------------------------------


def test_several_files_are_stored_unchanged(alice: User, as_alice: Client, bucket: Bucket) -> None:
    bodies = {"a.txt": b"first", "b.bin": bytes(range(256)) * 50, "c.txt": b"third"}
    files = send(as_alice, *(Chosen(name, body) for name, body in bodies.items()))
    assert {file.name: bucket.read(file.key) for file in files} == bodies
    assert {file.state for file in files} == {State.AVAILABLE}
    assert {file.owner for file in files} == {alice}
    assert factories.stored_usage(alice) == (3, sum(len(body) for body in bodies.values()))


def test_empty_file_is_stored(as_alice: Client, bucket: Bucket) -> None:
    (file,) = send(as_alice, Chosen("empty.txt", b""))
    assert (file.size, file.state, bucket.objects()) == (0, State.AVAILABLE, {file.key: 0})


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 7])
def test_large_file_is_uploaded_in_parts(
    size: int, alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART
    body = binary_content(size)
    (file,) = send(as_alice, Chosen("large.bin", body))
    assert bucket.read(file.key) == body
    assert (file.size, file.part_size) == (size, PART)
    assert file.checksum == composite(cut(body, PART))
    assert factories.stored_usage(alice) == (1, size)
    assert bucket.multipart_uploads() == []


def test_small_and_large_files_in_any_order(alice: User, as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_PART_BYTES = PART
    bodies = [binary_content(size) for size in (3, PART + 3, 0, 700_000, 2 * PART, 300_000, 1)]
    files = send(as_alice, *(Chosen(f"{n}.bin", body) for n, body in enumerate(bodies)))
    by_name = {file.name: bucket.read(file.key) for file in files}
    assert by_name == {f"{n}.bin": body for n, body in enumerate(bodies)}
    assert factories.stored_usage(alice) == (7, sum(len(body) for body in bodies))


def test_small_files_share_their_queries(
    as_alice: Client, bucket: Bucket, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    send(as_alice, Chosen("first.txt"))
    with django_assert_max_num_queries(180):  # 42 for each file otherwise
        files = send(as_alice, *(Chosen(f"{n}.txt", str(n).encode()) for n in range(20)))
    assert {file.name: bucket.read(file.key) for file in files} == {f"{n}.txt": str(n).encode() for n in range(20)}


def test_small_files_are_sent_before_they_fill_the_memory(
    as_alice: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.services.form_upload.WAITING_BYTES", 1000)
    batches: list[int] = []

    def count(owner: User, uploads: Sequence[NewUpload], **options: Any) -> list[Started | Problem]:
        batches.append(len(uploads))
        return start(owner, uploads, **options)

    monkeypatch.setattr("uploads.services.form_upload.start", count)
    bodies = {f"{n}.bin": binary_content(400 + n) for n in range(7)}
    files = send(as_alice, *(Chosen(name, body) for name, body in bodies.items()))
    assert {file.name: bucket.read(file.key) for file in files} == bodies
    assert batches == [3, 3, 1]


def test_form_with_too_many_files_stores_none(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    assert settings.DATA_UPLOAD_MAX_NUMBER_FILES == 100
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 10
    files = [Chosen(f"{n}.txt", str(n).encode()) for n in range(11)]
    assert post(as_alice, *files).status_code == 400
    assert is_all_deleted(bucket, alice)
    assert len(send(as_alice, *files[:10])) == 10


def test_checksum_status_is_shown(as_alice: Client, bucket: Bucket) -> None:
    response = post(as_alice, Chosen("a.txt"))
    (file,) = File.objects.all()
    assert file.checksum_status == ChecksumStatus.UNVERIFIED
    assert "1 of 1 stored" in words_of(response.content)
    assert "not verified yet" in words_of(response.content)


def test_form_and_api_store_the_same_metadata(as_alice: Client, bucket: Bucket) -> None:
    body = b"%PDF-1.7 words"
    (by_form,) = send(as_alice, Chosen("a.pdf", body, "application/pdf"))
    by_api = UploadClient(as_alice).send(body, name="a.pdf", type="application/pdf")
    for field in ("name", "size", "etag", "checksum", "checksum_status", "detected_type", "declared_type", "part_size",
                 "visibility", "state", "folder"):  # fmt: skip
        assert getattr(by_form, field) == getattr(by_api, field), field


@pytest.mark.parametrize("private", [True, False])
def test_private_checkbox_sets_the_visibility(private: bool, as_alice: Client, bucket: Bucket) -> None:
    files = send(as_alice, Chosen("a.txt"), Chosen("b.txt"), private=private)
    assert {file.visibility for file in files} == {Visibility.PRIVATE if private else Visibility.TEAM}


# --- names ------------------------------------------------------------------------------------

NAMES = [
    "plain.txt",
    "../../etc/passwd",
    "/abs/path.txt",
    "..%2f..%2fa.txt",
    "C:\\fakepath\\photo.jpg",
    "ends with\\",
    "a\\\\b.txt",
    'quo"te.txt',
    "semi;colon; filename=evil.exe",
    "comma,equals=.txt",
    "per%20cent.txt",
    "&lt;b&gt;&amp;&#0;.txt",
    "<img src=x onerror=alert(1)>.png",
    "line\r\nSet-Cookie: a=b.txt",
    "line\nfeed.txt",
    "nul\x00byte.txt",
    "tab\tand\x7fdelete.txt",
    "\u202egpj.exe",
    "zero\u200bwidth\ufeff.txt",
    "next\x85line\u2028.txt",
    "שלום.txt",
    "ملف مهم.pdf",
    "报告.docx",
    "отчёт.pdf",
    "ไฟล์.txt",
    "e\u0301te\u0301.txt",
    "\u212bngstro\u0308m.txt",
    "📷 👩\u200d🚀.png",
    "  spaces  .txt  ",
    ".hidden",
    "...",
    "..",
    "no extension",
    "CON.txt",
    "a" * 255,
    "a" * 252 + ".txt",
    "é" * 300 + ".jpeg",
    "x" * 800 + ".txt",
    "=cmd|' /C calc'!A0.csv",
    "'; DROP TABLE uploads_file; --.sql",
]


def test_form_and_api_store_the_same_names(as_alice: Client, bucket: Bucket) -> None:
    bodies = {name: b"x" * size for size, name in enumerate(NAMES, start=1)}
    files = send(as_alice, *(Chosen(name, body) for name, body in bodies.items()))
    upload_client = UploadClient(as_alice)
    by_api = {len(body): upload_client.start(body, name=name).row().name for name, body in bodies.items()}
    assert {file.size: file.name for file in files} == by_api
    assert all(re.fullmatch(r"f/[0-9a-f]{32}", file.key) for file in files)


def test_form_and_api_reject_a_name_of_10000_characters(alice: User, as_alice: Client, bucket: Bucket) -> None:
    assert post(as_alice, Chosen("x" * 10_000 + ".txt")).status_code == 400
    assert UploadClient(as_alice).announce(UploadClient(as_alice).item(b"hello", name="x" * 10_000)).status_code == 400
    assert is_all_deleted(bucket, alice)


def test_hostile_declared_type_is_cleaned(as_alice: Client, bucket: Bucket) -> None:
    (file,) = send(as_alice, Chosen("a.txt", b"hello", "text/html<script>\x00"))
    assert file.declared_type in {"", "text/html<script>"}


# --- sent twice -------------------------------------------------------------------------------


def test_form_sent_twice_creates_each_file_once(alice: User, as_alice: Client, bucket: Bucket) -> None:
    submission = str(uuid.uuid4())
    responses = [post(as_alice, Chosen("a.txt", b"a"), Chosen("b.txt", b"b"), submission=submission) for _ in range(2)]
    assert [response.status_code for response in responses] == [200, 200]
    assert "2 of 2 stored" in words_of(responses[1].content)
    assert sorted(File.objects.values_list("name", "state")) == [("a.txt", "available"), ("b.txt", "available")]
    assert len(bucket.objects()) == 2
    assert factories.stored_usage(alice) == (2, 2)


def test_large_file_sent_twice_is_stored_once(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART
    submission, body = str(uuid.uuid4()), binary_content(PART + 1)
    for _ in range(2):
        assert post(as_alice, Chosen("a.bin", body), submission=submission).status_code == 200
    file = File.objects.get()
    assert bucket.objects() == {file.key: PART + 1}
    assert bucket.multipart_uploads() == []
    assert factories.stored_usage(alice) == (1, PART + 1)


@pytest.mark.parametrize(
    "second",
    [Chosen("other.txt", b"one"), Chosen("a.txt", b"two")],
    ids=["another name", "other bytes"],
)
def test_same_submission_with_another_file_creates_a_new_file(second: Chosen, as_alice: Client, bucket: Bucket) -> None:
    submission = str(uuid.uuid4())
    (first,) = send(as_alice, Chosen("a.txt", b"one"), submission=submission)
    (other,) = send(as_alice, second, submission=submission)
    assert bucket.read(first.key) == b"one"
    assert (other.name, bucket.read(other.key)) == (second.name, second.body)


def test_identical_files_in_one_form_are_both_stored(as_alice: Client, bucket: Bucket) -> None:
    assert len(send(as_alice, Chosen("a.txt"), Chosen("a.txt"))) == 2


def test_trashed_file_can_be_sent_again_with_the_same_form(as_alice: Client, bucket: Bucket) -> None:
    submission = str(uuid.uuid4())
    (first,) = send(as_alice, Chosen("a.txt"), submission=submission)
    File.objects.filter(pk=first.pk).move_to(State.TRASHED, purge_after=first.available_at)
    (second,) = send(as_alice, Chosen("a.txt"), submission=submission)
    assert second.state == State.AVAILABLE


def test_same_submission_of_another_user_creates_their_own_file(
    alice: User, bob: User, as_alice: Client, as_bob: Client, bucket: Bucket
) -> None:
    submission = str(uuid.uuid4())
    (file_of_alice,) = send(as_alice, Chosen("a.txt"), submission=submission)
    (file_of_bob,) = send(as_bob, Chosen("a.txt"), submission=submission)
    assert (file_of_alice.owner, file_of_bob.owner) == (alice, bob)


# --- the same name again ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("same_name", "stored"),
    [
        ("new_version", {"a.txt": b"new", "b.txt": b"b"}),
        ("keep_both", {"a.txt": b"old", "a (2).txt": b"new", "b.txt": b"b"}),
        ("skip", {"a.txt": b"old", "b.txt": b"b"}),
    ],
)
def test_existing_name_is_handled_as_chosen(
    same_name: str, stored: dict[str, bytes], alice: User, as_alice: Client, bucket: Bucket
) -> None:
    (first,) = send(as_alice, Chosen("a.txt", b"old"))
    submission = str(uuid.uuid4())
    for _attempt in range(2):  # the second is a double click: it changes nothing
        response = post(as_alice, Chosen("a.txt", b"new"), Chosen("b.txt", b"b"), same_name=same_name,
                        submission=submission)  # fmt: skip
        assert response.status_code == 200
    files = File.objects.listed()
    assert {file.name: bucket.read(file.key) for file in files} == stored
    assert files.get(name="a.txt").permanent_id == first.pk
    assert File.objects.exclude(state=State.AVAILABLE).exclude(state=State.DELETING).count() == 0
    assert factories.stored_usage(alice)[0] == File.objects.available().count()


def test_skipped_file_is_on_the_result_page(as_alice: Client, bucket: Bucket) -> None:
    send(as_alice, Chosen("a.txt", b"old"))
    response = post(as_alice, Chosen("a.txt", b"new"), Chosen("b.txt"), same_name="skip")
    assert "1 of 2 stored" in words_of(response.content)
    assert "a.txt Skipped: a file with this name exists." in words_of(response.content)


def test_file_that_may_not_be_replaced_is_kept_beside_the_new_one(as_alice: Client, bob: User, bucket: Bucket) -> None:
    factories.create_file(bob, bucket=bucket, name="a.txt")
    post(as_alice, Chosen("a.txt", b"new"), same_name="new_version")
    assert set(File.objects.listed().values_list("name", "owner__username")) == {
        ("a.txt", "bob"),
        ("a (2).txt", "alice"),
    }


def test_unknown_choice_for_existing_names_is_refused(as_alice: Client, bucket: Bucket) -> None:
    response = post(as_alice, Chosen("a.txt"), same_name="overwrite")
    assert response.status_code == 400
    assert not File.objects.available().exists()
