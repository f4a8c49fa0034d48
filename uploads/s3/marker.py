"""The marker: the one object of a bucket that says which database it belongs to."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from botocore.exceptions import ClientError
from django.conf import settings

from uploads.errors import BadInput
from uploads.s3.client import client, told_plainly

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MARKER_KEY = "amalga.json"
MOST_BYTES = 1024


class Place(NamedTuple):
    """A bucket and who is asked for it; without one, that of the settings is meant."""

    client: S3Client
    bucket: str


def read_marker(store: Place | None = None) -> UUID | None:
    """The installation that the bucket says it belongs to; None if it says nothing.

    Raises StoreUnavailable, StoreRefused, and BadInput when an object of that name holds something else.
    """
    place = store or _own()
    try:
        with told_plainly("GetObject"):
            answer = place.client.get_object(Bucket=place.bucket, Key=MARKER_KEY)
            with contextlib.closing(answer["Body"]) as body:
                text = body.read(MOST_BYTES)
    except ClientError:
        return None
    try:
        return UUID(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(
            f"The bucket {place.bucket} has an object {MARKER_KEY} that is no marker of Amalga's. "
            "Look whose it is; when nobody needs it, remove it and run `manage.py provision --apply`."
        ) from None


def write_marker(installation: UUID, store: Place | None = None) -> None:
    """Say whose bucket it is, over whatever was said before. Safe to repeat."""
    place = store or _own()
    body = json.dumps({"installation": str(installation)}).encode()
    with told_plainly("PutObject"):
        place.client.put_object(Bucket=place.bucket, Key=MARKER_KEY, Body=body, ContentType="application/json")


def _own() -> Place:
    return Place(client(), settings.S3_BUCKET)
