"""The marker: the one object of a bucket that says which database it belongs to."""

from __future__ import annotations

import json
from uuid import UUID

from uploads.errors import BadInput
from uploads.s3.client import client, told_plainly
from uploads.s3.objects import read_small
from uploads.s3.stores import store_named

MARKER_KEY = "amalga.json"
MOST_BYTES = 1024


def read_marker(store: str | None = None) -> UUID | None:
    """The installation that the bucket says it belongs to; None if it says nothing.

    Raises StoreUnavailable, StoreRefused, and BadInput when an object of that name holds something else.
    """
    text = read_small(MARKER_KEY, max_bytes=MOST_BYTES, store=store)
    if text is None:
        return None
    try:
        return UUID(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput(
            f"The bucket {store_named(store).bucket} has an object {MARKER_KEY} that is no marker of Amalga's. "
            "Look whose it is; when nobody needs it, remove it and run `manage.py provision --apply`."
        ) from None


def write_marker(installation: UUID, store: str | None = None) -> None:
    """Say whose bucket it is, over whatever was said before. Safe to repeat."""
    at = store_named(store)
    body = json.dumps({"installation": str(installation)}).encode()
    with told_plainly("PutObject"):
        client("quick", at).put_object(Bucket=at.bucket, Key=MARKER_KEY, Body=body, ContentType="application/json")
