"""Probes of what the storage honors: checksums, conditional requests and the expected bucket owner."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.conf import settings

from uploads.keys import QUARANTINE_PREFIX
from uploads.s3.client import Store, client, http, main_store, require_no_transaction
from uploads.s3.errors import CHANGED, S3ResponseError, raw_call
from uploads.s3.objects import delete_listed
from uploads.s3.signing import PresignedRequest, sign_part_at, sign_put_at

PREFIX = f"{QUARANTINE_PREFIX}doctor-"  # fsck ignores keys there
BODY = b"amalga doctor was here"
FLIPPED = bytes([BODY[0] ^ 1]) + BODY[1:]
SHA256 = b64encode(hashlib.sha256(BODY).digest()).decode()
LEFTOVER_AGE = timedelta(hours=1)


@dataclass(frozen=True)
class ProbeResult:
    """The result of one S3_CHECKSUMS mode. `fault` describes why a plain round trip failed, "" if it did not.

    The others say whether wrong bytes were refused as a whole file, as a part, and with one byte too many; and whether
    the storage keeps the checksum with the object.
    """

    fault: str
    refuses_flipped: bool = False
    refuses_flipped_part: bool = False
    refuses_longer: bool = False
    keeps: bool = False

    def honors(self, mode: str) -> bool:
        if self.fault:
            return False
        refuses = self.refuses_flipped and self.refuses_flipped_part
        return {"sha256": refuses and self.keeps, "payload": refuses, "off": True}[mode]


def probe_checksum_mode(mode: str) -> ProbeResult:
    """Send a few bytes in this mode, under keys that are deleted again. Raises S3ResponseError if unavailable."""
    at = replace(main_store(), checksums=mode)
    with probe_keys() as (right, flipped, longer, parts):
        fault = _round_trip(at, right)
        if fault:
            return ProbeResult(fault)
        return ProbeResult(
            "",
            refuses_flipped=_refuses_put(sign_put_at(at, flipped, size=len(BODY), sha256=SHA256), FLIPPED),
            refuses_flipped_part=_refuses_part(at, parts),
            refuses_longer=_refuses_put(sign_put_at(at, longer, size=len(BODY), sha256=SHA256), BODY + b"!"),
            keeps=_stored_digest(right) == SHA256,
        )


def clear_leftovers() -> None:
    """Delete objects that earlier probes left behind. Raises S3ResponseError."""
    with raw_call("ListObjectsV2"):
        items = client().list_objects_v2(Bucket=settings.S3_BUCKET, Prefix=PREFIX, MaxKeys=100).get("Contents", [])
    before = datetime.now(UTC) - LEFTOVER_AGE
    for item in items:
        if item["LastModified"] < before:
            _delete_probe(item["Key"])


@contextlib.contextmanager
def probe_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield four keys, and delete their objects at the end. Raises S3ResponseError if that fails."""
    first, second, third, fourth = keys = [f"{PREFIX}{secrets.token_hex(16)}" for _ in range(4)]
    try:
        yield first, second, third, fourth
    except BaseException:
        for key in keys:
            with contextlib.suppress(S3ResponseError):
                _delete_probe(key)
        raise
    for key in keys:
        _delete_probe(key)


def _round_trip(at: Store, key: str) -> str:
    """Store and read an object; return what is wrong, "" if nothing is."""
    status, code = _put(sign_put_at(at, key, size=len(BODY), sha256=SHA256), BODY)
    if not 200 <= status < 300:
        return f"correct uploads are rejected ({code or status})"
    with raw_call("GetObject"):
        body = client().get_object(Bucket=at.bucket, Key=key)["Body"]
        with contextlib.closing(body):
            same = body.read(len(BODY) + 1) == BODY
    return "" if same else "a download differs from its upload"


def _refuses_put(signed: PresignedRequest, body: bytes) -> bool:
    """Return whether the storage clearly refuses the bytes. Raises S3ResponseError for a server error."""
    status, code = _put(signed, body)
    if status >= 500:
        raise S3ResponseError("PutObject", code or str(status), status=status)
    return 400 <= status < 500


def _refuses_part(at: Store, key: str) -> bool:
    kind = {"ChecksumAlgorithm": "SHA256"} if at.keeps_digests else {}
    with raw_call("CreateMultipartUpload"):
        upload = client().create_multipart_upload(Bucket=at.bucket, Key=key, **kind)["UploadId"]  # type: ignore[arg-type]
    try:
        refuses = _refuses_put(sign_part_at(at, key, upload, 1, size=len(BODY), sha256=SHA256), FLIPPED)
    except BaseException:
        with contextlib.suppress(S3ResponseError):
            _abort(at, key, upload)
        raise
    _abort(at, key, upload)
    return refuses


def _put(signed: PresignedRequest, body: bytes) -> tuple[int, str]:
    """Return the status and the storage's error code."""
    require_no_transaction()
    with raw_call("PutObject"):
        response = http().request("PUT", signed.url, body=body, headers=signed.headers)
    code = response.data.partition(b"<Code>")[2].partition(b"</Code>")[0]
    return response.status, code.decode("ascii", "replace")[:60]


def _stored_digest(key: str) -> str:
    with raw_call("HeadObject"):
        head = client().head_object(Bucket=settings.S3_BUCKET, Key=key, ChecksumMode="ENABLED")
    return head.get("ChecksumSHA256", "")


def _abort(at: Store, key: str, upload: str) -> None:
    with raw_call("AbortMultipartUpload"):
        client().abort_multipart_upload(Bucket=at.bucket, Key=key, UploadId=upload)


def _delete_probe(key: str) -> None:
    with raw_call("DeleteObject"):
        client().delete_object(Bucket=settings.S3_BUCKET, Key=key)


OTHER_ETAG = '"00000000000000000000000000000000"'
UNKNOWN_ACCOUNT = "000000000001"  # an account that does not exist


def probe_conditions() -> frozenset[str]:
    """Return the words of S3_CONDITIONS that the storage honors: it does what a condition allows, and nothing else.

    Writes a few bytes under keys of its own, and deletes them. Raises S3ResponseError when the storage is unavailable,
    or when these credentials lack the permission.
    """
    at = main_store()
    with probe_keys() as (existing, assembled, copied, _):
        with raw_call("PutObject"):
            client().put_object(Bucket=at.bucket, Key=existing, Body=BODY)
        results = {
            "complete": _compare_etag(lambda key: _complete(at, key), free=assembled, taken=existing),
            "copy": _compare_etag(lambda key: _copy(at, existing, key), free=copied, taken=existing),
            "delete": _compare_etag_on_delete(at, existing),
        }
    return frozenset(word for word, honored in results.items() if honored)


def honors_owner() -> tuple[bool, bool]:
    """Return whether calls, and whether signed URLs, are denied when they expect another account's bucket."""
    at = replace(main_store(), bucket_owner=UNKNOWN_ACCOUNT)
    url = client("quick", at).generate_presigned_url("list_objects_v2", {"Bucket": at.bucket, "MaxKeys": 1}, 60)
    with raw_call("ListObjectsV2"):
        response = http().request("GET", url)
    try:
        with raw_call("ListObjectsV2"):
            client("quick", at).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    except S3ResponseError as error:
        if error.is_denied:
            return True, response.status == 403
        raise
    return False, response.status == 403


def belongs_to_another() -> bool:
    """Return whether the bucket responds, but not with the expected owner. Raises S3ResponseError."""
    at = main_store()
    if not at.bucket_owner:
        return False
    with raw_call("ListObjectsV2"):
        client("quick", replace(at, bucket_owner="")).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    try:
        with raw_call("ListObjectsV2"):
            client("quick", at).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    except S3ResponseError as error:
        if error.is_denied:
            return True
        raise
    return False


def _compare_etag(write: Callable[[str], None], *, free: str, taken: str) -> bool:
    return _allows(lambda: write(free)) and _refuses(lambda: write(taken))


def _compare_etag_on_delete(at: Store, key: str) -> bool:
    """Try single deletes and DeleteObjects."""
    with raw_call("HeadObject"):
        etag = client().head_object(Bucket=at.bucket, Key=key)["ETag"]
    refuses = _refuses(lambda: _delete_one(at, key, OTHER_ETAG)) and _refuses(
        lambda: _delete_listed(at, key, OTHER_ETAG)
    )
    return refuses and _allows(lambda: _delete_listed(at, key, etag))


def _allows(act: Callable[[], None]) -> bool:
    return _outcome(act) == ""


def _refuses(act: Callable[[], None]) -> bool:
    return _outcome(act) in CHANGED


def _outcome(act: Callable[[], None]) -> str:
    """Return the error code, "" for success. Raises S3ResponseError for errors unrelated to conditions."""
    try:
        act()
    except S3ResponseError as error:
        if error.is_denied or not error.status or (error.status >= 500 and not error.is_unsupported):
            raise
        return "412" if error.status == 412 else error.code
    return ""


def _complete(at: Store, key: str) -> None:
    with raw_call("CreateMultipartUpload"):
        upload = client().create_multipart_upload(Bucket=at.bucket, Key=key)["UploadId"]
    try:
        with raw_call("UploadPart"):
            part = client().upload_part(Bucket=at.bucket, Key=key, UploadId=upload, PartNumber=1, Body=FLIPPED)
        parts: Any = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        with raw_call("CompleteMultipartUpload"):
            client().complete_multipart_upload(
                Bucket=at.bucket, Key=key, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*"
            )
    except BaseException:
        with contextlib.suppress(S3ResponseError), raw_call("AbortMultipartUpload"):
            client().abort_multipart_upload(Bucket=at.bucket, Key=key, UploadId=upload)
        raise


def _copy(at: Store, source: str, key: str) -> None:
    with raw_call("CopyObject"):
        client().copy_object(  # S3 refuses a copy onto itself that changes nothing
            Bucket=at.bucket, Key=key, CopySource={"Bucket": at.bucket, "Key": source},
            MetadataDirective="REPLACE", IfNoneMatch="*", **at.as_source,
        )  # fmt: skip


def _delete_one(at: Store, key: str, etag: str) -> None:
    with raw_call("DeleteObject"):
        client().delete_object(Bucket=at.bucket, Key=key, IfMatch=etag)


def _delete_listed(at: Store, key: str, etag: str) -> None:
    errors = delete_listed(at, [{"Key": key, "ETag": etag}], raw_call("DeleteObjects"))
    if errors:
        raise S3ResponseError("DeleteObjects", errors[key], status=HTTPStatus.OK)
