"""Hand over the files of a person who leaves to another person, in batches, by the worker."""

from __future__ import annotations

import logging
import time

from django.contrib.auth.models import User
from django.contrib.postgres.functions import RandomUUID
from django.db import transaction
from django.db.models import Case, F, Sum, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _
from django_tasks import task

from uploads.errors import OverQuota, Problem
from uploads.humanize import humanize_bytes
from uploads.models import Action, Event, File, State, Usage
from uploads.models.querysets import FileQuerySet
from uploads.services.task_queue import ENDED, requeue_lost, results_of

logger = logging.getLogger(__name__)

BATCH_SIZE = 500
# After this time the rest goes to the end of the queue, so that other people's tasks get their turn.
TASK_SECONDS = 5.0
HANDOVER_LOST_AFTER_SECONDS = 900  # no task takes this long: its worker was killed


def files_to_hand_over(owner: User) -> FileQuerySet:
    """Return the stored files of this person, with previous versions and the trash, but not the unfinished uploads."""
    return File.objects.owned_by(owner).filter(state__in=[State.AVAILABLE, State.TRASHED])


def require_room(owner: User, to: User) -> None:
    """Raise OverQuota if the receiver's quota has no room for all files of `owner`."""
    rows = files_to_hand_over(owner)
    size, files = rows.aggregate(total=Sum("size"))["total"] or 0, rows.count()
    usage = Usage.objects.filter(owner=to).first() or Usage(owner=to)
    if not usage.has_room(size, files=files):
        raise _no_room(to, usage, size)


def start(owner: User, to: User, *, by: User) -> None:
    """Have the worker hand over all files of `owner`. Safe to repeat: files that were handed over stay where they are.

    Raises OverQuota if the receiver has no room for them.
    """
    require_room(owner, to)
    with transaction.atomic():
        Event.objects.record(
            Action.HANDOVER, by=by, name=owner.get_username(), to=to.get_username(),
            count=files_to_hand_over(owner).count(),
        )  # fmt: skip
        hand_over_files.enqueue(owner.pk, to.pk, by.pk)
    logger.info("handover_started user=%s to=%s by=%s", owner.pk, to.pk, by.pk)


def receiver_of(owner: User) -> User | None:
    """Return who is being handed the files of this person at the moment, or None."""
    rows = results_of(hand_over_files).exclude(status__in=ENDED).filter(args_kwargs__args__0=owner.pk)
    arguments = rows.values_list("args_kwargs", flat=True).first()
    return User.objects.filter(pk=arguments["args"][1]).first() if arguments else None


@task()
def hand_over_files(owner_id: int, to_id: int, by_id: int) -> int:
    """Hand over files within TASK_SECONDS, and enqueue the rest as another task. Returns how many it handed over."""
    people = User.objects.in_bulk([owner_id, to_id, by_id])
    owner, to = people.get(owner_id), people.get(to_id)
    if owner is None or to is None or not to.is_active:
        logger.warning("handover_stopped user=%s to=%s reason=account", owner_id, to_id)
        return 0
    end = time.monotonic() + TASK_SECONDS
    count = 0
    try:
        while batch := hand_over_batch(owner, to, by=people.get(by_id)):
            count += batch
            if time.monotonic() > end:
                hand_over_files.enqueue(owner_id, to_id, by_id)
                break
    except Problem as problem:
        logger.warning("handover_stopped user=%s to=%s reason=%s", owner_id, to_id, problem.code)
    logger.info("files_handed_over user=%s to=%s count=%s", owner_id, to_id, count)
    return count


def hand_over_batch(owner: User, to: User, *, by: User | None) -> int:
    """Make `to` the owner of up to BATCH_SIZE files, in one transaction. Return how many. Raises OverQuota.

    Who uploaded a file stays known. Usage rows are locked before any file row and in one order, as everywhere.
    """
    with transaction.atomic():
        usages = {pk: Usage.objects.locked(pk) for pk in sorted({owner.pk, to.pk})}
        # by token, for which the owner's files have an index
        ids = list(files_to_hand_over(owner).order_by("token").values_list("pk", flat=True)[:BATCH_SIZE])
        rows = files_to_hand_over(owner).filter(pk__in=ids)
        files = list(rows.order_by("pk").select_for_update(no_key=True))
        size = sum(file.size for file in files)
        if not usages[to.pk].has_room(size, files=len(files)):
            raise _no_room(to, usages[to.pk], size)
        File.objects.filter(pk__in=[file.pk for file in files]).update(
            owner=to,
            uploaded_by=Case(
                When(uploaded_by=to, then=None), default=Coalesce(F("uploaded_by"), Value(owner.pk))
            ),
            token=RandomUUID(),  # the receiver could have an upload with the same one
            updated_at=Now(),
        )  # fmt: skip
        usages[owner.pk].change(files=-len(files), bytes=-size)
        usages[to.pk].change(files=len(files), bytes=size)
        Event.objects.record_all(
            Action.HANDOVER, files, by=by, before=owner.get_username(), to=to.get_username()
        )  # fmt: skip
    return len(files)


def requeue_lost_handovers() -> None:
    """Requeue tasks of killed workers, and delete the results of old ones. Safe to repeat."""
    requeue_lost(hand_over_files, lost_after_seconds=HANDOVER_LOST_AFTER_SECONDS)


def _no_room(to: User, usage: Usage, size: int) -> OverQuota:
    text = _(
        "%(name)s has no room for %(size)s more: %(used)s of %(limit)s are used. Raise the "
        "limit, or choose someone else."
    )
    return OverQuota(
        text % {"name": to.get_username(), "size": humanize_bytes(size), "used": humanize_bytes(usage.bytes),
                "limit": humanize_bytes(usage.max_bytes)}
    )  # fmt: skip
