"""The bucket marker, and the checkpoint of the audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uploads.errors import ValidationFailed
from uploads.keys import CHECKPOINT_KEY, MARKER_KEY
from uploads.s3.client import client
from uploads.s3.errors import translate_errors
from uploads.s3.objects import read_small
from uploads.s3.stores import store_named

MAX_CHECKPOINT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest audit event in the database of this installation: its number and time."""

    installation: UUID
    event: int
    at: datetime


def read_checkpoint(store: str | None = None) -> Checkpoint | None:
    """Return the newest event that was recorded in the bucket; None if there is none yet.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed if that object has other content.
    """
    text = read_small(CHECKPOINT_KEY, max_bytes=MAX_CHECKPOINT_BYTES, store=store)
    if text is None:
        return None
    try:
        data = json.loads(text)
        checkpoint = Checkpoint(UUID(data["installation"]), int(data["event"]), datetime.fromisoformat(data["at"]))
        checkpoint.at.timestamp()
        if checkpoint.at.tzinfo is None:
            raise ValueError("a time without a zone")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValidationFailed(
            f"The object {CHECKPOINT_KEY} in the bucket {store_named(store).bucket} is not a valid checkpoint. If the "
            "database is not older than the bucket, run `manage.py after_restore --apply` to replace it."
        ) from None
    return checkpoint


def put_checkpoint(checkpoint: Checkpoint, store: str | None = None) -> None:
    """Write the newest event of the database to the bucket, over the previous one. Safe to repeat."""
    at = store_named(store)
    data = {"installation": str(checkpoint.installation), "event": checkpoint.event, "at": checkpoint.at.isoformat()}
    with translate_errors("PutObject"):
        client("quick", at).put_object(
            Bucket=at.bucket, Key=CHECKPOINT_KEY, Body=json.dumps(data).encode(), ContentType="application/json"
        )


MAX_MARKER_BYTES = 1024


def read_marker(store: str | None = None) -> UUID | None:
    """Return the installation that the bucket belongs to; None without a marker.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed if that object has other content.
    """
    text = read_small(MARKER_KEY, max_bytes=MAX_MARKER_BYTES, store=store)
    if text is None:
        return None
    try:
        return UUID(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValidationFailed(
            f"The object {MARKER_KEY} in the bucket {store_named(store).bucket} is not a valid marker. If no other "
            "program needs it, delete it and run `manage.py provision --apply`."
        ) from None


def write_marker(installation: UUID, store: str | None = None) -> None:
    """Write the marker of this installation, over any other. Safe to repeat."""
    at = store_named(store)
    body = json.dumps({"installation": str(installation)}).encode()
    with translate_errors("PutObject"):
        client("quick", at).put_object(Bucket=at.bucket, Key=MARKER_KEY, Body=body, ContentType="application/json")
