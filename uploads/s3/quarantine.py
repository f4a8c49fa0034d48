"""Setting an object aside: a copy of it under `quarantine/`, made by the store itself."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from uploads.errors import Conflict
from uploads.s3.client import client, told_plainly
from uploads.s3.listing import Item, head
from uploads.s3.stores import store_named

QUARANTINE = "quarantine/"
MOST_BYTES = 5 * 1024**3  # S3 API: CopyObject


def set_aside(item: Item, *, store: str | None = None) -> str:
    """Copy this object, as it was seen, to `quarantine/<key>`, and return that key. The object itself stays.

    Safe to repeat. Raises Conflict when that cannot be done: the object has changed or is larger than 5 GiB, or
    another is there already; StoreUnavailable.
    """
    at, key = store_named(store), QUARANTINE + item.key
    if item.size > MOST_BYTES:
        raise Conflict("larger than 5 GiB: no store copies that at once")
    before = head(key, store=store)
    if before is not None and before.size != item.size:
        raise Conflict(f"{key} is there already, with other bytes")
    extra: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if at.keeps_digests else {}
    extra |= at.as_source | (at.if_absent("copy") if before is None else {})
    try:
        with told_plainly("CopyObject", absent={"NoSuchKey", "PreconditionFailed"}):
            client("slow", at).copy_object(
                Bucket=at.bucket, Key=key, CopySource={"Bucket": at.bucket, "Key": item.key},
                CopySourceIfMatch=item.etag, **extra,
            )  # fmt: skip
    except ClientError:
        raise Conflict(f"it has changed, or is gone, or another is at {key} by now") from None
    copy = head(key, store=store)
    if copy is None or copy.size != item.size:
        raise Conflict(f"the copy at {key} is not complete")
    return key
