"""Guards of removals: the bucket's marker says which database it belongs to, its checkpoint how new that must be.

Commands that compare, import or move check the marker first. The checkpoint detects a database that was restored to an
earlier moment, and stops removals until an operator accepts it: such a database still lists files in the trash that
were restored since, and uploads as unfinished that were finished. So the sweep writes a checkpoint into the bucket,
beside the marker, with the newest event; a database without this event removes nothing. Later events do not replace it:
one with the same number has another time.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from uploads import s3
from uploads.errors import (
    DatabaseOlderThanBucket,
    MarkerMissing,
    Paused,
    StorageUnavailable,
    ValidationFailed,
    WrongMarker,
)
from uploads.humanize import humanize_time
from uploads.models import Event, Heartbeat, Installation
from uploads.models.querysets import seconds_from_now

logger = logging.getLogger(__name__)

NAME = "checkpoint"  # of the heartbeat
# A database cannot be restored to the last minutes (RDS: five), so a checkpoint that is a minute old is in time.
PAUSE_SECONDS = 60
# An event has the time at which its transaction began, and is visible once that ends.
SLACK = timedelta(minutes=5)


def require_marker(store: str | None = None) -> None:
    """Return if the marker of the bucket (of the main store by default) names this database.

    Raises WrongMarker when it names another, MarkerMissing when there is none, StorageUnavailable when the storage is
    unavailable, and ValidationFailed when the marker is invalid.
    """
    marker = s3.read_marker(store)
    if marker is None:
        raise MarkerMissing(
            "The bucket has no marker. If it is the right bucket, run `manage.py provision --apply`. If not, correct "
            "AWS_STORAGE_BUCKET_NAME."
        )
    own = Installation.objects.own_id()
    if marker != own:
        raise WrongMarker(
            f"The bucket belongs to another database: its marker is {marker}, this database is {own}. Check "
            "AWS_STORAGE_BUCKET_NAME and DATABASE_URL. To transfer the bucket to this database, run "
            f"`manage.py provision --adopt-marker {marker} --apply`."
        )


def refuse_foreign_bucket(store: str) -> None:
    """Raise as `require_marker` does, but accept a bucket without a marker: its objects can be read, though a missing
    object proves nothing."""
    with suppress(MarkerMissing):
        require_marker(store)


def require_own_bucket(store: str) -> None:
    """Require the marker on behalf of a user: a missing object only counts in our own bucket. Raises StorageUnavailable
    for any other bucket too, and logs the reason."""
    try:
        require_marker(store)
    except (WrongMarker, ValidationFailed) as problem:
        logger.error("bucket_marker_mismatch store=%r: %s", store, problem.message)
        raise StorageUnavailable("the bucket belongs to another database") from None


def ensure_marker(store: str | None = None) -> bool:
    """Write the marker of this database if the bucket has none, and return whether it was written.

    Never changes the marker of another database: raises WrongMarker, and whatever else `require_marker` raises. Safe
    to repeat.
    """
    if s3.read_marker(store) is None:
        s3.write_marker(Installation.objects.own_id(), store)
        return True
    require_marker(store)
    return False


def require_removal() -> None:
    """Return if objects may be removed. Raises Paused while PURGE_PAUSED is on, and as `require_history` does."""
    if settings.PURGE_PAUSED:
        raise Paused("PURGE_PAUSED is on, so nothing is deleted. Remove it, and run this command again.")
    require_history()


def require_history() -> None:
    """Return if this database has the event of the checkpoint in the main store's bucket.

    Raises DatabaseOlderThanBucket if not, StorageUnavailable, and ValidationFailed for an unreadable checkpoint.
    """
    checkpoint = stored_checkpoint()
    if checkpoint is not None and not contains_event(checkpoint):
        raise DatabaseOlderThanBucket(describe_lag(checkpoint))


def stored_checkpoint() -> s3.Checkpoint | None:
    """Return the checkpoint of this database in the main store's bucket; None if there is none, or one of another
    database. Raises StorageUnavailable, ValidationFailed."""
    checkpoint = s3.read_checkpoint()
    return checkpoint if checkpoint is not None and checkpoint.installation == Installation.objects.own_id() else None


def contains_event(checkpoint: s3.Checkpoint) -> bool:
    """Return whether this database has the event of the checkpoint."""
    return Event.objects.filter(pk=checkpoint.event, at=checkpoint.at).exists()


def describe_lag(checkpoint: s3.Checkpoint) -> str:
    """Return the message for operators: how far the database is behind the checkpoint, and what to do."""
    newest = Event.objects.first()
    last = f"its newest event is from {humanize_time(newest.at)}" if newest else "it has no events"
    return (
        f"The database is older than the bucket: event {checkpoint.event} of {humanize_time(checkpoint.at)} is not in "
        f"it, and {last}. It was restored to an earlier point in time, or is an old copy. Nothing is deleted until you "
        "run `manage.py after_restore --apply`."
    )


def write_checkpoint() -> None:
    """Write a checkpoint with the newest event to the main store's bucket if there are new events; once a minute at
    most, and only to our own bucket. Raises DatabaseOlderThanBucket, StorageUnavailable."""
    if not _is_due():
        return
    try:
        require_marker()
        require_history()
        accept_checkpoint()
    except (WrongMarker, ValidationFailed) as problem:
        logger.warning("checkpoint_write_failed: %s", problem.message)


def accept_checkpoint() -> None:
    """Overwrite the checkpoint with the newest event of this database, whatever it was before."""
    newest = Event.objects.first()
    if newest is not None:
        s3.write_checkpoint(s3.Checkpoint(Installation.objects.own_id(), newest.pk, newest.at))
        Heartbeat.objects.beat(NAME)


def _is_due() -> bool:
    last = Heartbeat.objects.last_of(NAME)
    if last is None:
        return Event.objects.exists()
    has_paused = Heartbeat.objects.filter(name=NAME, at__lte=seconds_from_now(-PAUSE_SECONDS)).exists()
    return has_paused and Event.objects.filter(at__gt=last - SLACK, at__lte=Now()).exists()
