"""Existing objects that storage refuses to return: archived ones, foreign keys, policies."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support import storage_proxies
from tests.support.commands import check_output, run_command
from tests.support.storage_proxies import Request, Response, StorageProxy
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.verification import verify_file
from uploads import s3, services
from uploads.errors import ObjectArchived, ObjectEncrypted, ObjectRefused, StorageDenied, StorageUnavailable
from uploads.models import ChecksumStatus, File, Preview, PreviewState, Refusal, Report
from uploads.services import task_queue, zips

# an import opens its own connections; alice owns what it imports
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("alice")]

# Status and body of AWS, and the refusal that we record.
REFUSALS: dict[str, tuple[int, str, str]] = {
    "archived": (403, "<Code>InvalidObjectState</Code>", Refusal.ARCHIVED),
    "customer key": (
        400,
        "<Code>InvalidRequest</Code><Message>The object was stored using a form of Server Side Encryption. The correct "
        "parameters must be provided to retrieve the object.</Message>",
        Refusal.ENCRYPTED,
    ),
    "key disabled": (400, "<Code>KMS.DisabledException</Code>", Refusal.ENCRYPTED),
    "key without right": (
        403,
        "<Code>AccessDenied</Code><Message>User: x is not authorized to perform: kms:Decrypt on resource: y</Message>",
        Refusal.ENCRYPTED,
    ),
    "policy": (403, "<Code>AccessDenied</Code>", Refusal.DENIED),
    "without words": (403, "", Refusal.DENIED),
    "legal": (451, "", Refusal.DENIED),
    "odd": (400, "<Code>InvalidArgument</Code>", Refusal.DENIED),
}


def imported(bucket: Bucket, *names: str) -> list[File]:
    """Import one text object per name from the bucket."""
    for name in names:
        bucket.write(f"odd/{name}", f"words of {name}".encode())
    check_output("import_bucket", "odd/", "--owner", "alice", "--apply")
    return [File.objects.get(name=name) for name in names]


def refuse(storage_proxy: StorageProxy, part: str, status: int, body: str) -> None:
    """Make storage return this error for every key that contains `part`."""

    def respond(request: Request) -> Response:
        if part not in request.url:
            return request.forward()
        text = f"<Error>{body}</Error>" if body else ""
        return Response(status, {"Content-Type": "application/xml"}, b"" if request.method == "HEAD" else text.encode())

    storage_proxy.rules["get"] = storage_proxy.rules["head"] = respond


@pytest.fixture
def cold(digest_bucket: Bucket, alice: User) -> list[File]:
    """Return three imported files; the first is archived."""
    digest_bucket.client.put_object(
        Bucket=digest_bucket.name, Key="odd/1-cold.txt", Body=b"cold", StorageClass="GLACIER"
    )
    for number in (2, 3):
        digest_bucket.write(f"odd/{number}-warm.txt", b"warm")
    check_output("import_bucket", "odd/", "--owner", "alice", "--apply")
    return list(File.objects.order_by("key"))


def thaw(bucket: Bucket, file: File) -> None:
    bucket.client.restore_object(Bucket=bucket.name, Key=file.key, RestoreRequest={"Days": 1})


# --- the gateway --------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_object_is_distinguished_from_unavailable_storage(
    bucket: Bucket, storage_proxy: StorageProxy, refusal: str
) -> None:
    bucket.write("odd/a.txt", b"words")
    status, body, reason = REFUSALS[refusal]
    refuse(storage_proxy, "odd", status, body)
    for call in (s3.stream, s3.read, s3.head):
        with pytest.raises(ObjectRefused) as caught:
            call("odd/a.txt")
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(403, "AccessDenied", StorageDenied), (403, "InvalidAccessKeyId", StorageDenied),
     (503, "SlowDown", StorageUnavailable), (404, "NoSuchBucket", StorageUnavailable),
     (429, "TooManyRequests", StorageUnavailable)],
)  # fmt: skip
def test_error_of_the_whole_bucket_is_not_an_object_refusal(
    bucket: Bucket, storage_proxy: StorageProxy, status: int, code: str, error: type[Exception]
) -> None:
    bucket.write("odd/a.txt", b"words")
    storage_proxy.rules["get"] = storage_proxies.status(status, code)
    with pytest.raises(error) as caught:
        s3.stream("odd/a.txt")
    assert not isinstance(caught.value, ObjectRefused)


def test_archived_and_encrypted_objects_are_recognized(digest_bucket: Bucket, cold: list[File]) -> None:
    digest_bucket.client.put_object(
        Bucket=digest_bucket.name, Key="odd/key.txt", Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32
    )
    with pytest.raises(ObjectArchived):
        s3.read_start(cold[0].key, max_bytes=1)
    with pytest.raises((ObjectEncrypted, ObjectRefused)):
        s3.read_start("odd/key.txt", max_bytes=1)


# --- previews -----------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refused_object_does_not_block_other_previews(
    bucket: Bucket, storage_proxy: StorageProxy, refusal: str
) -> None:
    status, body, reason = REFUSALS[refusal]
    refuse(storage_proxy, "poison", status, body)
    poison, *others = imported(bucket, "poison.txt", "b.txt", "c.txt")
    services.preview_files.call([str(file.pk) for file in (poison, *others)])
    poison.refresh_from_db()
    assert poison.refusal == reason
    assert Preview.objects.get(file=poison).state == PreviewState.FAILED
    assert Preview.objects.filter(file__in=others, state=PreviewState.READY).count() == 2
    assert services.requeue_lost_previews() == 0


def test_refusal_of_every_object_marks_no_file(bucket: Bucket, storage_proxy: StorageProxy) -> None:
    files = imported(bucket, "a.txt", "b.txt")
    storage_proxy.rules["get"] = storage_proxy.rules["head"] = storage_proxies.status(403, "AccessDenied")
    services.preview_files.call([str(file.pk) for file in files])
    assert set(File.objects.values_list("refusal", flat=True)) == {""}
    assert not Preview.objects.filter(state=PreviewState.FAILED).exists()


def test_refused_preview_is_tried_again_on_request(bucket: Bucket, storage_proxy: StorageProxy) -> None:
    (file,) = imported(bucket, "poison.txt")
    refuse(storage_proxy, "poison", 403, "<Code>AccessDenied</Code>")
    services.make_previews(file)
    storage_proxy.rules.clear()
    check_output("previews", "--retry-failed")
    file.refresh_from_db()
    services.make_previews(file)
    assert Preview.objects.get().state == PreviewState.READY
    file.refresh_from_db()
    assert file.refusal == ""


# --- import, pages, downloads -------------------------------------------------------------------


def test_import_reports_the_number_of_archived_objects(digest_bucket: Bucket, cold: list[File]) -> None:
    assert [file.refusal for file in cold] == [Refusal.ARCHIVED, "", ""]
    digest_bucket.client.put_object(
        Bucket=digest_bucket.name, Key="odd/4-deep&dark.txt", Body=b"deep", StorageClass="DEEP_ARCHIVE"
    )
    digest_bucket.client.put_object(
        Bucket=digest_bucket.name, Key="odd/5-instant.txt", Body=b"instant", StorageClass="GLACIER_IR"
    )
    output = check_output("import_bucket", "odd/", "--owner", "alice", "--apply")
    assert "archived: 1\n" in output
    assert "restore-object" in output
    assert File.objects.get(key="odd/4-deep&dark.txt").refusal == Refusal.ARCHIVED
    assert File.objects.get(key="odd/5-instant.txt").refusal == ""


def test_page_of_archived_file_has_a_notice_and_no_preview(cold: list[File], as_alice: Client) -> None:
    page = as_alice.get(cold[0].get_absolute_url()).content.decode()
    assert "This file is archived." in page
    assert "Creating a preview" not in page
    assert "is archived and must be restored first" in page


def test_download_of_an_archived_file_shows_an_error_page(cold: list[File], as_alice: Client) -> None:
    response = as_alice.get(f"{cold[0].get_absolute_url()}download")
    assert response.status_code == 409
    assert "“1-cold.txt” is archived." in response.content.decode()
    assert "Retry-After" not in response


def test_download_of_a_file_archived_after_import_shows_an_error_page(cold: list[File], as_alice: Client) -> None:
    File.objects.update(refusal="")  # the listing doesn't report it, as with Intelligent-Tiering
    assert as_alice.get(f"{cold[0].get_absolute_url()}download").status_code == 409
    assert File.objects.get(pk=cold[0].pk).refusal == Refusal.ARCHIVED


def test_restored_file_works_again(digest_bucket: Bucket, cold: list[File], as_alice: Client) -> None:
    services.make_previews(cold[0])
    thaw(digest_bucket, cold[0])
    assert as_alice.get(f"{cold[0].get_absolute_url()}download").status_code == 302
    assert task_queue.is_active(services.preview_files)
    services.make_previews(cold[0])
    assert Preview.objects.get(file=cold[0]).state == PreviewState.READY
    assert verify_file(cold[0]) == ChecksumStatus.VERIFIED


@pytest.mark.parametrize("refusal", ["customer key", "policy"])
def test_download_of_refused_file_explains_the_reason(
    bucket: Bucket, storage_proxy: StorageProxy, as_alice: Client, refusal: str
) -> None:
    (file,) = imported(bucket, "poison.txt")
    status, body, reason = REFUSALS[refusal]
    refuse(storage_proxy, "poison", status, body)
    response = as_alice.get(f"{file.get_absolute_url()}download")
    assert response.status_code == 409
    words = "encrypted with a key" if reason == Refusal.ENCRYPTED else "denied access"
    assert words in response.content.decode()
    assert "be opened." in as_alice.get(file.get_absolute_url()).content.decode()


# --- zips ---------------------------------------------------------------------------------------


def request_zip(client: Client, files: list[File]) -> Any:
    return client.post("/files/zip", {"file": [str(file.permanent_id) for file in files]})


def test_zip_with_an_archived_file_is_rejected_by_name(
    digest_bucket: Bucket, cold: list[File], as_alice: Client
) -> None:
    response = request_zip(as_alice, cold)
    assert response.status_code == 409
    assert "“1-cold.txt” is archived." in response.content.decode()
    thaw(digest_bucket, cold[0])
    with zipfile.ZipFile(io.BytesIO(b"".join(request_zip(as_alice, cold).streaming_content))) as archive:
        assert archive.read("1-cold.txt") == b"cold"


def test_zip_lists_all_newly_refused_files_before_it_starts(
    bucket: Bucket, storage_proxy: StorageProxy, as_alice: Client
) -> None:
    files = imported(bucket, "a.txt", "poison-1.txt", "poison-2.txt")
    refuse(storage_proxy, "poison", 403, "<Code>AccessDenied</Code>")
    response = request_zip(as_alice, files)
    assert response.status_code == 409
    assert "“poison-1.txt”, “poison-2.txt”" in response.content.decode()


def test_large_zip_aborted_at_a_refused_file_is_rejected_next_time(
    bucket: Bucket, storage_proxy: StorageProxy, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "MAX_FILES_CHECKED", 0)
    files = imported(bucket, "a.txt", "poison.txt")
    refuse(storage_proxy, "poison", 403, "<Code>AccessDenied</Code>")
    with pytest.raises(zips.DownloadAborted, match="object_refused"):
        b"".join(request_zip(as_alice, files).streaming_content)
    response = request_zip(as_alice, files)
    assert response.status_code == 409
    assert "“poison.txt”" in response.content.decode()


def test_zip_with_a_later_archived_upload_is_rejected_by_name(digest_bucket: Bucket, as_alice: Client) -> None:
    file = UploadClient(as_alice).send(b"words", name="report.txt")
    digest_bucket.client.copy_object(
        Bucket=digest_bucket.name, Key=file.key, CopySource={"Bucket": digest_bucket.name, "Key": file.key},
        StorageClass="DEEP_ARCHIVE",
    )  # fmt: skip
    response = request_zip(as_alice, [file])
    assert response.status_code == 409
    assert "“report.txt” is archived." in response.content.decode()
    assert as_alice.get(f"{file.get_absolute_url()}download").status_code == 409


def test_zip_with_unavailable_storage_keeps_the_refusal(
    bucket: Bucket, storage_proxy: StorageProxy, as_alice: Client
) -> None:
    (file,) = imported(bucket, "poison.txt")
    File.objects.update(refusal=Refusal.ARCHIVED)
    storage_proxy.rules["get"] = storage_proxy.rules["head"] = storage_proxies.status(503, "SlowDown")
    assert request_zip(as_alice, [file]).status_code == 503
    assert File.objects.get().refusal == Refusal.ARCHIVED


# --- verification -------------------------------------------------------------------------------


def run_verify(*words: str) -> tuple[int, dict[str, int]]:
    """Return the exit status and the counts."""
    status, output, _errors = run_command("verify", *words, "--json")
    return status, {name: count for name, count in json.loads(output).items() if name != "problems"}


def test_plain_verify_reads_imported_files(bucket: Bucket, alice: User) -> None:
    imported(bucket, "a.txt", "b.txt")
    assert run_verify() == (0, {"verified": 2, "corrupted": 0, "missing": 0, "failed": 0})
    assert run_verify()[1]["verified"] == 0
    assert set(File.objects.values_list("checksum_status", flat=True)) == {ChecksumStatus.VERIFIED}


def test_archived_file_does_not_fail_verify(cold: list[File]) -> None:
    assert run_verify("--all") == (0, {"verified": 2, "corrupted": 0, "missing": 0, "failed": 0, "archived": 1})
    assert Report.objects.get(command="verify").outcome == "succeeded"


def test_refused_file_is_reported_by_verify_and_excluded_from_samples(
    bucket: Bucket, storage_proxy: StorageProxy
) -> None:
    poison, _other = imported(bucket, "poison.txt", "b.txt")
    refuse(storage_proxy, "poison", 403, "<Code>AccessDenied</Code>")
    assert run_verify("--all") == (1, {"verified": 1, "corrupted": 0, "missing": 0, "failed": 0, "refused": 1})
    assert run_verify("--sample", "1/1")[1].get("refused") == 1
    assert run_verify("--sample", "1/2") == (0, {"verified": 1, "corrupted": 0, "missing": 0, "failed": 0})
    storage_proxy.rules.clear()
    assert run_verify("--all")[0] == 0
    poison.refresh_from_db()
    assert (poison.refusal, poison.checksum_status) == ("", ChecksumStatus.VERIFIED)


def test_refused_marker_is_requested_once(bucket: Bucket, storage_proxy: StorageProxy) -> None:
    imported(bucket, *(f"{number}.txt" for number in range(20)))
    storage_proxy.rules["get"] = storage_proxies.status(403, "AccessDenied")
    storage_proxy.seen.clear()
    assert run_verify("--all")[0] == 1
    assert storage_proxy.seen.count("get") == 1


def test_metadata_only_verify_records_newly_archived_files(cold: list[File]) -> None:
    File.objects.update(refusal="")
    assert run_verify("--metadata-only")[0] == 0
    assert File.objects.get(pk=cold[0].pk).refusal == Refusal.ARCHIVED


def test_verification_of_a_refused_object_is_not_retried(bucket: Bucket, storage_proxy: StorageProxy) -> None:
    poison, other = imported(bucket, "poison.txt", "b.txt")
    File.objects.update(checksum_status=ChecksumStatus.UNVERIFIED)
    refuse(storage_proxy, "poison", 403, "<Code>AccessDenied</Code>")
    services.verify_files.call([str(poison.pk), str(other.pk)])
    assert not task_queue.waiting_ids(services.verify_files)
    assert services.requeue_lost_verifications() == 0
