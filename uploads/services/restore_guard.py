"""Whether the database still knows all that it once knew.

A database that is restored to an earlier moment takes files for trash that people have taken out of it since, and
uploads for given up that were finished. So the sweep notes in the bucket, beside its marker, which event was the
newest, and nothing is removed by a database that has no such event. What happens in it afterwards does not make up for
that: an event of the same number has another time.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now

from uploads import s3
from uploads.errors import DatabaseOlderThanBucket, Paused, ValidationFailed, WrongMarker
from uploads.models import Event, Heartbeat, Installation
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_owner import require_marker

logger = logging.getLogger(__name__)

NAME = "clock"  # of the heartbeat
# Databases cannot be restored to the last minutes (RDS: five): what is noted a minute late is noted in time.
PAUSE_SECONDS = 60
# An event has the time at which its transaction began, and is seen when that ends.
SLACK = timedelta(minutes=5)


def require_removal() -> None:
    """Return when objects may be removed. Raises Paused where an operator said no, and as `require_history` does."""
    if settings.PURGE_PAUSED:
        raise Paused("PURGE_PAUSED is on: nothing is expired, purged, erased or set aside. Remove it to go on.")
    require_history()


def require_history() -> None:
    """Return when this database has the event that the main store's bucket remembers.

    Raises DatabaseOlderThanBucket when it has not, StorageUnavailable when the bucket cannot be asked, and
    ValidationFailed when it remembers something odd.
    """
    seen = stored_high_water_mark()
    if seen is not None and not contains_event(seen):
        raise DatabaseOlderThanBucket(describe_lag(seen))


def stored_high_water_mark() -> s3.HighWaterMark | None:
    """What the main store's bucket remembers of this database; of another it may say what it likes. Raises as
    `require_history` does."""
    seen = s3.read_high_water_mark()
    return seen if seen is not None and seen.installation == Installation.objects.own_id() else None


def contains_event(seen: s3.HighWaterMark) -> bool:
    """Whether this database has that event."""
    return Event.objects.filter(pk=seen.event, at=seen.at).exists()


def describe_lag(seen: s3.HighWaterMark) -> str:
    newest = Event.objects.first()
    last = f"its newest event is of {_mark_written(newest.at)}" if newest else "it has no event at all"
    return (
        f"The database is older than the bucket: it does not know event {seen.event} of {_mark_written(seen.at)}, "
        f"and {last}. "
        "It was restored to an earlier moment, or is an old copy. Nothing is expired, purged, erased or set aside "
        "until `manage.py after_restore --apply` accepts it (docs/restore.md)."
    )


def write_high_water_mark() -> None:
    """Tell the main store's bucket which event is the newest, if there was any since it was last told; once a minute at
    most. A bucket that is not ours is not told. Raises DatabaseOlderThanBucket, StorageUnavailable."""
    if not _is_due():
        return
    try:
        require_marker()
        require_history()
        accept_high_water_mark()
    except (WrongMarker, ValidationFailed) as problem:
        logger.warning("history_not_noted: %s", problem.message)


def accept_high_water_mark() -> None:
    """Have the bucket remember this database as it is, whatever it remembered before."""
    newest = Event.objects.first()
    if newest is not None:
        s3.put_high_water_mark(s3.HighWaterMark(Installation.objects.own_id(), newest.pk, newest.at))
        Heartbeat.objects.beat(NAME)


def _is_due() -> bool:
    last = Heartbeat.objects.last_of(NAME)
    if last is None:
        return Event.objects.exists()
    rested = Heartbeat.objects.filter(name=NAME, at__lte=seconds_from_now(-PAUSE_SECONDS)).exists()
    return rested and Event.objects.filter(at__gt=last - SLACK, at__lte=Now()).exists()


def _mark_written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
