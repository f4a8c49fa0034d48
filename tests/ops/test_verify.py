"""`verify` reads stored bytes and compares them with the checksum of their row."""

from __future__ import annotations

import io
import itertools
import json
import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.support.commands import run_command
from tests.support.file_rows import create_row
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, cut
from tests.support.verification import verify_file
from uploads import actions, s3
from uploads.errors import StorageUnavailable
from uploads.models import ChecksumStatus, File, State
from uploads.s3 import streams

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = [pytest.mark.usefixtures("small_parts"), pytest.mark.slow]


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 21, 30])
def test_file_with_a_correct_checksum_is_verified(upload_client: UploadClient, size: int) -> None:
    file = upload_client.send(bytes(range(size)))
    assert file.checksum_status == ChecksumStatus.UNVERIFIED
    assert verify_file(file) == ChecksumStatus.VERIFIED
    file.refresh_from_db()
    assert file.checksum_status == ChecksumStatus.VERIFIED
    assert file.verified_at is not None


def test_verify_detects_an_unknown_type(upload_client: UploadClient) -> None:
    file = upload_client.send(b"PK\x05\x06" + bytes(18), name="a.bin")
    File.objects.update(detected_type="", category="other")
    assert verify_file(File.objects.get()) == ChecksumStatus.VERIFIED
    file.refresh_from_db()
    assert (file.detected_type, file.category) == ("application/zip", "archive")


@pytest.mark.parametrize("chunk", [3, 10, 100])
def test_checksum_does_not_depend_on_the_chunk_size(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    file = upload_client.send(BODY)
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk)
    assert verify_file(file) == ChecksumStatus.VERIFIED


@pytest.mark.parametrize("body", [BODY, b"small"], ids=["parts", "small"])
def test_flipped_bit_is_corruption(upload_client: UploadClient, bucket: Bucket, body: bytes) -> None:
    file = upload_client.send(body)
    bucket.write(file.key, body[:-1] + bytes([body[-1] ^ 1]))
    assert verify_file(file) == ChecksumStatus.CORRUPTED
    assert File.objects.get().checksum_status == ChecksumStatus.CORRUPTED
    assert File.objects.get().checksum == composite(cut(body, 10))


@pytest.mark.parametrize("stored", [b"", BODY[:-1], BODY[:20], BODY + b"x"])
def test_missing_or_added_bytes_are_corruption(upload_client: UploadClient, bucket: Bucket, stored: bytes) -> None:
    file = upload_client.send(BODY)
    bucket.write(file.key, stored)
    assert verify_file(file) == ChecksumStatus.CORRUPTED


def test_wrong_checksum_from_the_client_is_detected(upload_client: UploadClient) -> None:
    upload = upload_client.start(b"true")
    upload_client.put(upload)
    assert upload_client.finish(upload, digests=[composite([b"lied"])]).status_code == 200
    assert verify_file(upload.row()) == ChecksumStatus.CORRUPTED


def test_missing_object_is_reported_and_recorded(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(BODY)
    bucket.delete(file.key)
    assert verify_file(file) == ChecksumStatus.MISSING
    row = File.objects.get()
    assert (row.state, row.checksum_status, row.checksum) == (State.AVAILABLE, ChecksumStatus.MISSING, file.checksum)


def test_restored_bytes_are_verified_again(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(BODY)
    for stored, status in (
        (None, ChecksumStatus.MISSING),
        (BODY, ChecksumStatus.VERIFIED),
        (BODY[::-1], ChecksumStatus.CORRUPTED),
        (BODY, ChecksumStatus.VERIFIED),
    ):
        bucket.delete(file.key) if stored is None else bucket.write(file.key, stored)
        assert verify_file(File.objects.get()) == status


def test_broken_download_changes_no_status(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    file = upload_client.send(BODY)
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(s3.Stream, "chunks", lambda self, size: (_ for _ in ()).throw(StorageUnavailable()))
    with pytest.raises(StorageUnavailable):
        verify_file(file)
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


def test_broken_connection_resumes_at_its_offset(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    file = upload_client.send(BODY)
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 3)
    starts: list[int] = []
    stream, chunks = s3.stream, s3.Stream.chunks

    def breaking_chunks(self: s3.Stream, size: int) -> Iterator[bytes]:
        yield from itertools.islice(chunks(self, size), 3)
        raise StorageUnavailable

    def recording_stream(key: str, *, start: int = 0, **options: str) -> s3.Stream | None:
        starts.append(start)
        return stream(key, start=start, **options)

    monkeypatch.setattr(s3.Stream, "chunks", breaking_chunks)
    monkeypatch.setattr(streams, "stream", recording_stream)
    assert verify_file(file) == ChecksumStatus.VERIFIED
    assert starts == [0, 9, 18]


def test_trashed_file_is_not_verified(upload_client: UploadClient, alice: User) -> None:
    file = upload_client.send(BODY)
    actions.trash_file(file, by=alice)
    assert verify_file(file) is None
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


def test_memory_does_not_grow_with_the_file(alice: User, bucket: Bucket, settings: Settings) -> None:
    """40 MiB as one part, read in pieces: never more than a few MiB of it at once."""
    import tracemalloc

    settings.UPLOAD_PART_BYTES = 64 * 1024**2
    file = create_row(alice, State.AVAILABLE, size=40 * 1024**2, part_size=settings.UPLOAD_PART_BYTES)
    bucket.write(file.key, bytes(file.size))
    tracemalloc.start()
    verify_file(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024**2


# --- the command ------------------------------------------------------------------------------


def counts(**values: int) -> str:
    """Return the last lines of the output."""
    return "".join(f"{name}: {value}\n" for name, value in values.items())


def test_command_verifies_all_unverified_files_and_exits_with_0(upload_client: UploadClient) -> None:
    for body in (BODY, b"small", b""):
        upload_client.send(body)
    code, out, _errors = run_command("verify")
    assert (code, out) == (0, counts(verified=3, corrupted=0, missing=0, failed=0))
    assert set(File.objects.values_list("checksum_status", flat=True)) == {ChecksumStatus.VERIFIED}


def test_command_skips_verified_files_without_the_all_option(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(BODY)
    run_command("verify")
    bucket.write(file.key, b"changed since")
    assert run_command("verify").output.startswith("verified: 0\ncorrupted: 0\n")
    assert run_command("verify", "--all").status == 1
    assert File.objects.get().checksum_status == ChecksumStatus.CORRUPTED


def test_differences_are_listed_and_exit_with_1(upload_client: UploadClient, bucket: Bucket) -> None:
    corrupted, missing, good = upload_client.send(BODY), upload_client.send(b"small"), upload_client.send(b"good")
    bucket.write(corrupted.key, BODY[::-1])
    bucket.delete(missing.key)
    code, out, _errors = run_command("verify")
    assert code == 1
    assert f"corrupted: {corrupted.pk} ({corrupted.key})" in out
    assert f"missing: {missing.pk} ({missing.key})" in out
    assert str(good.pk) not in out
    assert out.endswith(counts(verified=1, corrupted=1, missing=1, failed=0))


def test_unavailable_storage_fails_each_file_and_exits_with_1(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_client.send(BODY)
    upload_client.send(b"small")
    monkeypatch.setattr(streams, "stream", lambda key, **_: (_ for _ in ()).throw(StorageUnavailable()))
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    code, out, _errors = run_command("verify")
    assert (code, out.splitlines()[-1]) == (1, "failed: 2")
    assert set(File.objects.values_list("checksum_status", flat=True)) == {ChecksumStatus.UNVERIFIED}


def test_json_is_one_object_and_nothing_else(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(BODY)
    upload_client.send(b"small")
    bucket.write(file.key, BODY[::-1])
    code, out, _errors = run_command("verify", "--json")
    assert code == 1
    document = json.loads(out)
    problem = {"file": str(file.pk), "key": file.key, "outcome": "corrupted"}
    assert document == {"problems": [problem], "verified": 1, "corrupted": 1, "missing": 0, "failed": 0}


def test_command_verifies_only_the_named_files(upload_client: UploadClient) -> None:
    named, other = upload_client.send(BODY), upload_client.send(b"small")
    assert run_command("verify", str(named.pk)).status == 0
    named.refresh_from_db()
    other.refresh_from_db()
    assert (named.checksum_status, other.checksum_status) == (ChecksumStatus.VERIFIED, ChecksumStatus.UNVERIFIED)


def test_unknown_file_id_is_an_error(upload_client: UploadClient) -> None:
    file, unknown = upload_client.send(BODY), uuid.uuid4()
    with pytest.raises(CommandError, match=str(unknown)) as error:
        call_command("verify", str(file.pk), str(unknown), stdout=io.StringIO())
    assert error.value.returncode == 2


def test_invalid_file_id_is_rejected() -> None:
    with pytest.raises(CommandError):
        call_command("verify", "no-id")


def test_only_available_files_are_read(alice: User, bucket: Bucket) -> None:
    for state in State:
        if state != State.AVAILABLE:
            create_row(alice, state)
    assert run_command("verify") == (0, counts(verified=0, corrupted=0, missing=0, failed=0), "")
