"""Probes of conditional requests and of the expected bucket owner."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from uploads.s3.client import CHANGED, client, http
from uploads.s3.errors import S3ResponseError, raw_call
from uploads.s3.objects import delete_listed
from uploads.s3.probes.digests import BODY, FLIPPED, probe_keys
from uploads.s3.stores import Store, main_store

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
    refuses = _refuses(lambda: _delete(at, key, OTHER_ETAG)) and _refuses(lambda: _delete_listed(at, key, OTHER_ETAG))
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


def _delete(at: Store, key: str, etag: str) -> None:
    with raw_call("DeleteObject"):
        client().delete_object(Bucket=at.bucket, Key=key, IfMatch=etag)


def _delete_listed(at: Store, key: str, etag: str) -> None:
    errors = delete_listed(at, [{"Key": key, "ETag": etag}], raw_call("DeleteObjects"))
    if errors:
        raise S3ResponseError("DeleteObjects", errors[key], status=HTTPStatus.OK)
