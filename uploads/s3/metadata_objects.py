"""The bucket marker, and the checkpoint of the audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uploads.errors import ValidationFailed
from uploads.s3.client import client, translate_errors
from uploads.s3.objects import read_small
from uploads.s3.stores import store_named

CLOCK_KEY = "amalga-clock.json"
MAX_CHECKPOINT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class HighWaterMark:
    """The newest event that this installation's database had: its number, and when it happened."""

    installation: UUID
    event: int
    at: datetime


def read_high_water_mark(store: str | None = None) -> HighWaterMark | None:
    """How far the bucket's database had come; None if nobody has said so yet.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed when an object of that name holds something else.
    """
    text = read_small(CLOCK_KEY, max_bytes=MAX_CHECKPOINT_BYTES, store=store)
    if text is None:
        return None
    try:
        told = json.loads(text)
        moment = HighWaterMark(UUID(told["installation"]), int(told["event"]), datetime.fromisoformat(told["at"]))
        moment.at.timestamp()
        if moment.at.tzinfo is None:
            raise ValueError("a time without a zone")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValidationFailed(
            f"The bucket {store_named(store).bucket} has an object {CLOCK_KEY} that is no clock of Amalga's. Look "
            "whose it is. When it is not needed, and the database is not older than the bucket, "
            "`manage.py after_restore --apply` writes it again."
        ) from None
    return moment


def put_high_water_mark(moment: HighWaterMark, store: str | None = None) -> None:
    """Say how far the database has come, over whatever was said before. Safe to repeat."""
    at = store_named(store)
    told = {"installation": str(moment.installation), "event": moment.event, "at": moment.at.isoformat()}
    with translate_errors("PutObject"):
        client("quick", at).put_object(
            Bucket=at.bucket, Key=CLOCK_KEY, Body=json.dumps(told).encode(), ContentType="application/json"
        )


MARKER_KEY = "amalga.json"
MAX_MARKER_BYTES = 1024


def read_marker(store: str | None = None) -> UUID | None:
    """The installation that the bucket says it belongs to; None if it says nothing.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed when an object of that name holds something else.
    """
    text = read_small(MARKER_KEY, max_bytes=MAX_MARKER_BYTES, store=store)
    if text is None:
        return None
    try:
        return UUID(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValidationFailed(
            f"The bucket {store_named(store).bucket} has an object {MARKER_KEY} that is no marker of Amalga's. "
            "Look whose it is; when nobody needs it, remove it and run `manage.py provision --apply`."
        ) from None


def write_marker(installation: UUID, store: str | None = None) -> None:
    """Say whose bucket it is, over whatever was said before. Safe to repeat."""
    at = store_named(store)
    body = json.dumps({"installation": str(installation)}).encode()
    with translate_errors("PutObject"):
        client("quick", at).put_object(Bucket=at.bucket, Key=MARKER_KEY, Body=body, ContentType="application/json")
