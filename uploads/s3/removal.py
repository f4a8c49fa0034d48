"""Removing many objects at once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from uploads.s3.client import client, told_plainly
from uploads.s3.stores import Store, store_named

MOST_KEYS = 1000  # S3 API: DeleteObjects


def delete_many(keys: Sequence[str], *, store: str | None = None) -> dict[str, str]:
    """Remove these objects. Safe to repeat: one that is not there counts as removed.

    Returns the keys that the store did not remove, each with the store's word for why. Raises StoreUnavailable or
    StoreRefused when it did not take the request as a whole: then some may be removed and some not.
    """
    at = store_named(store)
    left: dict[str, str] = {}
    for start in range(0, len(keys), MOST_KEYS):
        left |= _delete(at, keys[start : start + MOST_KEYS])
    return left


def _delete(at: Store, keys: Sequence[str]) -> dict[str, str]:
    s3 = client("patient", at)
    if not at.keeps_digests:
        s3.meta.events.register("before-call.s3.DeleteObjects", _by_md5, unique_id="amalga-md5")
    with told_plainly("DeleteObjects", absent=()):
        answer = s3.delete_objects(Bucket=at.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    faults = {fault["Key"]: fault.get("Code", "unknown") for fault in answer.get("Errors", [])}
    return {key: code for key, code in faults.items() if code != "NoSuchKey"}


def _by_md5(params: dict[str, Any], **_: Any) -> None:
    """S3 wants a digest of this request. Stores that know none of the newer ones know Content-MD5, which boto3 sends
    no more."""
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    params["headers"].pop("x-amz-sdk-checksum-algorithm", None)
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
