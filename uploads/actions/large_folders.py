"""Continue an action on a folder with more files than one request changes, in a background task."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.contrib.auth.models import User
from django_tasks import task

from uploads.actions.base import BulkAction, get_action
from uploads.errors import Problem
from uploads.models import Folder

logger = logging.getLogger(__name__)

BATCH_SIZE = 1_000  # files of a transaction
TASK_SECONDS = 5.0  # then the rest goes to the end of the queue, so that a worker can stop


def continue_in_folder(action: BulkAction, folder: Folder, purge_after: datetime, *, by: User) -> None:
    """Enqueue a task for the remaining files of the folder. Safe to repeat."""
    change_folder.enqueue(action.name, folder.pk, by.pk, purge_after.isoformat())


@task()
def change_folder(action_name: str, folder_id: int, by_id: int, purge_after: str) -> int:
    """Do the action to files of the folder within TASK_SECONDS, in batches, and enqueue the rest as another task.

    The permissions are those at the time. Returns how many files changed.
    """
    action = get_action(action_name)
    folder = Folder.objects.filter(pk=folder_id).first()
    by = User.objects.filter(pk=by_id, is_active=True).first()
    if action is None or folder is None or by is None:
        return 0
    folder.purge_after = datetime.fromisoformat(purge_after)
    data = {"purge_after": folder.purge_after}
    end = time.monotonic() + TASK_SECONDS
    count = 0
    try:
        while rows := list(action.inside([folder], by=by).values_list("series", "pk")[:BATCH_SIZE]):
            changed = len(action.execute([series or pk for series, pk in rows], data, by=by).files)
            count += changed
            if not changed:
                break
            if time.monotonic() > end:
                change_folder.enqueue(action_name, folder_id, by_id, purge_after)
                return count
        action.execute([], data, by=by, folders=[folder_id])  # a folder goes to the trash after its files
    except Problem as problem:
        logger.warning("folder_change_stopped action=%s folder=%s reason=%s", action_name, folder_id, problem.code)
    logger.info("folder_changed action=%s folder=%s by=%s count=%s", action_name, folder_id, by_id, count)
    return count
