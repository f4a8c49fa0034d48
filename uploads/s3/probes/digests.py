"""Finding out by trying what a store refuses: URLs as browsers get them, with the right bytes and with wrong ones."""

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

PREFIX = "quarantine/doctor-"  # where fsck looks for nothing of ours
BODY = b"amalga doctor was here"
FLIPPED = bytes([BODY[0] ^ 1]) + BODY[1:]
SHA256 = b64encode(hashlib.sha256(BODY).digest()).decode()
LEFT_BEHIND = timedelta(hours=1)


@dataclass(frozen=True)
class ProbeResult:
    """What came of one way of S3_CHECKSUMS. `fault` says what is wrong with the plainest use of it, "" if nothing is.

    The others are whether wrong bytes were refused as a whole file, as a part, and one byte too many; and whether the
    store keeps the digest with the object.
    """

    fault: str
    refuses_flipped: bool = False
    refuses_flipped_part: bool = False
    refuses_longer: bool = False
    keeps: bool = False

    def honours(self, mode: str) -> bool:
        if self.fault:
            return False
        refuses = self.refuses_flipped and self.refuses_flipped_part
        return {"sha256": refuses and self.keeps, "payload": refuses, "off": True}[mode]


def try_mode(mode: str) -> ProbeResult:
    """Send a few bytes each way, under keys of their own that are removed again. Raises Said when the store is away."""
    at = replace(main_store(), checksums=mode)
    with trial_keys() as (right, flipped, longer, parts):
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
    """Remove what a trial of an earlier day could not. Raises Said."""
    with raw_call("ListObjectsV2"):
        found = client().list_objects_v2(Bucket=settings.S3_BUCKET, Prefix=PREFIX, MaxKeys=100).get("Contents", [])
    before = datetime.now(UTC) - LEFT_BEHIND
    for one in found:
        if one["LastModified"] < before:
            _delete(one["Key"])


@contextlib.contextmanager
def trial_keys() -> Iterator[tuple[str, str, str, str]]:
    """Four keys, and whatever happened, nothing under them in the end. Raises Said if that cannot be."""
    one, two, three, four = (f"{PREFIX}{secrets.token_hex(16)}" for _ in range(4))
    try:
        yield one, two, three, four
    except BaseException:
        for key in (one, two, three, four):
            with contextlib.suppress(S3ResponseError):
                _delete(key)
        raise
    for key in (one, two, three, four):
        _delete(key)


def _round_trip(at: Store, key: str) -> str:
    """Send and fetch; what is wrong, in words, or nothing."""
    status, word = _put(sign_put_at(at, key, size=len(BODY), sha256=SHA256), BODY)
    if not 200 <= status < 300:
        return f"the right bytes are refused ({word or status})"
    with raw_call("GetObject"):
        body = client().get_object(Bucket=at.bucket, Key=key)["Body"]
        with contextlib.closing(body):
            same = body.read(len(BODY) + 1) == BODY
    return "" if same else "other bytes come back than were sent"


def _refuses(signed: PresignedRequest, body: bytes) -> bool:
    """Only a clear refusal is one: a store that falls over at wrong bytes has not looked at them. Raises Said then."""
    status, word = _put(signed, body)
    if status >= 500:
        raise S3ResponseError("PutObject", word or str(status), status=status)
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
    """Status, and the store's word for why not."""
    require_no_transaction()
    with raw_call("PutObject"):
        answer = http().request("PUT", signed.url, body=body, headers=signed.headers)
    found = answer.data.partition(b"<Code>")[2].partition(b"</Code>")[0]
    return answer.status, found.decode("ascii", "replace")[:60]


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
