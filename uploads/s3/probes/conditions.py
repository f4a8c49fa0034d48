"""Finding out by trying which conditions a store holds requests to, and whether it knows whose bucket it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from uploads.s3.client import CHANGED, client, http
from uploads.s3.errors import S3ResponseError, raw_call
from uploads.s3.objects import delete_listed
from uploads.s3.probes.digests import BODY, FLIPPED, trial_keys
from uploads.s3.stores import Store, main_store

OTHER_ETAG = '"00000000000000000000000000000000"'
NOBODY = "000000000001"  # an account that does not exist


def try_conditions() -> frozenset[str]:
    """Which words of S3_CONDITIONS the store honors: what the condition allows is done, and all else is refused.

    A few bytes are sent under keys of their own, and removed again. Raises Said when the store is away, or when these
    credentials may not do that at all.
    """
    at = main_store()
    with trial_keys() as (there, assembled, copied, _):
        with raw_call("PutObject"):
            client().put_object(Bucket=at.bucket, Key=there, Body=BODY)
        tried = {
            "complete": _compare_etag(lambda key: _complete(at, key), free=assembled, taken=there),
            "copy": _compare_etag(lambda key: _copy(at, there, key), free=copied, taken=there),
            "delete": _compare_etag_on_delete(at, there),
        }
    return frozenset(word for word, honored in tried.items() if honored)


def honors_owner() -> tuple[bool, bool]:
    """Whether calls, and whether signed URLs, are refused when they expect another account's bucket."""
    at = replace(main_store(), bucket_owner=NOBODY)
    url = client("quick", at).generate_presigned_url("list_objects_v2", {"Bucket": at.bucket, "MaxKeys": 1}, 60)
    with raw_call("ListObjectsV2"):
        answer = http().request("GET", url)
    try:
        with raw_call("ListObjectsV2"):
            client("quick", at).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    except S3ResponseError as said:
        if said.is_denied:
            return True, answer.status == 403
        raise
    return False, answer.status == 403


def belongs_to_another() -> bool:
    """Whether the bucket answers us, but not when we say whose it must be. Raises Said."""
    at = main_store()
    if not at.bucket_owner:
        return False
    with raw_call("ListObjectsV2"):
        client("quick", replace(at, bucket_owner="")).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    try:
        with raw_call("ListObjectsV2"):
            client("quick", at).list_objects_v2(Bucket=at.bucket, MaxKeys=1)
    except S3ResponseError as said:
        if said.is_denied:
            return True
        raise
    return False


def _compare_etag(write: Callable[[str], None], *, free: str, taken: str) -> bool:
    return _allows(lambda: write(free)) and _refuses(lambda: write(taken))


def _compare_etag_on_delete(at: Store, key: str) -> bool:
    """One by one, and many at once."""
    with raw_call("HeadObject"):
        etag = client().head_object(Bucket=at.bucket, Key=key)["ETag"]
    refuses = _refuses(lambda: _delete(at, key, OTHER_ETAG)) and _refuses(lambda: _delete_listed(at, key, OTHER_ETAG))
    return refuses and _allows(lambda: _delete_listed(at, key, etag))


def _allows(act: Callable[[], None]) -> bool:
    return _outcome(act) == ""


def _refuses(act: Callable[[], None]) -> bool:
    return _outcome(act) in CHANGED


def _outcome(act: Callable[[], None]) -> str:
    """The store's word for why not, "" when it did. Raises Said for what has nothing to do with conditions."""
    try:
        act()
    except S3ResponseError as said:
        if said.is_denied or not said.status or (said.status >= 500 and not said.is_unsupported):
            raise
        return "412" if said.status == 412 else said.code
    return ""


def _complete(at: Store, key: str) -> None:
    with raw_call("CreateMultipartUpload"):
        upload = client().create_multipart_upload(Bucket=at.bucket, Key=key)["UploadId"]
    try:
        with raw_call("UploadPart"):
            sent = client().upload_part(Bucket=at.bucket, Key=key, UploadId=upload, PartNumber=1, Body=FLIPPED)
        parts: Any = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
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
    left = delete_listed(at, [{"Key": key, "ETag": etag}], raw_call("DeleteObjects"))
    if left:
        raise S3ResponseError("DeleteObjects", left[key], status=HTTPStatus.OK)
