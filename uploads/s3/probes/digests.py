"""Probes of checksums: presigned URLs as browsers get them, with correct and with wrong bytes."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.conf import settings

from uploads.s3.client import client, http, require_no_transaction
from uploads.s3.errors import S3ResponseError, raw_call
from uploads.s3.signing import PresignedRequest, sign_part_at, sign_put_at
from uploads.s3.stores import Store, main_store

PREFIX = "quarantine/doctor-"  # fsck ignores keys there
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
            refuses_flipped=_refuses(sign_put_at(at, flipped, size=len(BODY), sha256=SHA256), FLIPPED),
            refuses_flipped_part=_refuses_part(at, parts),
            refuses_longer=_refuses(sign_put_at(at, longer, size=len(BODY), sha256=SHA256), BODY + b"!"),
            keeps=_stored_digest(right) == SHA256,
        )


def clear_leftovers() -> None:
    """Delete objects that earlier probes left behind. Raises S3ResponseError."""
    with raw_call("ListObjectsV2"):
        items = client().list_objects_v2(Bucket=settings.S3_BUCKET, Prefix=PREFIX, MaxKeys=100).get("Contents", [])
    before = datetime.now(UTC) - LEFTOVER_AGE
    for item in items:
        if item["LastModified"] < before:
            _delete(item["Key"])


@contextlib.contextmanager
def probe_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield four keys, and delete their objects at the end. Raises S3ResponseError if that fails."""
    first, second, third, fourth = keys = [f"{PREFIX}{secrets.token_hex(16)}" for _ in range(4)]
    try:
        yield first, second, third, fourth
    except BaseException:
        for key in keys:
            with contextlib.suppress(S3ResponseError):
                _delete(key)
        raise
    for key in keys:
        _delete(key)


def _round_trip(at: Store, key: str) -> str:
    """Store and read an object; return what is wrong, "" if nothing is."""
    status, code = _put(sign_put_at(at, key, size=len(BODY), sha256=SHA256), BODY)
    if not 200 <= status < 300:
        return f"the right bytes are refused ({code or status})"
    with raw_call("GetObject"):
        body = client().get_object(Bucket=at.bucket, Key=key)["Body"]
        with contextlib.closing(body):
            same = body.read(len(BODY) + 1) == BODY
    return "" if same else "other bytes come back than were sent"


def _refuses(signed: PresignedRequest, body: bytes) -> bool:
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
        refuses = _refuses(sign_part_at(at, key, upload, 1, size=len(BODY), sha256=SHA256), FLIPPED)
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


def _delete(key: str) -> None:
    with raw_call("DeleteObject"):
        client().delete_object(Bucket=settings.S3_BUCKET, Key=key)
