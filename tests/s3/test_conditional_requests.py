"""Conditional requests: nothing is overwritten, and only the intended object of our own bucket is deleted.

LocalStack honors If-None-Match when it completes a multipart upload. For the rest, a proxy in front of rclone checks
conditions as S3 does, because rclone honors none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support import storage_proxies, two_stores
from tests.support.doctor_results import only
from tests.support.file_rows import create_row
from tests.support.fsck_runs import key, run_fsck, stored
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, sha256, web
from uploads import s3
from uploads.errors import Conflict, StorageDenied, StorageUnavailable
from uploads.models import ChecksumStatus, File, Finding, Origin, State
from uploads.models.querysets import seconds_from_now
from uploads.s3.client import OWNER
from uploads.s3.feature_probes import probe_conditions
from uploads.services.doctor import Level
from uploads.services.doctor.bucket import check_conditional_requests, check_owner
from uploads.services.doctor.storage import check_endpoint
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db

ALL = frozenset({"complete", "copy", "delete"})
ACCOUNT, OTHER_ACCOUNT = "123456789012", "210987654321"
FAILED = storage_proxies.status(412, "PreconditionFailed")
OBJECT = re.compile(r"<Object>(.*?)</Object>", re.DOTALL)


class Conditions:
    """Checks the conditions of requests through a proxy. Calls `before` once, before the first conditional request."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.seen: list[str] = []
        self.before: Callable[[], object] = lambda: None

    def rules(self) -> dict[str, storage_proxies.Rule]:
        return {"put": self.write, "complete": self.write, "delete": self.delete, "deletes": self.delete_many}

    def write(self, request: storage_proxies.Request) -> storage_proxies.Response | None:
        if _header(request, "if-none-match") != "*":
            return request.forward()
        self._meet(request.operation)
        return FAILED(request) if _key(request) in self.bucket.objects() else request.forward()

    def delete(self, request: storage_proxies.Request) -> storage_proxies.Response | None:
        etag = _header(request, "if-match")
        if not etag:
            return request.forward()
        self._meet(request.operation)
        return FAILED(request) if self._is_another(_key(request), etag) else request.forward()

    def delete_many(self, request: storage_proxies.Request) -> storage_proxies.Response | None:
        objects = [(_element(text, "Key"), _element(text, "ETag")) for text in OBJECT.findall(request.body.decode())]
        if not any(etag for _, etag in objects):
            return request.forward()
        self._meet(request.operation)
        changed = [name for name, etag in objects if etag and self._is_another(name, etag)]
        for name, _ in objects:
            if name not in changed:
                self.bucket.delete(name)
        errors = "".join(f"<Error><Key>{name}</Key><Code>PreconditionFailed</Code></Error>" for name in changed)
        return storage_proxies.Response(200, {}, f"<DeleteResult>{errors}</DeleteResult>".encode())

    def _meet(self, operation: str) -> None:
        self.seen.append(operation)
        before, self.before = self.before, lambda: None
        before()

    def _is_another(self, name: str, etag: str) -> bool:
        if name not in self.bucket.objects():
            return False
        return self.bucket.client.head_object(Bucket=self.bucket.name, Key=name)["ETag"].strip('"') != etag.strip('"')


def _key(request: storage_proxies.Request) -> str:
    return unquote(urlsplit(request.url).path).split("/", 2)[2]


def _header(request: storage_proxies.Request, name: str) -> str:
    return {header.lower(): value for header, value in request.headers.items()}.get(name, "")


def _element(text: str, name: str) -> str:
    match = re.search(f"<{name}>(.*?)</{name}>", text)
    return match[1].replace("&quot;", "").replace('"', "") if match else ""


@pytest.fixture
def strict(bucket: Bucket, settings: Settings) -> Iterator[Conditions]:
    """The storage of this run, with every condition honored and enabled in the settings."""
    conditions = Conditions(bucket)
    settings.S3_CONDITIONS = ALL
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules |= conditions.rules()
        yield conditions


def info_of(name: str) -> s3.ObjectInfo:
    info = s3.head(name)
    assert info is not None
    return info


def etag_of(name: str) -> str:
    return info_of(name).etag


# --- writes -----------------------------------------------------------------------------------


def test_multipart_upload_never_overwrites_an_object(digest_bucket: Bucket) -> None:
    name = key(1)
    multipart_id = s3.create_multipart(name)
    s3.upload_part(name, multipart_id, 1, b"late", sha256=sha256(b"late"))
    digest_bucket.write(name, b"first")
    parts = s3.list_parts(name, multipart_id) or []
    assert not s3.complete_multipart(name, multipart_id, parts, size=4, once=True)
    assert digest_bucket.read(name) == b"first"


def test_complete_with_a_lost_response_is_detected(as_alice: Client, digest_bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_PART_BYTES = two_stores.PART
    body = b"x" * two_stores.PART + b"the rest"
    with storage_proxies.proxy_of_app(settings, digest_bucket) as proxy:

        def lose(request: storage_proxies.Request) -> storage_proxies.Response | None:
            del proxy.rules["complete"]
            request.forward()
            return storage_proxies.status(500, "InternalError")(request)

        proxy.rules["complete"] = lose
        file = UploadClient(as_alice).send(body)
    assert (file.state, proxy.seen.count("complete")) == (State.AVAILABLE, 2)
    assert digest_bucket.objects()[file.key] == len(body)


def test_conditional_conflict_is_unavailable_storage(digest_bucket: Bucket, settings: Settings) -> None:
    with storage_proxies.proxy_of_app(settings, digest_bucket) as proxy:
        proxy.rules["complete"] = storage_proxies.status(409, "ConditionalRequestConflict")
        with pytest.raises(StorageUnavailable) as error:
            s3.complete_multipart(key(1), "any", [], size=4, once=True)
    assert "ConditionalRequestConflict" in error.value.detail


def test_quarantine_never_overwrites_a_newer_object(bucket: Bucket, strict: Conditions) -> None:
    bucket.write(key(1), b"hello")
    strict.before = lambda: bucket.write(f"quarantine/{key(1)}", b"other")
    with pytest.raises(Conflict, match="changed or deleted, or quarantine"):
        s3.quarantine(info_of(key(1)))
    assert (bucket.read(key(1)), bucket.read(f"quarantine/{key(1)}")) == (b"hello", b"other")


def test_quarantine_can_be_repeated(bucket: Bucket, strict: Conditions) -> None:
    bucket.write(key(1), b"hello")
    assert s3.quarantine(info_of(key(1))) == s3.quarantine(info_of(key(1)))
    assert strict.seen == ["put"]


def test_a_copy_never_overwrites_another_installations_object(bucket: Bucket, strict: Conditions) -> None:
    bucket.write("photos/a.jpg", b"theirs")
    tag = s3.CopyTag("us", etag_of("photos/a.jpg"))
    assert not s3.copy_within("photos/a.jpg", lengths=[6], tag=tag, source="", target="", once=True)
    assert bucket.client.head_object(Bucket=bucket.name, Key="photos/a.jpg")["Metadata"] == {}


def test_put_file_never_overwrites_an_object_of_another_installation(digest_bucket: Bucket) -> None:
    digest_bucket.write("photos/a.jpg", b"theirs")
    digests = (sha256(b"ours"), "")
    with pytest.raises(StorageUnavailable) as error:
        s3.put_file("photos/a.jpg", io.BytesIO(b"ours"), digests=digests, store="", tag=s3.CopyTag(), once=True)
    assert "PreconditionFailed" in error.value.detail
    assert digest_bucket.read("photos/a.jpg") == b"theirs"


# --- removals ---------------------------------------------------------------------------------


def test_delete_removes_only_an_object_with_the_expected_etag(bucket: Bucket, strict: Conditions) -> None:
    bucket.write(key(1), b"hello")
    etag = etag_of(key(1))
    bucket.write(key(1), b"newer")
    assert not s3.delete(key(1), etag=etag)
    assert bucket.read(key(1)) == b"newer"
    assert s3.delete(key(1), etag=etag_of(key(1)))
    assert s3.delete(key(1), etag=etag)
    assert bucket.objects() == {}


def test_delete_many_keeps_only_the_changed_object(bucket: Bucket, strict: Conditions) -> None:
    keys = [key(number) for number in range(3)]
    for name in keys:
        bucket.write(name, b"hello")
    etags = {name: etag_of(name) for name in keys}
    bucket.write(keys[1], b"newer")
    assert s3.delete_many(keys, etags=etags) == {keys[1]: "PreconditionFailed"}
    assert set(bucket.objects()) == {keys[1]}


def test_storage_without_conditions_is_sent_none(bucket: Bucket, strict: Conditions, settings: Settings) -> None:
    settings.S3_CONDITIONS = frozenset()
    bucket.write(key(1), b"hello")
    s3.quarantine(info_of(key(1)))
    assert s3.delete(key(1), etag="0" * 32)
    assert s3.delete_many([f"quarantine/{key(1)}"], etags={f"quarantine/{key(1)}": "0" * 32}) == {}
    assert (strict.seen, bucket.objects()) == ([], {})


def test_orphan_overwritten_during_repair_is_kept(alice: User, marked: Bucket, strict: Conditions) -> None:
    stored(alice, marked)
    marked.write(key(1), b"hello")
    run_fsck()
    strict.before = lambda: setattr(strict, "before", lambda: marked.write(key(1), b"newer"))  # at the second request
    assert run_fsck("--repair", "--max-repairs=1").status == 1
    assert strict.seen == ["put", "delete"]
    assert marked.read(key(1)) == b"newer"
    assert Finding.objects.get().repaired_by == ""


@pytest.mark.parametrize("count", [1, 3])
def test_erasing_an_imported_file_keeps_a_changed_object(
    alice: User, marked: Bucket, strict: Conditions, count: int
) -> None:
    for number in range(count):
        marked.write(f"photos/{number}", b"hello")
        facts: dict[str, Any] = {"origin": Origin.ADOPTED, "key": f"photos/{number}", "size": 5}
        create_row(
            alice, State.DELETING, etag=etag_of(f"photos/{number}"), checksum_status=ChecksumStatus.UNVERIFIED, **facts
        )
    marked.write("photos/0", b"newer")
    assert sweep()["erased"] == count
    assert set(marked.objects()) == {"photos/0"}
    assert not File.objects.exists()


def test_erasing_an_uploaded_file_deletes_a_changed_object(alice: User, marked: Bucket, strict: Conditions) -> None:
    row = create_row(alice, State.DELETING, key=key(1), etag="0" * 32)
    marked.write(row.key, b"sent a second time")
    assert sweep()["erased"] == 1
    assert marked.objects() == {}


def test_original_overwritten_during_removal_is_kept(
    as_alice: Client, bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = two_stores.second_bucket(bucket.address)
    with two_stores.two_stores(bucket, second, settings, monkeypatch) as two:
        file = UploadClient(as_alice).send(b"hello")
        two.swap()
        two_stores.run_move_store("--apply")
        File.objects.update(updated_at=seconds_from_now(-25 * 3600))
        conditions = Conditions(bucket)
        conditions.before = lambda: bucket.write(file.key, b"newer")
        with storage_proxies.run_storage_proxy(bucket.address.endpoint) as proxy:
            proxy.rules |= conditions.rules()
            settings.SECONDARY_S3 = {**settings.SECONDARY_S3, "endpoint": proxy.url, "conditions": ALL}
            summary = two_stores.run_move_store("--remove-originals", "--apply")[1]
    assert (summary["failed"], summary["removed"], conditions.seen) == (1, 0, ["deletes"])
    assert bucket.read(file.key) == b"newer"


# --- bucket owner -----------------------------------------------------------------------------


@pytest.fixture
def owned(bucket: Bucket, settings: Settings) -> Iterator[list[str]]:
    """The storage of this run as if ACCOUNT owned the bucket. Yields the expected owner of each request."""
    expected_owners: list[str] = []

    def check(request: storage_proxies.Request) -> storage_proxies.Response | None:
        query = parse_qs(urlsplit(request.url).query)
        expected = _header(request, OWNER) or query.get(OWNER, [""])[0]
        source = _header(request, "x-amz-source-expected-bucket-owner")
        expected_owners.append(expected)
        is_ours = {expected, source} <= {"", ACCOUNT}
        return request.forward() if is_ours else storage_proxies.status(403, "AccessDenied")(request)

    settings.S3_BUCKET_OWNER = ACCOUNT
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["*"] = check
        yield expected_owners


def test_calls_and_upload_urls_reach_no_bucket_of_another_account(
    bucket: Bucket, owned: list[str], settings: Settings
) -> None:
    settings.S3_BUCKET_OWNER = OTHER_ACCOUNT
    for call in (s3.head, lambda name: s3.head_and_sniff(name, size=1), s3.delete, lambda _: list(s3.list_objects())):
        with pytest.raises(StorageDenied):
            call(key(1))
    signed = s3.sign_put(key(1), size=5, sha256=None)
    assert web.request("PUT", signed.url, body=b"hello", headers=signed.headers).status == 403
    assert bucket.objects() == {}


def test_calls_and_upload_urls_reach_the_bucket_of_the_right_account(
    as_alice: Client, bucket: Bucket, owned: list[str], small_parts: None
) -> None:
    """Browsers need no additional headers."""
    file = UploadClient(as_alice).send(b"0123456789abcdefghijKLM")
    s3.quarantine(info_of(file.key))
    assert s3.delete_many([file.key]) == {}
    assert set(bucket.objects()) == {f"quarantine/{file.key}"}
    assert set(owned) == {ACCOUNT}
    assert s3.sign_put(key(1), size=5, sha256=None).headers == {"Content-Type": "application/octet-stream"}


def test_signed_payload_url_names_the_bucket_owner(bucket: Bucket, owned: list[str], settings: Settings) -> None:
    settings.S3_CHECKSUMS, settings.S3_BUCKET_OWNER = "payload", OTHER_ACCOUNT
    signed = s3.sign_put(key(1), size=5, sha256=sha256(b"hello"))
    assert web.request("PUT", signed.url, body=b"hello", headers=signed.headers).status == 403
    assert owned == [OTHER_ACCOUNT]


def test_doctor_reports_a_bucket_of_another_account(owned: list[str], settings: Settings) -> None:
    settings.S3_BUCKET_OWNER = OTHER_ACCOUNT
    line = only(check_endpoint())
    assert line.level is Level.FAIL
    assert f"does not belong to account {OTHER_ACCOUNT}" in line.reason


def test_doctor_checks_that_storage_verifies_the_owner(owned: list[str]) -> None:
    line = only(check_owner())
    assert (line.level, line.reason) == (
        Level.OK, f"the bucket belongs to account {ACCOUNT}, and the storage rejects any other (tested)",
    )  # fmt: skip


def test_doctor_recommends_an_owner_only_on_aws(bucket: Bucket, settings: Settings) -> None:
    assert only(check_owner()).level is Level.OK
    settings.S3_ENDPOINT = None
    assert only(check_owner()).level is Level.WARN


def test_doctor_fails_if_storage_ignores_the_owner(bucket: Bucket, settings: Settings) -> None:
    settings.S3_BUCKET_OWNER = ACCOUNT
    line = only(check_owner())
    assert (line.level, line.advice) == (Level.FAIL, "remove S3_BUCKET_OWNER")


# --- doctor --------------------------------------------------------------------


def test_probe_finds_no_supported_conditions(bucket: Bucket) -> None:
    assert probe_conditions() == frozenset()
    assert (bucket.objects(), bucket.multipart_uploads()) == ({}, [])


def test_probe_finds_conditional_complete(digest_bucket: Bucket) -> None:
    assert probe_conditions() == {"complete"}
    assert (digest_bucket.objects(), digest_bucket.multipart_uploads()) == ({}, [])


def test_doctor_accepts_storage_with_all_conditions(strict: Conditions, bucket: Bucket) -> None:
    line = only(check_conditional_requests())
    assert (line.level, bucket.objects()) == (Level.OK, {})


def test_doctor_fails_for_ignored_conditions(bucket: Bucket, settings: Settings) -> None:
    settings.S3_CONDITIONS = ALL
    lines = list(check_conditional_requests())
    assert [line.level for line in lines] == [Level.FAIL] * 3
    assert {line.advice for line in lines} == {"set S3_CONDITIONS=off"}


def test_doctor_recommends_a_supported_condition(digest_bucket: Bucket, settings: Settings) -> None:
    settings.S3_CONDITIONS = frozenset()
    line = only(check_conditional_requests())
    assert (line.level, line.advice) == (Level.WARN, "set S3_CONDITIONS=complete")


def test_doctor_names_a_permission_missing_in_the_probe(strict: Conditions, bucket: Bucket, settings: Settings) -> None:
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["delete"] = lambda request: (
            storage_proxies.status(403, "AccessDenied")(request) if _header(request, "if-match") else request.forward()
        )
        line = only(check_conditional_requests())
    assert (line.level, line.advice) == (Level.FAIL, "allow s3:DeleteObject and s3:GetObject")
    assert bucket.objects() == {}
