"""The task queue: which tasks wait, run, are retried later or lost their worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_tasks.base import TASK_MIN_PRIORITY, Task, TaskResultStatus
from django_tasks_db.models import DBTaskResult, get_date_max

from uploads.models.querysets import FileQuerySet, in_batches

# The pauses before retries of an unavailable storage or mail server, doubling from MIN to MAX.
MIN_BACKOFF_SECONDS = 30
MAX_BACKOFF_SECONDS = 3600
MAX_ATTEMPTS = 40  # a day and a half
MAX_WORKERS = 3  # a task whose workers were killed so often may be the cause
RETENTION_DAYS = 1
FILES_PER_TASK = 500
ENDED = (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)

AnyTask = Task[Any, Any]
# A task of uploads/actions, which services do not import, and after which time its worker was killed.
FOLDER_CHANGES = "uploads.actions.base.change_folder"
FOLDER_CHANGE_LOST_AFTER_SECONDS = 300
# A task of uploads/accounts, whose arguments are mail addresses: old results are deleted with them.
RESET_MAILS = "uploads.accounts.password_reset.mail_resets"
RESET_MAILS_LOST_AFTER_SECONDS = 300


def results_of(task: AnyTask | str) -> models.QuerySet[DBTaskResult[..., Any]]:
    """Return the queue's rows of this task, or of the task with this path."""
    return DBTaskResult.objects.filter(task_path=task if isinstance(task, str) else task.module_path)


def enqueue_batches(rows: FileQuerySet, request: Callable[[list[UUID]], Any]) -> int:
    """Request a task for each batch of these files, by their ids. Return how many files there are."""
    count = 0
    for files in in_batches(rows.only("pk"), FILES_PER_TASK):
        request([file.pk for file in files])
        count += len(files)
    return count


def is_active(task: AnyTask) -> bool:
    """Return whether any such task is due or running. One that waits for its next try does not count."""
    return results_of(task).exclude(status__in=ENDED).exclude(_backoff()).exists()


def waiting_ids(task: AnyTask) -> set[UUID]:
    """Return the ids of the files, a task's first argument, in those tasks that wait for their next try."""
    rows = results_of(task).filter(_backoff()).values_list("args_kwargs", flat=True)
    return {UUID(pk) for arguments in rows for pk in arguments["args"][0]}


def ids_to_requeue(files: models.QuerySet[Any], task: AnyTask, *, size: int) -> list[UUID]:
    """Return the ids of up to `size` of these files, without those that wait for the next try of such a task.

    They start at a random id, so that files that cannot be read do not block the others forever.
    """
    ids = files.exclude(pk__in=waiting_ids(task)).order_by("pk").values_list("pk", flat=True)
    return list(ids.filter(pk__gt=uuid4())[:size]) or list(ids[:size])


def retry_later(task: AnyTask, tries: int) -> AnyTask:
    """Return the task with the delay for the next try, after `tries` failed ones."""
    return task.using(run_after=timezone.now() + _pause(tries))


def postpone(task: AnyTask, tries: int) -> None:
    """Delay all due tasks of this kind as `retry_later` does, because what they need is unavailable."""
    due = results_of(task).filter(status=TaskResultStatus.READY).exclude(_backoff())
    due.update(run_after=timezone.now() + _pause(tries))


def fair_priority(owner_id: int | None) -> int:
    """Return the priority for another task of this person: lower with each that already waits, so that people take
    turns however much one of them uploads. None means work that no person waits for."""
    waiting = DBTaskResult.objects.filter(status=TaskResultStatus.READY, args_kwargs__kwargs__owner_id=owner_id)
    return max(TASK_MIN_PRIORITY, -waiting[:-TASK_MIN_PRIORITY].count())


def requeue_lost(task: AnyTask | str, *, lost_after_seconds: float) -> None:
    """Requeue or fail the tasks of killed workers, and delete old results. Safe to repeat."""
    lost = results_of(task).filter(
        status=TaskResultStatus.RUNNING, started_at__lt=timezone.now() - timedelta(seconds=lost_after_seconds)
    )
    for result in lost:
        is_failed = len(result.worker_ids) >= MAX_WORKERS
        status = TaskResultStatus.FAILED if is_failed else TaskResultStatus.READY
        lost.filter(pk=result.pk).update(status=status, finished_at=timezone.now() if is_failed else None)
    cutoff = timezone.now() - timedelta(days=RETENTION_DAYS)
    results_of(task).filter(status__in=ENDED, finished_at__lt=cutoff).delete()


def _backoff() -> Q:
    """Return the condition for tasks that wait for their next try. Undelayed tasks have the maximum date."""
    return Q(status=TaskResultStatus.READY, run_after__gt=timezone.now(), run_after__lt=get_date_max())


def _pause(tries: int) -> timedelta:
    return timedelta(seconds=min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2**tries))
