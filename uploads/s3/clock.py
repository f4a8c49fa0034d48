"""The clock: an object of a bucket that says how far its database had come when somebody last looked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uploads.errors import BadInput
from uploads.s3.client import client, told_plainly
from uploads.s3.objects import read_small
from uploads.s3.stores import store_named

CLOCK_KEY = "amalga-clock.json"
MOST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Moment:
    """The newest event that this installation's database had: its number, and when it happened."""

    installation: UUID
    event: int
    at: datetime


def read_clock(store: str | None = None) -> Moment | None:
    """How far the bucket's database had come; None if nobody has said so yet.

    Raises StoreUnavailable, StoreRefused, and BadInput when an object of that name holds something else.
    """
    text = read_small(CLOCK_KEY, max_bytes=MOST_BYTES, store=store)
    if text is None:
        return None
    try:
        told = json.loads(text)
        moment = Moment(UUID(told["installation"]), int(told["event"]), datetime.fromisoformat(told["at"]))
        moment.at.timestamp()
        if moment.at.tzinfo is None:
            raise ValueError("a time without a zone")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise BadInput(
            f"The bucket {store_named(store).bucket} has an object {CLOCK_KEY} that is no clock of Amalga's. Look "
            "whose it is. When it is not needed, and the database is not older than the bucket, "
            "`manage.py after_restore --apply` writes it again."
        ) from None
    return moment


def write_clock(moment: Moment, store: str | None = None) -> None:
    """Say how far the database has come, over whatever was said before. Safe to repeat."""
    at = store_named(store)
    told = {"installation": str(moment.installation), "event": moment.event, "at": moment.at.isoformat()}
    with told_plainly("PutObject"):
        client("quick", at).put_object(
            Bucket=at.bucket, Key=CLOCK_KEY, Body=json.dumps(told).encode(), ContentType="application/json"
        )
