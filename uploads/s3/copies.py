"""Copies between stores, by the store itself where both have one endpoint, and copies into quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import IO, Any, NamedTuple

from botocore.exceptions import ClientError

from uploads.errors import Conflict
from uploads.keys import QUARANTINE_PREFIX
from uploads.s3.bucket_listing import ObjectInfo, head
from uploads.s3.client import OCTET_STREAM, Store, client, store_named
from uploads.s3.errors import ABSENT, translate_errors
from uploads.s3.multipart import UploadedPart, abort_multipart, complete_multipart, create_multipart

COPY_TAG_HEADER = "amalga-moved"  # metadata of each copy: the installation that made it
ETAG_HEADER = "amalga-moved-etag"  # and the ETag of the source
CANNOT_COPY = ABSENT | {"NotImplemented", "MethodNotAllowed", "NotSupported", "InvalidRequest", "InvalidArgument",
                        "MalformedXML", "PreconditionFailed", "AccessDenied", "403", "404", "405", "501"}  # fmt: skip


class CopyTag(NamedTuple):
    """The installation that copied an object to its store, and the ETag of the source; both empty for other objects."""

    by: str = ""
    etag: str = ""

    def metadata(self) -> dict[str, str]:
        return {name: value for name, value in ((COPY_TAG_HEADER, self.by), (ETAG_HEADER, self.etag)) if value}


def copy_within(
    key: str,
    *,
    lengths: Sequence[int],
    tag: CopyTag,
    source: str,
    target: str,
    content_encoding: str = "",
    once: bool = False,
) -> bool:
    """Let the storage copy an object, in parts of these lengths. False when it cannot: then read and send it.

    Only an object with the ETag of `tag` is copied. The copy has only its type and the headers given here. `once`: no
    object is overwritten, where the storage supports that; False as well when one exists already. The caller must
    verify the copy. Raises StorageUnavailable. Safe to repeat.
    """
    if _endpoint(source) != _endpoint(target):
        return False
    try:
        if len(lengths) == 1:
            _copy_whole(key, store_named(source), store_named(target), tag, content_encoding, once=once)
            return True
        return _copy_parts(key, lengths, store_named(source), store_named(target), tag, content_encoding, once=once)
    except (ClientError, CopyUnsupported):
        return False


def put_file(
    key: str,
    body: IO[bytes],
    *,
    digests: tuple[str, str],
    store: str,
    tag: CopyTag,
    content_encoding: str = "",
    once: bool = False,
) -> None:
    """Store a whole object from a file. `digests`: the base64 SHA-256 and MD5; the storage verifies the one that it
    supports. `once`: StorageUnavailable when an object exists already, where the storage supports that."""
    at = store_named(store)
    extra: dict[str, Any] = {"IfNoneMatch": "*"} if once and at.keeps_digests else {}  # as in `sign_put`
    with translate_errors("PutObject"):
        client("bulk", at).put_object(
            Bucket=at.bucket, Key=key, Body=body, ContentType=OCTET_STREAM, Metadata=tag.metadata(),
            **_encoded(content_encoding), **_digest(at, digests), **extra,
        )  # fmt: skip


def put_part(
    key: str, multipart_id: str, number: int, body: IO[bytes], *, digests: tuple[str, str], length: int, store: str
) -> UploadedPart:
    """Send one part from a file; `digests` as for `put_file`."""
    at = store_named(store)
    with translate_errors("UploadPart", absent=()):
        response = client("bulk", at).upload_part(
            Bucket=at.bucket, Key=key, UploadId=multipart_id, PartNumber=number, Body=body, **_digest(at, digests)
        )
    return UploadedPart(number, length, response["ETag"], digests[0] if at.keeps_digests else None)


def copy_tag(key: str, *, store: str) -> CopyTag | None:
    """Return the tag of a copy; None if there is no object. Raises StorageUnavailable."""
    at = store_named(store)
    try:
        with translate_errors("HeadObject", absent={"404", "NoSuchKey"}):  # a HEAD has no body
            metadata = client("batch", at).head_object(Bucket=at.bucket, Key=key)["Metadata"]
    except ClientError:
        return None
    headers = {name.lower(): value for name, value in metadata.items()}  # rclone capitalizes names
    return CopyTag(headers.get(COPY_TAG_HEADER, ""), headers.get(ETAG_HEADER, ""))


class CopyUnsupported(Exception):
    """The storage treated the copy of a part as an upload of no bytes, as rclone does."""


def _copy_whole(key: str, source: Store, target: Store, tag: CopyTag, content_encoding: str, *, once: bool) -> None:
    extra: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if target.keeps_digests else {}
    extra |= source.as_source | (target.if_absent("copy") if once else {})
    with translate_errors("CopyObject", absent=CANNOT_COPY):
        client("bulk", target).copy_object(
            Bucket=target.bucket, Key=key, CopySource={"Bucket": source.bucket, "Key": key},
            CopySourceIfMatch=tag.etag, MetadataDirective="REPLACE", Metadata=tag.metadata(),
            ContentType=OCTET_STREAM, **_encoded(content_encoding), **extra,
        )  # fmt: skip


def _copy_parts(
    key: str, lengths: Sequence[int], source: Store, target: Store, tag: CopyTag, content_encoding: str, *, once: bool
) -> bool:
    multipart_id = create_multipart(key, store=target.name, metadata=tag.metadata(), content_encoding=content_encoding)
    try:
        ends = list(accumulate(lengths))
        parts = [
            _copy_part(key, multipart_id, number, (end - length, end - 1), etag=tag.etag, source=source, target=target)
            for number, (length, end) in enumerate(zip(lengths, ends, strict=True), start=1)
        ]
        completed = complete_multipart(
            key, multipart_id, parts, size=ends[-1], store=target.name, profile="bulk", once=once
        )
    except BaseException:
        abort_multipart(key, multipart_id, store=target.name)
        raise
    if not completed:
        abort_multipart(key, multipart_id, store=target.name)
    return completed


def _copy_part(
    key: str, multipart_id: str, number: int, span: tuple[int, int], *, etag: str, source: Store, target: Store
) -> UploadedPart:
    first, last = span
    with translate_errors("UploadPartCopy", absent=CANNOT_COPY):
        response = client("bulk", target).upload_part_copy(
            Bucket=target.bucket, Key=key, UploadId=multipart_id, PartNumber=number,
            CopySource={"Bucket": source.bucket, "Key": key}, CopySourceIfMatch=etag,
            CopySourceRange=f"bytes={first}-{last}", **source.as_source,
        )["CopyPartResult"]  # fmt: skip
    if "ETag" not in response:
        raise CopyUnsupported
    return UploadedPart(number, last - first + 1, response["ETag"], response.get("ChecksumSHA256"))


def _encoded(content_encoding: str) -> dict[str, Any]:
    return {"ContentEncoding": content_encoding} if content_encoding else {}


def _digest(at: Store, digests: tuple[str, str]) -> dict[str, Any]:
    return {"ChecksumSHA256": digests[0]} if at.keeps_digests else {"ContentMD5": digests[1]}


def _endpoint(name: str) -> str:
    """Return the endpoint of a store; empty for AWS, which also copies between regions."""
    return (store_named(name).endpoint or "").rstrip("/")


MAX_QUARANTINE_BYTES = 5 * 1024**3  # S3 API: CopyObject


def quarantine(item: ObjectInfo, *, store: str | None = None) -> str:
    """Copy this object, as it was listed, to `quarantine/<key>`, and return that key. The object itself stays.

    Safe to repeat. Raises Conflict when the object has changed or is larger than 5 GiB, or when another object is at
    that key; StorageUnavailable.
    """
    at, key = store_named(store), QUARANTINE_PREFIX + item.key
    if item.size > MAX_QUARANTINE_BYTES:
        raise Conflict("skipped: larger than 5 GiB, the limit for copies")
    before = head(key, store=store)
    if before is not None and before.size != item.size:
        raise Conflict(f"skipped: {key} exists with other content")
    extra: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if at.keeps_digests else {}
    extra |= at.as_source | (at.if_absent("copy") if before is None else {})
    try:
        with translate_errors("CopyObject", absent={"NoSuchKey", "PreconditionFailed"}):
            client("bulk", at).copy_object(
                Bucket=at.bucket, Key=key, CopySource={"Bucket": at.bucket, "Key": item.key},
                CopySourceIfMatch=item.etag, **extra,
            )  # fmt: skip
    except ClientError:
        raise Conflict(f"skipped: changed or deleted, or {key} exists") from None
    copy = head(key, store=store)
    if copy is None or copy.size != item.size:
        raise Conflict(f"skipped: the copy at {key} is incomplete")
    return key
