"""Which database a bucket belongs to. Commands that compare, bring in or move ask this first."""

from __future__ import annotations

import logging
from contextlib import suppress

from uploads import s3
from uploads.errors import MarkerMissing, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import Installation

logger = logging.getLogger(__name__)


def require_marker(store: str | None = None) -> None:
    """Return when the marker of the bucket (that of the main store, or of another) names this database.

    Raises WrongMarker when it names another, MarkerMissing when it names none, StorageUnavailable when the store
    cannot be asked, and ValidationFailed when the marker is no marker.
    """
    found = s3.read_marker(store)
    if found is None:
        raise MarkerMissing(
            "This bucket has no marker that says whose it is. If it is the right one, and whole, run "
            "`manage.py provision --apply`; else mend AWS_STORAGE_BUCKET_NAME."
        )
    own = Installation.objects.own_id()
    if found != own:
        raise WrongMarker(
            f"This bucket belongs to another database: its marker says {found}, this database is {own}. "
            "Check AWS_STORAGE_BUCKET_NAME and DATABASE_URL. If the bucket is to belong to this database from now on, "
            f"run `manage.py provision --adopt-marker {found} --apply`."
        )


def refuse_anothers(store: str) -> None:
    """As `require_marker`, but a bucket that says nothing passes: what is there may be read, though nothing may be
    concluded from what is not."""
    with suppress(MarkerMissing):
        require_marker(store)


def require_own_bucket(store: str) -> None:
    """As `require_marker`, for people who wait and know nothing of markers: that an object is not there only counts in
    our own bucket. Raises StorageUnavailable for any other too, and says in the log what is wrong."""
    try:
        require_marker(store)
    except (WrongMarker, ValidationFailed) as problem:
        logger.error("bucket_not_ours store=%r: %s", store, problem.message)
        raise StorageUnavailable("the bucket is not ours") from None


def claim_marker(store: str | None = None) -> bool:
    """Give the bucket the marker of this database if it has none; True if that was needed.

    Never changes the marker of another: WrongMarker. Raises what `require_marker` raises otherwise. Safe to repeat.
    """
    if s3.read_marker(store) is None:
        s3.write_marker(Installation.objects.own_id(), store)
        return True
    require_marker(store)
    return False
