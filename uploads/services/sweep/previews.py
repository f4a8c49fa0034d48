"""Unfinished previews of files that were moved to the trash, which no worker will finish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from django.db.models.functions import Now

from uploads import s3
from uploads.models import Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_guard import require_marker

BATCH = 500
LEASE_SECONDS = 120


def forget_orphans(*, should_continue: Callable[[], bool]) -> int:
    """Delete unfinished previews of files in the trash, object first. Return how many.

    A lease keeps workers from making them at the same time. Previews of a file that is being deleted go with it.
    Raises StorageUnavailable, and WrongMarker and ValidationFailed if the bucket is not ours.
    """
    count = 0
    while should_continue() and (batch := _take()):
        by_store: dict[str, list[str]] = defaultdict(list)
        for preview in batch:
            by_store[preview.store].append(preview.key)
        for store, keys in by_store.items():
            require_marker(store)
            failed_keys = s3.delete_many(keys, store=store)
            deleted = Preview.objects.filter(key__in=set(keys) - set(failed_keys), state=PreviewState.PENDING)
            count += deleted.delete()[0]
    return count


def _take() -> list[Preview]:
    unfinished = Preview.objects.filter(state=PreviewState.PENDING, lease_until__lt=Now())
    candidates = unfinished.filter(file__state=State.TRASHED).values_list("pk", flat=True)[:BATCH]
    ids = [pk for pk in candidates if unfinished.filter(pk=pk).update(lease_until=seconds_from_now(LEASE_SECONDS))]
    return list(Preview.objects.filter(pk__in=ids))
