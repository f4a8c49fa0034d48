"""The bucket marker: which database a bucket belongs to. Commands that compare, import or move check it first."""

from __future__ import annotations

import logging
from contextlib import suppress

from uploads import s3
from uploads.errors import MarkerMissing, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import Installation

logger = logging.getLogger(__name__)


def require_marker(store: str | None = None) -> None:
    """Return if the marker of the bucket (of the main store by default) names this database.

    Raises WrongMarker when it names another, MarkerMissing when there is none, StorageUnavailable when the storage is
    unavailable, and ValidationFailed when the marker is invalid.
    """
    marker = s3.read_marker(store)
    if marker is None:
        raise MarkerMissing(
            "This bucket has no marker that says whose it is. If it is the right one, and whole, run "
            "`manage.py provision --apply`; else fix AWS_STORAGE_BUCKET_NAME."
        )
    own = Installation.objects.own_id()
    if marker != own:
        raise WrongMarker(
            f"This bucket belongs to another database: its marker says {marker}, this database is {own}. "
            "Check AWS_STORAGE_BUCKET_NAME and DATABASE_URL. If the bucket is to belong to this database from now on, "
            f"run `manage.py provision --adopt-marker {marker} --apply`."
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
        raise StorageUnavailable("the bucket is not ours") from None


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
