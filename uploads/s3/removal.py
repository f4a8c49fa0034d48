"""Removing many objects at once."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from uploads.errors import StoreRefused
from uploads.s3.client import client, told_plainly
from uploads.s3.objects import delete
from uploads.s3.stores import Store, store_named

MOST_KEYS = 1000  # S3 API: DeleteObjects
# XML 1.0, 2.2: what no document can hold, not even escaped.
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def delete_many(
    keys: Sequence[str], *, etags: Mapping[str, str] | None = None, store: str | None = None
) -> dict[str, str]:
    """Remove these objects. Safe to repeat: one that is not there counts as removed. Of keys in `etags` only the object
    that has that ETag is removed, where the store can tell; another one stays, and is returned as PreconditionFailed.

    Returns the keys that the store did not remove, each with the store's word for why. Raises StoreUnavailable or
    StoreRefused when it did not take the request as a whole: then some may be removed and some not.
    """
    at, etags = store_named(store), etags or {}
    left: dict[str, str] = {}
    single = [key for key in keys if NOT_IN_XML.search(key)]
    together = [key for key in keys if not NOT_IN_XML.search(key)] if single else keys
    for start in range(0, len(together), MOST_KEYS):
        left |= _delete(at, together[start : start + MOST_KEYS], etags)
    for key in single:
        try:
            if not delete(key, etag=etags.get(key, ""), store=store):
                left[key] = "PreconditionFailed"
        except StoreRefused as problem:
            left[key] = problem.detail
    return left


def _delete(at: Store, keys: Sequence[str], etags: Mapping[str, str]) -> dict[str, str]:
    objects = [
        {"Key": key} | ({"ETag": f'"{etag}"'} if (etag := at.if_unchanged(etags.get(key, ""))) else {}) for key in keys
    ]
    faults = delete_listed(at, objects, told_plainly("DeleteObjects", absent=()))
    return {key: code for key, code in faults.items() if code != "NoSuchKey"}


def delete_listed(at: Store, objects: list[Any], faults: AbstractContextManager[None]) -> dict[str, str]:
    """One request, whose own errors `faults` translates: the keys that were not removed, and the store's word why."""
    s3 = client("patient", at)
    if not at.keeps_digests:
        s3.meta.events.register("before-call.s3.DeleteObjects", _by_md5, unique_id="amalga-md5")
    with faults:
        answer = s3.delete_objects(Bucket=at.bucket, Delete={"Objects": objects, "Quiet": True})
    return {fault["Key"]: fault.get("Code", "unknown") for fault in answer.get("Errors", [])}


def _by_md5(params: dict[str, Any], **_: Any) -> None:
    """S3 wants a digest of this request. Stores that know none of the newer ones know Content-MD5, which boto3 sends
    no more."""
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    params["headers"].pop("x-amz-sdk-checksum-algorithm", None)
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
