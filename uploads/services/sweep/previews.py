"""Previews that nobody finished and nobody will: their files went into the trash meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from django.db.models.functions import Now

from uploads import s3
from uploads.models import Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_owner import require_marker

BATCH = 500
LEASE_SECONDS = 120


def forget_orphans(*, go_on: Callable[[], bool]) -> int:
    """Remove half-made previews of files in the trash, object first. How many. Raises StorageUnavailable, and
    WrongMarker and ValidationFailed where the bucket is not ours.

    A lease keeps makers away meanwhile. What belongs to a file that is going goes with it.
    """
    forgotten = 0
    while go_on() and (some := _take()):
        by_store: dict[str, list[str]] = defaultdict(list)
        for preview in some:
            by_store[preview.store].append(preview.key)
        for store, keys in by_store.items():
            require_marker(store)
            left = s3.delete_many(keys, store=store)
            gone = Preview.objects.filter(key__in=set(keys) - set(left), state=PreviewState.MAKING)
            forgotten += gone.delete()[0]
    return forgotten


def _take() -> list[Preview]:
    left = Preview.objects.filter(state=PreviewState.MAKING, lease_until__lt=Now())
    found = left.filter(file__state=State.TRASHED).values_list("pk", flat=True)[:BATCH]
    ids = [pk for pk in found if left.filter(pk=pk).update(lease_until=seconds_from_now(LEASE_SECONDS))]
    return list(Preview.objects.filter(pk__in=ids))
