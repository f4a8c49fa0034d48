"""Multipart uploads (S3 API: CreateMultipartUpload, UploadPart, ListParts, Complete, Abort)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from uploads.errors import Gone
from uploads.s3.bucket_listing import list_multipart_uploads
from uploads.s3.client import OCTET_STREAM, ClientProfile, client, store_named
from uploads.s3.errors import ABSENT, CHANGED, translate_errors


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """An uploaded part; `sha256` only from stores that keep checksums."""

    number: int
    size: int
    etag: str
    sha256: str | None


def create_multipart(
    key: str, *, metadata: Mapping[str, str] | None = None, content_encoding: str = "", store: str | None = None
) -> str:
    """Create a multipart upload and return its ID. The object gets the headers given here, not those of its parts."""
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if at.keeps_digests else {}
    if metadata:
        extra["Metadata"] = metadata
    if content_encoding:
        extra["ContentEncoding"] = content_encoding
    with translate_errors("CreateMultipartUpload"):
        response = client("quick", at).create_multipart_upload(
            Bucket=at.bucket, Key=key, ContentType=OCTET_STREAM, **extra
        )
    return response["UploadId"]


def upload_part(
    key: str, multipart_id: str, number: int, body: bytes | memoryview, *, sha256: str, store: str | None = None
) -> None:
    """Send one part from the server, with retries: the bytes of a form arrive only once.

    Raises Gone if the multipart upload does not exist (any more).
    """
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumSHA256": sha256} if at.keeps_digests else {}
    try:
        with translate_errors("UploadPart"):
            client("batch", at).upload_part(
                Bucket=at.bucket, Key=key, UploadId=multipart_id, PartNumber=number,
                Body=bytes(body), ContentLength=len(body), **extra,
            )  # fmt: skip
    except ClientError as error:
        raise Gone from error


def list_parts(key: str, multipart_id: str, *, store: str | None = None) -> list[UploadedPart] | None:
    """Return every uploaded part, by number; None if the upload does not exist (any more)."""
    at = store_named(store)
    pages = client("quick", at).get_paginator("list_parts")
    try:
        with translate_errors("ListParts"):
            return [
                UploadedPart(part["PartNumber"], part["Size"], part["ETag"], part.get("ChecksumSHA256"))
                for page in pages.paginate(Bucket=at.bucket, Key=key, UploadId=multipart_id)
                for part in page.get("Parts", [])
            ]
    except ClientError:
        return None


def complete_multipart(
    key: str,
    multipart_id: str,
    parts: Sequence[UploadedPart],
    *,
    size: int,
    store: str | None = None,
    profile: ClientProfile = "quick",
    once: bool = False,
) -> bool:
    """Assemble the object from its parts. Return False if the upload does not exist (any more): it was completed
    before, or aborted. AWS responds 200 to a second Complete, which is True; other stores give False.

    `once`: no object is overwritten, where the storage supports that; False as well when one exists already.

    The response can also be lost, or be 200 with an error inside: both raise StorageUnavailable, and only reading the
    object shows the outcome.
    """
    at = store_named(store)
    completed_parts: list[Any] = [
        {"PartNumber": part.number, "ETag": part.etag} | ({"ChecksumSHA256": part.sha256} if part.sha256 else {})
        for part in parts
    ]
    extra: dict[str, Any] = {"MpuObjectSize": size} if at.keeps_digests else {}
    extra |= at.if_absent("complete") if once else {}
    try:
        with translate_errors("CompleteMultipartUpload", absent=ABSENT | CHANGED):
            client(profile, at).complete_multipart_upload(
                Bucket=at.bucket, Key=key, UploadId=multipart_id,
                MultipartUpload={"Parts": completed_parts}, **extra,
            )  # fmt: skip
    except ClientError:
        return False
    return True


def abort_multipart(key: str, multipart_id: str, *, store: str | None = None) -> None:
    """Abort the upload and delete its parts. Safe to repeat; parts that are still being sent can need a second call."""
    at = store_named(store)
    try:
        with translate_errors("AbortMultipartUpload"):
            client("quick", at).abort_multipart_upload(Bucket=at.bucket, Key=key, UploadId=multipart_id)
    except ClientError:
        return


def multipart_ids(key: str, *, store: str | None = None) -> list[str]:
    """Return every open upload of exactly this key, also those of other clients. Quick: people wait for a cancel."""
    uploads = list_multipart_uploads(key, store=store, profile="quick")
    return [upload.id for upload in uploads if upload.key == key]
